"""What may be asked: the parameters of every verb, typed, bounded, named as the CLI's options.

The one translating module between foreign mappings (HTTP query strings, keyword arguments,
parsed command lines) and questions: strings are read leniently (`"7"`, `"true"`, a bare flag),
unknown names are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from lodeline.errors import UsageError
from lodeline.limits import ANSWER_NODES_MAX, SEARCH_CHARACTERS_MAX, SEARCH_RESULTS_MAX

Direction = Literal["up", "down", "both"]
NodeKind = Literal[
    "dataset", "datasetField", "job", "run", "feature", "model", "deployment", "prediction", "row",
    "agent",
]  # fmt: skip
EdgeKind = Literal[
    "derives", "trains", "deploys", "predicts", "reads", "writes", "parent", "row"
]  # fmt: skip
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Depth = Annotated[int, msgspec.Meta(ge=0)] | None
_Limit = Annotated[int, msgspec.Meta(ge=1, le=ANSWER_NODES_MAX)]


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every question may carry: the two times."""

    as_of: str | int | None = None
    valid_at: str | None = None


class GraphQuestion(Question, frozen=True, kw_only=True):
    """What trace, impact and path share."""

    depth: _Depth = None
    columns: bool = False
    status: Literal["current", "stale", "all"] = "all"
    limit: _Limit = ANSWER_NODES_MAX
    cursor: str | None = None


class ClosureQuestion(GraphQuestion, frozen=True, kw_only=True):
    """What trace and impact share: which part of the closure is shown."""

    kinds: tuple[NodeKind, ...] = ()
    namespaces: tuple[_Text, ...] = ()
    tags: tuple[_Text, ...] = ()
    edge_kinds: tuple[EdgeKind, ...] = ()


class TraceQuestion(ClosureQuestion, frozen=True, kw_only=True):
    """Where does a node come from, and what does it affect?"""

    id: _Text
    up: bool = False
    down: bool = False
    both: bool = False
    direction: Direction | None = None
    rows: bool = False
    where: str | None = None

    def asked_direction(self) -> Direction:
        """Give the one direction asked for; `up` by default.

        Raises:
            UsageError: several were named.
        """
        named: set[Direction] = set()
        if self.up:
            named.add("up")
        if self.down:
            named.add("down")
        if self.both or named == {"up", "down"}:
            named = {"both"}
        if self.direction is not None:
            named.add(self.direction)
        if len(named) > 1:
            raise UsageError(f"one direction at a time, not {' and '.join(sorted(named))}")
        return named.pop() if named else "up"


class ImpactQuestion(ClosureQuestion, frozen=True, kw_only=True):
    """What would a change of the node reach, and who owns that?"""

    id: _Text


class PathQuestion(GraphQuestion, frozen=True, kw_only=True):
    """Why are two nodes connected?"""

    a: _Text
    b: _Text
    status: Literal["current", "all"] = "all"


class ShowQuestion(Question, frozen=True, kw_only=True):
    """What is known of one node?"""

    id: _Text


class SearchQuestion(Question, frozen=True, kw_only=True):
    """Which nodes carry these words?"""

    q: Annotated[str, msgspec.Meta(min_length=1, max_length=SEARCH_CHARACTERS_MAX)]
    kind: str | None = None
    namespace: str | None = None
    tag: str | None = None
    owner: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=SEARCH_RESULTS_MAX)] = 50
    cursor: str | None = None


class DiffQuestion(Question, frozen=True, kw_only=True):
    """What differs between two versions or two runs, or in the graph between two times?"""

    a: _Text | None = None
    b: _Text | None = None
    since: str | int | None = None
    valid_since: str | None = None
    direction: Direction | None = None
    depth: _Depth = None
    columns: bool = False
    limit: _Limit = ANSWER_NODES_MAX
    cursor: str | None = None

    @property
    def is_about_times(self) -> bool:
        """Whether two times are compared, not two nodes."""
        return self.since is not None or self.valid_since is not None


class StatsQuestion(Question, frozen=True, kw_only=True):
    """How much does the segment hold?"""


_LISTS: Final = frozenset({"kinds", "namespaces", "tags", "edge_kinds"})

QuestionT = TypeVar("QuestionT", bound=Question)


def read_question(shape: type[QuestionT], parameters: Mapping[str, object]) -> QuestionT:
    """Read parameters into a question.

    Args:
        shape: which question.
        parameters: by name; `None` means not given. Text is read where a number, a flag or a
            list is due; an empty text sets a flag; a list is separated by commas, or, where an
            item holds one, a JSON array.

    Raises:
        UsageError: an unknown name, a missing one, a wrong type or a value out of bounds.
    """
    flags = _flags(shape)
    given: dict[str, object] = {}
    for name, value in parameters.items():
        if value is None:
            continue
        if name in _LISTS and isinstance(value, str):
            given[name] = _read_list(name, value)
        else:
            given[name] = True if name in flags and value == "" else value
    try:
        return msgspec.convert(given, type=shape, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{error}") from error


@cache
def _flags(shape: type[Question]) -> frozenset[str]:
    """Give the names of a question's flags; to look at its types takes longer than to read it."""
    return frozenset(field.name for field in msgspec.structs.fields(shape) if field.type is bool)


def _read_list(name: str, text: str) -> list[str]:
    if not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError as error:
        raise UsageError(f"{name}: neither a list with commas nor a JSON array: {error}") from error
