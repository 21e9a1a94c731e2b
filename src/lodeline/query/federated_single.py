"""Verbs that one segment answers by itself, in a service of several: `diff`, and lists of pages.

The segment that wrote what is asked about is asked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from lodeline.errors import LodelineError, UnknownNodeError, UsageError
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.consulting import consult
from lodeline.query.door import ask
from lodeline.query.joining import ELSEWHERE
from lodeline.query.permission import Authoriser
from lodeline.query.trace import find_root
from lodeline.query.versions import Versions
from lodeline.store import Segment

SegmentT = TypeVar("SegmentT", bound=Segment)

Answer = dict[str, Any]
_AMONG: Final = "IN (SELECT value FROM json_each(:ids))"


def answer_alone(
    sources: Mapping[str, Segment],
    verb: str,
    parameters: Mapping[str, object],
    authoriser: Authoriser,
) -> Answer:
    """Have one segment answer.

    Args:
        sources: the segments that the caller may use, by name.
        verb: as for `ask`.
        parameters: of the question.
        authoriser: what the caller may see within them.

    Raises:
        UnknownNodeError: no segment knows what is asked about.
        UsageError: no segment alone can answer.
    """
    if verb == "diff" and (parameters.get("since") or parameters.get("valid_since")):
        raise UsageError("two times are compared within one segment: name it as `segment`")
    errors: list[LodelineError] = []
    for name in _writers_first(sources, parameters, authoriser):
        try:
            return ask(sources[name], verb, parameters, authoriser=authoriser)
        except (UnknownNodeError, UsageError) as error:
            errors.append(error)
    raise _most_telling(errors, sources, parameters, authoriser)


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


def stub_of(inquiry: Inquiry, node: NodeId, direction: str) -> NodeId:
    """Give what stands for a segment that the caller may not use, where data flows on there."""
    bare = node.at("")
    return NodeId("dataset", f"{ELSEWHERE}{inquiry.moment.segment}", f"{direction} {bare}")


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
