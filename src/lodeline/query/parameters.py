"""What may be asked: the parameters of every verb, typed, bounded, named as the CLI's options.

The one translating module between foreign mappings (HTTP query strings, keyword arguments,
parsed command lines) and questions: strings are read leniently (`"7"`, `"true"`, a bare flag),
unknown names are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

import msgspec

from lodeline.errors import UsageError
from lodeline.limits import ANSWER_NODES_MAX, SEARCH_RESULTS_MAX

Direction = Literal["up", "down", "both"]
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
    limit: _Limit = ANSWER_NODES_MAX
    cursor: str | None = None


class TraceQuestion(GraphQuestion, frozen=True, kw_only=True):
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


class ImpactQuestion(GraphQuestion, frozen=True, kw_only=True):
    """What would a change of the node reach, and who owns that?"""

    id: _Text


class PathQuestion(GraphQuestion, frozen=True, kw_only=True):
    """Why are two nodes connected?"""

    a: _Text
    b: _Text


class ShowQuestion(Question, frozen=True, kw_only=True):
    """What is known of one node?"""

    id: _Text


class SearchQuestion(Question, frozen=True, kw_only=True):
    """Which nodes carry these words?"""

    q: _Text
    kind: str | None = None
    namespace: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=SEARCH_RESULTS_MAX)] = 50
    cursor: str | None = None


class DiffQuestion(Question, frozen=True, kw_only=True):
    """What differs between two versions or two runs?"""

    a: _Text
    b: _Text


class StatsQuestion(Question, frozen=True, kw_only=True):
    """How much does the segment hold?"""


QuestionT = TypeVar("QuestionT", bound=Question)


def read_question(shape: type[QuestionT], parameters: Mapping[str, object]) -> QuestionT:
    """Read parameters into a question.

    Args:
        shape: which question.
        parameters: by name; `None` means not given. Text is read where a number or a flag is
            due; an empty text sets a flag.

    Raises:
        UsageError: an unknown name, a missing one, a wrong type or a value out of bounds.
    """
    flags = {field.name for field in msgspec.structs.fields(shape) if field.type is bool}
    given: dict[str, object] = {}
    for name, value in parameters.items():
        if value is None:
            continue
        given[name] = True if name in flags and value == "" else value
    try:
        return msgspec.convert(given, type=shape, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{error}") from error
