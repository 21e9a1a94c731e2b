"""The question `rows`, in the contract's JSON; `cohorts` has the other one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from lodeline.errors import (
    FileChangedError,
    MissingExtraError,
    MissingLinksError,
    UnknownNodeError,
    UsageError,
)
from lodeline.ingest.predictions import FoundPrediction, iter_predictions
from lodeline.limits import ROWS_PAGE_DEFAULT, ROWS_PAGE_MAX
from lodeline.model import NodeId, parse_identifier
from lodeline.query.answers import Gap, Page
from lodeline.query.asking import Inquiry, find_inquiry, open_page
from lodeline.query.concealing import conceal
from lodeline.query.federated_pages import FederatedMoment, open_federated_page
from lodeline.query.federated_single import flows_on, stub_of
from lodeline.query.joining import JoinedReader, resolve_among
from lodeline.query.moments import AnswerMoment
from lodeline.query.parameters import Question, read_question
from lodeline.query.permission import OPEN, Authoriser, Reader
from lodeline.query.predictions import expiry_gaps, get_prediction, sampling_gaps
from lodeline.query.visibility import hidden_gap
from lodeline.rows.boundaries import Boundaries
from lodeline.rows.composition import Composer, Composition, FollowedStep, is_memory
from lodeline.rows.joining import JoinedLinks, JoinedNames, JoinedSteps
from lodeline.rows.links import LinkReader
from lodeline.rows.naming import RowNames
from lodeline.rows.steps import StepIndex, StoredStep, fold_steps
from lodeline.rows.values import ValueReader
from lodeline.store import Segment

Answer = dict[str, Any]
Rows = Any


class RowsQuestion(Question, frozen=True, kw_only=True):
    """Which rows are behind, or ahead of, these?"""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    back: bool = False
    forward: bool = False
    direction: Literal["back", "forward"] | None = None
    where: str | None = None
    counts: bool = False
    limit: Annotated[int, msgspec.Meta(ge=0, le=ROWS_PAGE_MAX)] = ROWS_PAGE_DEFAULT
    cursor: str | None = None

    def asked_direction(self) -> Literal["back", "forward"]:
        """Give the one direction asked for; `back` by default.

        Raises:
            UsageError: both were named.
        """
        if self.back and (self.forward or self.direction == "forward"):
            raise UsageError("one direction at a time, not back and forward")
        return "forward" if self.forward else self.direction or "back"


def rows(
    segment: Segment, parameters: Mapping[str, object], *, authoriser: Authoriser = OPEN
) -> Answer:
    """Answer `rows`: the rows behind a row, a dataset's rows, a model or a prediction.

    Raises:
        UsageError: a malformed question.
        UnknownNodeError: not in the record.
        CouldNotTellError: the optional packages are missing, or the root's values are needed and
            not at hand.
    """
    return rows_among({"": segment}, parameters, authoriser=authoriser)


def rows_among(
    sources: Mapping[str, Segment],
    parameters: Mapping[str, object],
    *,
    authoriser: Authoriser,
    hidden: Mapping[str, Segment] | None = None,
    pinned: Mapping[str, int] | None = None,
) -> Answer:
    """Answer `rows` over several segments: steps are followed wherever they were recorded.

    Where data flows on in a segment that is hidden, the answer has a gap. See `registry.JoinedVerb`
    for arguments, `rows` for errors.
    """
    question = read_question(RowsQuestion, parameters)
    asked = Asked("rows", question, parameters, authoriser, pinned)
    with open_question(asked, sources, hidden or {}) as (asking, page):
        back = question.asked_direction() == "back"
        root, starts, gaps = asking.find_roots(question.id, question.where, back=back)
        found = asking.walk(root, starts, back=back)
        for gap in gaps:
            found.add_gap(gap)
        asking.note_unrecorded(found, back=back)
        asking.note_hidden([root, *found.rows], found, back=back)
        if not back:
            asking.add_predictions(found)
        direction = question.asked_direction()
        answer = asking.write(root, direction, found, set(starts), page)
        if root.kind == "prediction":
            answer["trained_on"] = asking.trained_on(root)
        return answer


class Asked(NamedTuple):
    """A question as it was asked.

    Attributes:
        verb: `rows` or `cohort`.
        question: read.
        given: its parameters.
        authoriser: the reader's.
        pinned: tree sizes by the segments' identifiers, where the moment is given.
    """

    verb: str
    question: RowsQuestion
    given: Mapping[str, object]
    authoriser: Authoriser
    pinned: Mapping[str, int] | None


@contextmanager
def open_question(
    asked: Asked, sources: Mapping[str, Segment], hidden: Mapping[str, Segment]
) -> Iterator[tuple[Asking, Page]]:
    """Open the snapshots of one question, the views of steps brought up to the logs first."""
    for package in ("numpy", "pyarrow", "duckdb"):
        if find_spec(package) is None:
            raise MissingExtraError("rows", package)
    for segment in sources.values():
        fold_steps(segment)
    page, pinned = _open_page(asked, several=len(sources) > 1)
    if asked.question.counts:
        page = replace(page, limit=0)
    with ExitStack() as stack:

        def open_one(segment: Segment, reader: Authoriser) -> Inquiry:
            connection = stack.enter_context(segment.reading())
            size = pinned if pinned is None or isinstance(pinned, int) else None
            if isinstance(pinned, Mapping):
                size = pinned.get(segment.segment_id)
            return find_inquiry(segment, connection, asked.question, pinned=size, authoriser=reader)

        inquiries = [open_one(segment, asked.authoriser) for segment in sources.values()]
        beyond = [open_one(segment, OPEN) for segment in hidden.values()]
        yield Asking(inquiries, beyond, asked.authoriser), page


def _open_page(asked: Asked, *, several: bool) -> tuple[Page, Mapping[str, int] | int | None]:
    if not several:
        page, size = open_page(asked.verb, asked.question, dict(asked.given))
        return page, asked.pinned if size is None else size
    page, sizes = open_federated_page(asked.verb, asked.question, asked.given, several=True)
    return page, asked.pinned if sizes is None else sizes


class Asking:
    """One question under way.

    Args:
        inquiries: one a segment that the reader may use; at least one.
        hidden: of those that they may not use.
        authoriser: the reader's.

    Attributes:
        inquiries: as given.
        reader: what they see in all of them.
        moment: of all of them.
    """

    def __init__(
        self, inquiries: Sequence[Inquiry], hidden: Sequence[Inquiry], authoriser: Authoriser
    ) -> None:
        self.inquiries = inquiries
        self._hidden = hidden
        indexes = [
            StepIndex(one.connection, one.moment.size, one.moment.valid_us) for one in inquiries
        ]
        readers = [LinkReader(one.segment) for one in inquiries]
        names = [
            RowNames(index, one.segment) for index, one in zip(indexes, inquiries, strict=True)
        ]
        self.reader: Reader
        self.moment: AnswerMoment
        if len(inquiries) == 1:
            [self.index], [self.links], [self.keys] = indexes, readers, names
            self.reader, self.moment = inquiries[0].visibility, inquiries[0].moment
        else:
            self.index, self.links = JoinedSteps(indexes), JoinedLinks(readers)
            self.keys = JoinedNames(names, indexes)
            self.reader = JoinedReader(inquiries, authoriser, whole=not hidden)
            self.moment = FederatedMoment([one.moment for one in inquiries])
        self.may_see = self.reader.may_see
        # The one row that was asked about, where it was one: its dataset and number.
        self._asked: tuple[NodeId, int] | None = None
        self.composer = Composer(
            self.index,
            self.links,
            inquiries[0].budget,
            may_see=lambda node: is_memory(node) or self.may_see(node),
        )

    # Roots

    def find_roots(
        self, text: str, where: str | None, *, back: bool
    ) -> tuple[NodeId, dict[NodeId, Rows | None], list[Gap]]:
        """Find the rows that a question starts from."""
        import numpy as np

        if text.startswith("row:"):
            row = parse_identifier(text)
            if not self.may_see(row):
                raise UnknownNodeError(text)
            dataset = self.at_version(NodeId("dataset", row.namespace, row.name, "", row.version))
            number = self.keys.find_number(dataset, row)
            numbers = np.array([number], dtype=np.int64)
            self._check_exists(dataset, number, row)
            self._asked = (dataset, number)
            return row.at(dataset.version), {dataset: numbers}, []
        root = self.resolve(text)
        if root.kind == "prediction":
            return self._prediction_roots(root, back=back)
        if root.kind == "model":
            root = self.at_version(root)
            return root, {root: None}, []
        if root.kind != "dataset":
            raise UsageError(f"rows: a row, dataset, model or prediction, not a {root.kind}")
        root = self.at_version(root)
        if where is not None:
            return root, {root: np.array(ValueReader(root).select(where), dtype=np.int64)}, []
        return root, {root: self._all_rows(root, back=back)}, []

    def resolve(self, text: str) -> NodeId:
        """Find the node that a text means, in whichever segment knows it."""
        if len(self.inquiries) == 1:
            return self.inquiries[0].resolve(text)
        return resolve_among(self.inquiries, text)

    def find_prediction(self, root: NodeId) -> FoundPrediction:
        """Look a prediction up in the segment of its block; errors as `get_prediction`'s."""
        for inquiry in self.inquiries[:-1]:
            with suppress(UnknownNodeError):
                return get_prediction(inquiry, root)
        return get_prediction(self.inquiries[-1], root)

    def _all_rows(self, root: NodeId, *, back: bool) -> Rows | None:
        """All rows of a dataset version: `None` means all backward; forward they are numbered."""
        import numpy as np

        if back:
            return None
        try:
            return np.arange(ValueReader(root).count())
        except FileChangedError:
            counts = [step.rows for step in self.index.into(root)]
            if not counts:
                raise
            return np.arange(max(counts))

    def _check_exists(self, dataset: NodeId, number: int, row: NodeId) -> None:
        counts = [step.rows for step in self.index.into(dataset)]
        if counts and number >= max(counts):
            raise UnknownNodeError(str(row))

    def _prediction_roots(
        self, root: NodeId, *, back: bool
    ) -> tuple[NodeId, dict[NodeId, Rows | None], list[Gap]]:
        import numpy as np

        if not back:
            raise UsageError("rows: nothing lies ahead of a prediction; ask --back")
        prediction = self.find_prediction(root)
        starts: dict[NodeId, list[int]] = {}
        for row in (prediction.record or {}).get("featureRows") or ():
            node = parse_identifier(row["dataset"]).at(row["version"])
            starts.setdefault(node, []).append(int(row["key"]))
        gaps = []
        if not starts:
            gaps.append(Gap(str(root), "capture", "the rows that the model was given"))
        found = {node: np.unique(np.array(keys, np.int64)) for node, keys in starts.items()}
        return root, dict(found), gaps

    def trained_on(self, root: NodeId) -> dict[str, int]:
        """Count the rows that a prediction's model was fitted on, by dataset; `cohort` lists them.

        Kept apart from the rows behind the features: a decision is made of those.
        """
        block = self.find_prediction(root).block
        model = None if block is None else block.model
        if model is None or not self.may_see(model):
            return {}
        sets: dict[NodeId, list[StoredStep]] = {}
        for step in self.index.into(model):
            if step.learned and not is_memory(step.input) and self.may_see(step.input):
                sets.setdefault(step.input, []).append(step)
        return {str(node): self._count_members(steps) for node, steps in sets.items()}

    def _count_members(self, steps: list[StoredStep]) -> int:
        """Count the rows of some sets, each once."""
        import numpy as np

        with suppress(MissingLinksError):
            if len(steps) > 1:
                members = [self.links.back(step, None) for step in steps]
                return len(np.unique(np.concatenate(members)))
        return max(step.count for step in steps)

    def fits_of(self, model: NodeId) -> dict[NodeId, list[tuple[str, Rows]]]:
        """Give the sets by which a model was fitted, in words, by the dataset that they are of."""
        found: dict[NodeId, list[tuple[str, Rows]]] = {}
        for step in self.index.into(model):
            if step.form == "set" and not is_memory(step.input) and self.may_see(step.input):
                with suppress(MissingLinksError):  # The walk tells it as a gap.
                    words = step.operator
                    found.setdefault(step.input, []).append((words, self.links.back(step, None)))
        return found

    def at_version(self, node: NodeId) -> NodeId:
        """Give a node at the version asked for, else at the newest that a step knows."""
        if node.version:
            return node
        versions = self.index.versions_of(node)
        if not versions:
            raise UnknownNodeError(f"{node} (no row provenance is recorded for it)")
        return node.at(versions[0])

    def walk(self, root: NodeId, starts: dict[NodeId, Rows | None], *, back: bool) -> Composition:
        """Compose from the roots; what is behind a model is composed once, and kept."""
        if root.kind != "model" or not back or len(self.inquiries) > 1:
            # What is kept of a model lies beside one store, and is of its steps alone.
            return self.composer.walk(starts, back=back)
        segment = self.inquiries[0].segment
        boundaries = Boundaries(
            segment, self.index, lambda node: is_memory(node) or self.may_see(node)
        )
        found = boundaries.find(root)
        if found is None:
            found = self.composer.walk(starts, back=True)
            boundaries.keep(root, found)
        return found

    # What is not there

    def note_unrecorded(self, found: Composition, *, back: bool) -> None:
        """Tell where rows end although the graph goes on."""
        if not back:
            return
        for node in list(found.rows):
            if is_memory(node) or self.index.into(node):
                continue
            if any(_has_sources(inquiry, node) for inquiry in self.inquiries):
                found.add_gap(Gap(str(node), "capture", "no row provenance was recorded for it"))

    def note_hidden(self, nodes: Iterable[NodeId], found: Composition, *, back: bool) -> None:
        """Tell where data flows on in a segment that the reader may not use, by its stub."""
        direction = "up" if back else "down"
        for node in [one for one in nodes if one.kind in {"dataset", "row"} and not is_memory(one)]:
            home = node.dataset
            for inquiry in self._hidden:
                if flows_on(inquiry, home, direction):
                    stub = self.reader.stub(stub_of(inquiry, home, direction))
                    gap = hidden_gap(home)
                    found.add_gap(Gap(gap.at, gap.reason, f"{gap.detail}: {stub}"))

    def add_predictions(self, found: Composition) -> None:
        """Add the predictions whose feature rows were reached."""
        reached: dict[tuple[str, str], set[int]] = {}
        for node, numbers in found.rows.items():
            if numbers is not None and not is_memory(node):
                key = (str(node.at("")), node.version)
                reached[key] = {int(number) for number in numbers}
        for inquiry in self.inquiries:
            self._add_predictions_of(inquiry, reached, found)

    def _add_predictions_of(
        self, inquiry: Inquiry, reached: Mapping[tuple[str, str], set[int]], found: Composition
    ) -> None:
        segment, size = inquiry.segment, inquiry.moment.size
        for gaps in (sampling_gaps(segment, size=size), expiry_gaps(segment, size=size)):
            for deployment, gap in gaps.items():
                if self.may_see(deployment):
                    found.add_gap(gap)
        for _, record in iter_predictions(segment, size=size):
            for row in record.get("featureRows") or ():
                if int(row["key"]) in reached.get((row["dataset"], row["version"]), ()):
                    node = NodeId("prediction", "", record["id"])
                    if not self.may_see(node):
                        break
                    found.rows[node] = None
                    found.depths[node] = 1 + max(found.depths.values(), default=0)
                    break

    # Answers

    def write(
        self, root: NodeId, direction: str, found: Composition, starts: set[NodeId], page: Page
    ) -> Answer:
        """Write an answer: counts of everything, rows of one page with their values."""
        shown = [
            node
            for node in sorted(found.rows, key=lambda node: (found.depths[node], node))
            if not is_memory(node) and (node not in starts or root.kind == "prediction")
        ]
        counts = {
            str(node): 1
            if found.rows[node] is None
            else len(found.rows[node] or ())
            if isinstance(found.rows[node], list)
            else _count(found.rows[node])
            for node in shown
        }
        places = _page_of(shown, found, page)
        is_model = root.kind == "model" and direction == "back"
        answer_rows = self._values(places, found, self.fits_of(root) if is_model else {})
        total = sum(counts.values())
        # Whoever asks for counts alone has no page to go on from.
        more = page.limit > 0 and page.offset + page.limit < total
        answer = {
            "id": str(root),
            "direction": direction,
            "as_of": self.moment.to_json(),
            "trees": self.moment.trees_json(),
            "complete": not found.gaps,
            "gaps": [gap.to_json() for gap in found.gaps],
            "steps": [_step_json(step, self.reader) for step in found.steps.values()],
            "rows": answer_rows,
            "counts": counts,
            "next": page.next_cursor(self.moment) if more else None,
            **self._own(root),
        }
        return conceal(answer, self.reader)

    def _own(self, root: NodeId) -> dict[str, Any]:
        """Give the row that was asked about itself, where it was one; what is behind it counts."""
        if self._asked is None:
            return {}
        dataset, number = self._asked
        values = None
        with suppress(FileChangedError):
            values = ValueReader(dataset).read([number]).get(number)
        return {"row": _row_json(dataset, root.part, values)}

    def _values(
        self,
        places: dict[NodeId, list[int] | None],
        found: Composition,
        fits: dict[NodeId, list[tuple[str, Rows]]],
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for node, numbers in places.items():
            if numbers is None:
                rows.append(_row_json(node, None, None))
                continue
            values: dict[int, dict[str, Any]] = {}
            try:
                values = ValueReader(node).read(numbers)
            except FileChangedError as error:
                found.add_gap(Gap(str(node), "retention", str(error)))
            named, gap = self.keys.name(node, numbers)
            if gap is not None:
                found.add_gap(gap)
            for number, key in zip(numbers, named, strict=True):
                row = _row_json(node, key, values.get(number))
                if node in fits:
                    row["fits"] = [words for words, some in fits[node] if _holds(some, number)]
                rows.append(row)
        return rows


def _has_sources(inquiry: Inquiry, node: NodeId) -> bool:
    view = inquiry.view
    numbers = view.members(node.at(""))
    found = view.select_among(
        "SELECT 1 FROM derivation d JOIN assertion a USING (derivation_id) "
        "WHERE d.target IN (SELECT value FROM json_each(:ids)) AND d.source IS NOT NULL "
        f"AND {view.rectangle('a')} LIMIT 1",
        numbers,
    )
    return next(iter(found), None) is not None


def _holds(members: Rows, number: int) -> bool:
    place = int(members.searchsorted(number))
    return place < len(members) and int(members[place]) == number


def _count(numbers: Rows | None) -> int:
    return 1 if numbers is None else len(numbers)


def _page_of(shown: list[NodeId], found: Composition, page: Page) -> dict[NodeId, list[int] | None]:
    """Cut one page out of all rows, in order of nodes, then of row numbers."""
    places: dict[NodeId, list[int] | None] = {}
    skipped, room = page.offset, page.limit
    for node in shown:
        numbers = found.rows[node]
        count = _count(numbers)
        if skipped >= count:
            skipped -= count
            continue
        if room <= 0:
            break
        if numbers is None:
            places[node] = None
            room -= 1
        else:
            part = [int(number) for number in numbers[skipped : skipped + room]]
            places[node] = part
            room -= len(part)
        skipped = 0
    return places


def _row_json(node: NodeId, key: str | None, values: dict[str, Any] | None) -> dict[str, Any]:
    if key is None:
        version = node.version or None
        return {
            "id": str(node),
            "dataset": str(node.at("")),
            "version": version,
            "key": None,
            "values": None,
        }
    row = NodeId("row", node.namespace, node.name, key, node.version)
    return {
        "id": str(row),
        "dataset": str(node.at("")),
        "version": node.version,
        "key": key,
        "values": values,
    }


def _step_json(followed: FollowedStep, reader: Reader) -> dict[str, Any]:
    step = followed.step

    def text(node: NodeId) -> str:
        return str(node) if is_memory(node) else reader.text(node)

    return {
        "run": step.run_id if reader.may_see(NodeId("run", "", step.run_id.lower())) else None,
        "operator": step.operator,
        "input": text(step.input),
        "output": text(step.output),
        "shape": step.block_shape or step.shape,
        "count": step.count,
        "input_rows": followed.input_rows,
        "output_rows": followed.output_rows,
    }
