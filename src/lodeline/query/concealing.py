"""The last look at an answer before a confined reader gets it: names of what is hidden go.

Verbs leave out and replace what they know to be hidden. This walks the finished answer, facets of
producers among it, for what is left: identifiers, references by namespace and name, and texts that
hold the name of a hidden neighbour. It errs on the side of silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from lodeline.errors import MalformedIdentifierError
from lodeline.model import KINDS, NodeId, parse_identifier
from lodeline.query.permission import Reader
from lodeline.query.visibility import STUB, Visibility

# In place of what a reader may not see.
WITHHELD: Final[Mapping[str, Any]] = {"restricted": True}
_RUN_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_IDENTIFIER: Final = re.compile(rf"\b(?:{'|'.join(sorted(KINDS))}):")


def conceal(answer: dict[str, Any], visibility: Reader) -> dict[str, Any]:
    """Give an answer as its reader may have it.

    Args:
        answer: in the contract's JSON.
        visibility: the reader's; of who sees everything, the answer stays as it is.
    """
    if visibility.sees_all:
        return answer
    visibility.look_up_runs(_runs_in(answer))
    return dict(_Concealing(visibility).members(answer))


def conceal_document(body: Any, visibility: Visibility) -> Any:
    """Give a document in another project's shape as its reader may have it.

    Texts in it that hold the name of a hidden neighbour of anything that it refers to are withheld.
    """
    if visibility.sees_all:
        return body
    names = visibility.hidden_names_near(_references(body))
    visibility.look_up_runs(_runs_in(body))
    return _Concealing(visibility, names).value(body)


def _references(body: Any) -> set[NodeId]:
    """Collect the datasets and jobs that a document refers to by namespace and name."""
    found: set[NodeId] = set()
    waiting = [body]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            namespace, name = one.get("namespace"), one.get("name")
            if isinstance(namespace, str) and isinstance(name, str) and name:
                found |= {NodeId(kind, namespace, name) for kind in ("dataset", "job")}
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
    return found


def _runs_in(body: Any) -> set[str]:
    """Collect the runs that a document names by their bare identifiers."""
    found: set[str] = set()
    waiting = [body]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            named = [one.get(key) for key in ("run", "run_id", "runId", "id")]
            runs = one.get("asserted_by")
            named += runs if isinstance(runs, list) else []
            found |= {str(text).lower() for text in named if _is_run_id(text)}
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
    return found


def _is_run_id(text: object) -> bool:
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


def veil(facets: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Withhold the facets whose text holds one of some names."""
    return {
        name: body if not holds_any(body, names) else dict(WITHHELD)
        for name, body in facets.items()
    }


def holds_any(body: object, names: Collection[str]) -> bool:
    """Whether a value's text holds one of some names."""
    if not names:
        return False
    text = json.dumps(body, ensure_ascii=False)
    return any(json.dumps(name, ensure_ascii=False)[1:-1] in text for name in names)


class _Concealing:
    def __init__(self, visibility: Reader, names: Collection[str] = ()) -> None:
        self._visibility = visibility
        self._names = names

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return None if self._is_hidden_run(value) else self.members(value)
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value if not self._is_hidden_run(one)]
        return value

    def _is_hidden_run(self, value: object) -> bool:
        """Whether a value describes a hidden run, as the Marquez API's objects do: by its `id`."""
        run_id = value.get("id") if isinstance(value, dict) else None
        # Other things have UUIDs, too: only what is known as a run can be a hidden one.
        return _is_run_id(run_id) and self._visibility.judge_run(str(run_id).lower()) is False

    def members(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._is_hidden_reference(body) or self._hides_run(body.get("runId")):
            return dict(WITHHELD)
        found = {self.text(name): self.value(value) for name, value in body.items()}
        for key in ("run", "run_id"):
            if self._hides_run(body.get(key)):
                found[key] = None
        asserting = body.get("asserted_by")
        if isinstance(asserting, list):
            found["asserted_by"] = seen = [run for run in asserting if not self._hides_run(run)]
            if isinstance(body.get("asserted_by_total"), int):
                found["asserted_by_total"] -= len(asserting) - len(seen)
        if {"at", "reason", "detail"} <= body.keys():
            # Where identifiers end in a text cannot be told, since names may hold spaces.
            found["detail"] = _without_identifiers(str(body["detail"]))
        return found

    def _hides_run(self, run_id: object) -> bool:
        """Whether something is the bare identifier of a run that is hidden, or not known."""
        return _is_run_id(run_id) and self._visibility.judge_run(str(run_id).lower()) is not True

    def _is_hidden_reference(self, body: Mapping[str, Any]) -> bool:
        """Whether an object names a hidden dataset or job as OpenLineage's facets do."""
        namespace, name = body.get("namespace"), body.get("name")
        if "id" in body or not isinstance(namespace, str) or not isinstance(name, str) or not name:
            return False
        may_see = self._visibility.may_see
        return not all(may_see(NodeId(kind, namespace, name)) for kind in ("dataset", "job"))

    def text(self, text: str) -> str:
        if any(name in text for name in self._names):
            return STUB.rstrip(":")
        if text.partition(":")[0] not in KINDS:
            return text
        try:
            node = parse_identifier(text)
        except MalformedIdentifierError:
            return text
        return text if self._visibility.may_see(node) else self._visibility.stub(node)


def _without_identifiers(text: str) -> str:
    return "told only to who may see all of it" if _IDENTIFIER.search(text) else text
