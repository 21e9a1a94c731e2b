"""From the text of an identifier to the node it means, as names were known at the moment.

The canonical reading that exists wins. Raw foreign identifiers have several readings, looked up
one by one; several that exist are an ambiguity, none is unknown, with the nearest names said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice

from lodeline.errors import (
    AmbiguousIdentifierError,
    MalformedIdentifierError,
    UnknownNodeError,
)
from lodeline.limits import IDENTIFIER_CANDIDATES_MAX, IDENTIFIER_READINGS_MAX
from lodeline.model import NodeId, iter_readings, parse_identifier
from lodeline.query.view import View

_NEAREST = 3
# Names compared in search of the nearest: enough to help, too few to be felt.
_COMPARED_MAX = 5_000


def resolve(view: View, text: str) -> NodeId:
    """Find the node that a text means.

    Returns:
        The canonical node; its version is a stored one where the text names one (a number such
        as `#7` is replaced by the version it stands for).

    Raises:
        MalformedIdentifierError: no reading at all.
        AmbiguousIdentifierError: several readings exist, none of them canonical.
        UnknownNodeError: no reading exists at the moment.
    """
    canonical: NodeId | None = None
    fault: MalformedIdentifierError | None = None
    try:
        canonical = parse_identifier(text)
    except MalformedIdentifierError as error:
        fault = error
    found = None if canonical is None else find_known(view, canonical)
    if found is not None:
        return found
    matches: dict[NodeId, None] = {}
    readings = list(islice(iter_readings(text), IDENTIFIER_READINGS_MAX))
    for reading in readings:
        found = None if reading == canonical else find_known(view, reading)
        if found is not None:
            matches[found] = None
    if len(matches) > 1:
        candidates = tuple(sorted(map(str, matches)))[:IDENTIFIER_CANDIDATES_MAX]
        raise AmbiguousIdentifierError(f"{text!r} may mean any of", candidates)
    if matches:
        return next(iter(matches))
    if fault is not None and not readings:
        raise fault
    raise UnknownNodeError(text, tuple(_nearest(view, text)))


def find_known(view: View, node: NodeId) -> NodeId | None:
    """Find a node under its canonical name if it is known at the moment, else `None`."""
    if node.kind == "run":
        run = NodeId("run", "", node.name.lower())
        return run if not node.version and view.groups_of_run(run.name) else None
    if not view.members(node):
        return None
    if not node.version:
        return view.canonical(node)
    version = find_version(view, node)
    return None if version is None else view.canonical(node.at(version))


def find_version(view: View, node: NodeId) -> str | None:
    """Find the stored version that a node's version text names: itself, or a number's."""
    members = view.members(node.dataset if node.kind == "datasetField" else node)
    for statement in _VERSION_KNOWN.get(node.kind, _VERSION_KNOWN["dataset"]):
        table = statement.split(" ")[1]
        sql = f"SELECT 1 FROM {statement} AND {view.rectangle(table[0])} LIMIT 1"
        for _ in view.select_among(sql, members, version=node.version):
            return node.version
    if re.fullmatch(r"[0-9]{1,9}", node.version):
        sql = (
            "SELECT version FROM number WHERE position < :size AND number = :number"
            " AND node_id IN (SELECT value FROM json_each(:ids))"
        )
        for row in view.select_among(sql, members, number=int(node.version)):
            return str(row[0])
    return None


# "table alias WHERE …" by kind; the second word's first letter is the alias masked.
_AMONG = "IN (SELECT value FROM json_each(:ids))"
_VERSION_KNOWN = {
    "dataset": (
        f'"write" w WHERE w.node_id {_AMONG} AND w.version = :version',
        f'"read" r WHERE r.node_id {_AMONG} AND r.version = :version',
    ),
    "job": (f"run_state s WHERE s.job_node {_AMONG} AND s.code = :version",),
    "feature": (f"feature f WHERE f.feature_node {_AMONG} AND f.version = :version",),
}


def _nearest(view: View, text: str) -> Iterator[str]:
    """Rank known names of the same kind by likeness."""
    kind, _, rest = text.partition(":")
    words = [word for word in re.split(r"[^0-9A-Za-z]+", rest) if len(word) > 2]
    rows: dict[tuple[str, ...], None] = {}
    select = (
        "SELECT kind, namespace, name, part FROM node n WHERE kind = :kind {more}"
        f" AND {view.known('n')}"
        " LIMIT :limit"
    )
    for word in words[-2:]:
        like = "AND name LIKE :word ESCAPE '\\'"
        pattern = "%" + re.sub(r"([%_\\])", r"\\\1", word) + "%"
        found = view.select(select.format(more=like), kind=kind, word=pattern, limit=200)
        rows.update(dict.fromkeys(map(tuple, found)))
    found = view.select(select.format(more=""), kind=kind, limit=_COMPARED_MAX)
    rows.update(dict.fromkeys(map(tuple, found)))
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(text)
    scored = []
    for row in rows:
        name = str(NodeId(*row))
        matcher.set_seq1(name)
        if matcher.quick_ratio() > 0.5:
            scored.append((-matcher.ratio(), name))
    yield from (name for _, name in sorted(scored)[:_NEAREST])
