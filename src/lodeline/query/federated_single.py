"""Verbs that one segment answers by itself, in a service of several: diff, rows and cohort.

The segment that wrote what is asked about is asked first. Rows are followed within it; where data
flows on in another segment, the answer has a gap that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from lodeline.errors import LodelineError, UnknownNodeError, UsageError
from lodeline.model import NodeId, parse_identifier
from lodeline.query.answers import Gap
from lodeline.query.asking import Inquiry
from lodeline.query.consulting import consult
from lodeline.query.door import ask
from lodeline.query.permission import OPEN, Authoriser
from lodeline.query.trace import find_root
from lodeline.query.versions import Versions
from lodeline.query.visibility import hidden_gap
from lodeline.store import Segment

SegmentT = TypeVar("SegmentT", bound=Segment)

Answer = dict[str, Any]
_AMONG: Final = "IN (SELECT value FROM json_each(:ids))"


def answer_alone(
    sources: Mapping[str, Segment],
    verb: str,
    parameters: Mapping[str, object],
    authoriser: Authoriser,
    hidden: Mapping[str, Segment],
    *,
    sizes: Mapping[str, int] | None = None,
) -> Answer:
    """Have one segment answer, and say where others know more.

    Args:
        sources: the segments that the caller may use, by name.
        verb: as for `ask`.
        parameters: of the question.
        authoriser: what the caller may see within them.
        hidden: the segments that the caller may not use.
        sizes: entries of each segment's log that count; by default as `as_of` in `parameters` says.

    Raises:
        UnknownNodeError: no segment knows what is asked about.
        UsageError: no segment alone can answer.
    """
    if verb == "diff" and (parameters.get("since") or parameters.get("valid_since")):
        raise UsageError("two times are compared within one segment: name it as `segment`")
    found: dict[str, Answer] = {}
    errors: list[LodelineError] = []
    for name in _writers_first(sources, parameters, authoriser):
        try:
            given = parameters if sizes is None else {**parameters, "as_of": sizes[name]}
            found[name] = ask(sources[name], verb, given, authoriser=authoriser)
        except (UnknownNodeError, UsageError) as error:
            errors.append(error)
        if found and verb == "diff":
            break
    if not found:
        raise _most_telling(errors, sources, parameters, authoriser)
    name = max(found, key=lambda one: len(found[one].get("steps", ())))
    answer = found[name]
    if "gaps" in answer:
        others = {other: segment for other, segment in sources.items() if other != name}
        _note_elsewhere(answer, name, others, hidden)
    return answer


def knowing(sources: Mapping[str, SegmentT], text: str) -> dict[str, SegmentT]:
    """Give the segments that know a node.

    Raises:
        UnknownNodeError: none does.
    """
    found: dict[str, SegmentT] = {}
    for name, segment in sources.items():
        with consult(segment) as inquiry:
            if _find(inquiry, text) is not None:
                found[name] = segment
    if not found:
        raise UnknownNodeError(text)
    return found


def flows_on(inquiry: Inquiry, node: NodeId, direction: str) -> bool:
    """Whether a segment holds a derivation of, or from, a node of any version."""
    near, far = ("target", "source") if direction == "up" else ("source", "target")
    view = inquiry.view
    sql = (
        f"SELECT 1 FROM derivation d WHERE d.{near} {_AMONG} AND d.{far} IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM assertion a WHERE a.derivation_id = d.derivation_id"
        f" AND {view.rectangle('a')}) LIMIT 1"
    )
    return next(iter(view.select_among(sql, view.members(node.at("")))), None) is not None


def _writers_first(
    sources: Mapping[str, Segment], parameters: Mapping[str, object], authoriser: Authoriser
) -> list[str]:
    """Order segments by how often they wrote what is asked about."""
    text = parameters.get("id") or parameters.get("a")
    writes: dict[str, int] = {}
    for name, segment in sources.items():
        writes[name] = -1
        with consult(segment, authoriser=authoriser) as inquiry:
            home = _find(inquiry, text)
            if home is not None:
                writes[name] = len(Versions(inquiry.groups).own_writes_of(home))
    return sorted(sources, key=lambda name: -writes[name])


def _find(inquiry: Inquiry, text: object) -> NodeId | None:
    try:
        node = find_root(inquiry, str(text))
    except LodelineError:
        return None
    return node.dataset.at("") if node.kind in {"row", "datasetField"} else node.at("")


def _most_telling(
    errors: list[LodelineError],
    sources: Mapping[str, Segment],
    parameters: Mapping[str, object],
    authoriser: Authoriser,
) -> LodelineError:
    """Give the error to tell where no segment answers."""
    texts = [parameters[name] for name in ("a", "b") if parameters.get(name)]
    places: list[set[str]] = []
    for text in texts:
        known = set()
        for name, segment in sources.items():
            with consult(segment, authoriser=authoriser) as inquiry:
                if _find(inquiry, text) is not None:
                    known.add(name)
        places.append(known)
    if len(places) == 2 and all(places) and not set.intersection(*places):
        where = " and ".join(", ".join(sorted(known)) for known in places)
        return UsageError(f"both must lie in one segment to be compared; they lie in {where}")
    return next((one for one in errors if not isinstance(one, UnknownNodeError)), errors[0])


def _note_elsewhere(
    answer: Answer, name: str, others: Mapping[str, Segment], hidden: Mapping[str, Segment]
) -> None:
    """Add gaps at the datasets of an answer where another segment has what lies behind or ahead."""
    direction = "down" if answer["direction"] == "forward" else "up"
    nodes = sorted(set(_datasets_of(answer)))
    gaps: list[Gap] = []
    for other, segment in others.items():
        detail = f"rows are followed within the segment {name}; data flows on in {other}"
        with consult(segment) as inquiry:
            gaps += [
                Gap(str(node), "depth", detail)
                for node in nodes
                if flows_on(inquiry, node, direction)
            ]
    for segment in hidden.values():
        with consult(segment, authoriser=OPEN) as inquiry:
            gaps += [hidden_gap(node) for node in nodes if flows_on(inquiry, node, direction)]
    told = [gap.to_json() for gap in dict.fromkeys(gaps)]
    answer["gaps"] += [gap for gap in told if gap not in answer["gaps"]]
    answer["complete"] = answer["complete"] and not told


def _datasets_of(answer: Answer) -> Iterable[NodeId]:
    """Give the datasets that an answer of rows names, without versions."""
    named = [answer["id"], *answer["counts"]]
    named += [end for step in answer["steps"] for end in (step["input"], step["output"])]
    for text in named:
        try:
            node = parse_identifier(str(text))
        except LodelineError:
            continue  # something in memory, or a stub
        if node.kind in {"dataset", "row"}:
            yield node.dataset.at("")
