"""Putting an evidence pack together.

1. A `map` leaf is published if entries came since the last, so that nothing can be left out.
2. The question is asked at a checkpoint that covers the map leaf.
3. Every entry about every node that the answer visits is collected, with its inclusion proof and
   what may be disclosed of it; so is what came after the map.
4. The answer is asked again, of those entries alone, and must be the same; nodes that it visits
   beside are collected, too, until there are none.
5. The manifest lists every file and is signed by the log's receipt key. The pack is verified once
   before it leaves: what would not verify is not handed out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from typing import Any, Final

from lodeline.errors import EvidenceError, UsageError
from lodeline.evidence.prediction_rows import prove_row
from lodeline.evidence.summary import render_certificate, render_summary
from lodeline.fold.completeness import visited_nodes
from lodeline.fold.evidence import (
    disclosed_events,
    disclosure_gap,
    named_row,
    recompute,
    row_json,
    starting_rows,
    verify_pack,
)
from lodeline.fold.row_claims import MEMORY, iter_steps, key_blobs, walk_back
from lodeline.ingest.mapping import prove_nodes, publish_map
from lodeline.ingest.projection import fold_pending
from lodeline.limits import ANSWER_NODES_MAX, EVIDENCE_CLAIMS_MAX, EVIDENCE_ENTRIES_MAX
from lodeline.model import NodeId
from lodeline.proof import (
    TreeHead,
    Verifier,
    packs,
)
from lodeline.proof.dsse import envelope_from_json, format_envelope
from lodeline.query import ask
from lodeline.query.moments import read_moment
from lodeline.rows.claims import RowClaims
from lodeline.rows.committing import commit_blocks
from lodeline.store.disclosure import disclosed_fields
from lodeline.store.sql_segment import SqlSegment

Answer = dict[str, Any]
Progress = Callable[[int, int], None]

# Of a trace answer, what the log can prove.
_MEMBERS: Final = (
    "root",
    "direction",
    "as_of",
    "trees",
    "complete",
    "gaps",
    "nodes",
    "edges",
    "next",
)
# What `fold.evidence` needs; with it, a pack can be verified without an installation of Lodeline.
_VERIFIER: Final = ("proof", "fold", "wire", "model", "errors.py", "limits.py")
_ROUNDS_MAX: Final = 16
_ASKED: Final = frozenset(
    {"id", "up", "down", "both", "direction", "depth", "columns", "as_of", "valid_at"}
)


def build_pack(
    segment: SqlSegment,
    parameters: Mapping[str, object],
    *,
    hold_back: Callable[[str], bool] = lambda _pointer: False,
    progress: Progress = lambda _done, _total: None,
) -> dict[str, bytes]:
    """Collect the evidence of a trace answer.

    Args:
        segment: whose keys are at hand.
        parameters: `id`, `up`/`down`/`both`, `depth`, `columns`, `as_of`, `valid_at`, as `trace`
            takes them.
        hold_back: says of a JSON pointer that only its commitment may be disclosed.
        progress: called with entries collected, and to collect.

    Returns:
        Files by name; `proof.packs.encode_pack` zips them.

    Raises:
        UnknownNodeError: the record does not know the node.
        UsageError: the answer is too large for one pack.
        EvidenceError: the entries do not give the answer.
    """
    unknown = sorted(set(parameters) - _ASKED)
    if unknown:
        raise UsageError(f"evidence takes {', '.join(sorted(_ASKED))}; not {', '.join(unknown)}")
    # 1.
    map_position = _publish(segment)
    # 2.
    checkpoint = segment.checkpoint()
    asked = {"as_of": checkpoint.size, **{k: v for k, v in parameters.items() if v is not None}}
    # A verifier needs each node at which the depth ended the walk.
    answer = ask(segment, "trace", {**asked, "limit": ANSWER_NODES_MAX}, every_gap=True)
    if answer["next"] is not None:
        raise UsageError(f"more than {ANSWER_NODES_MAX} nodes; ask with --depth")
    head = TreeHead(segment.origin, checkpoint.size, checkpoint.root_hash)
    collector = _Collector(segment, head, map_position, hold_back=hold_back, progress=progress)
    # 3. and 4.
    question = _question(answer, asked)
    files = collector.collect(answer, question)
    files["checkpoint"] = segment.witnessed_note(checkpoint.size).encode()
    size = answer["as_of"]["tree_size"]
    if size != checkpoint.size:
        path = segment.consistency_path(size, checkpoint.size)
        files["consistency.json"] = packs.write_json([one.hex() for one in path])
    for number, token in enumerate(segment.timestamps(checkpoint.size)):
        files[f"timestamps/{number}.tsr"] = token
        # Authorities stamp what the log signed, before any witness did.
        files["timestamps/checkpoint"] = checkpoint.note.encode()
    _add_pages(files, segment, question)
    # 5.
    facts = {"origin": segment.origin, "question": question, "tree_size": checkpoint.size}
    packs.sign_manifest(files, facts, segment.keys.receipt)
    report = verify_pack(files)
    if not report.ok:
        first = report.failures[0]
        raise EvidenceError(f"{first.at}: {first.code}: expected {first.expected}")
    return files


def _publish(segment: SqlSegment) -> int:
    """Commit to what arrived, and map it."""
    commit_blocks(segment)
    map_position = publish_map(segment, force=True)
    assert map_position is not None  # A log begins with a key entry, so there is always news.
    fold_pending(segment)
    return map_position


def _question(answer: Answer, asked: Mapping[str, object]) -> Answer:
    valid_at = asked.get("valid_at")
    depth = asked.get("depth")
    return {
        "id": answer["root"],
        "direction": answer["direction"],
        "depth": None if depth is None else int(str(depth)),
        "columns": str(asked.get("columns", False)).lower() == "true",
        "as_of": answer["as_of"]["tree_size"],
        "valid_at": None if valid_at is None else read_moment(str(valid_at), name="valid_at"),
    }


@dataclass
class _Collector:
    """Entries, and the proofs that they are all there are."""

    segment: SqlSegment
    head: TreeHead
    map_position: int
    hold_back: Callable[[str], bool]
    progress: Progress
    entries: dict[int, bytes] = field(default_factory=dict)
    checked: dict[int, packs.DisclosedEntry] = field(default_factory=dict)
    nodes: dict[str, Answer] = field(default_factory=dict)

    def collect(self, answer: Answer, question: Answer) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        self._add_entries(range(self.map_position, self.head.size))
        self._add_entries(
            entry.position
            for entry in self.segment.iter_entries(0, self.head.size, kinds={"key", "erasure"})
        )
        # Its leaf dates the answer.
        self._add_entries([question["as_of"] - 1])
        if answer["root"].startswith("prediction:"):
            files["prediction.json"] = self._prediction(answer["root"], question["as_of"])
        self._add_rows(files, question)
        visited = set(visited_nodes(answer))
        for _ in range(_ROUNDS_MAX):
            self._add_nodes(sorted(visited - set(self.nodes)))
            expected, wanted = recompute(self.checked, files, question)
            if wanted <= set(self.nodes):
                break
            visited |= wanted
        else:
            raise EvidenceError(f"nodes without end: {len(self.nodes)}")
        for index, entry in self.checked.items():
            if entry.record.kind == "statement" and entry.payload is not None:
                envelope = envelope_from_json(json.loads(entry.payload)["envelope"])
                files[f"attestations/{index}.json"] = format_envelope(envelope).encode()
        files["answer.json"] = packs.write_json(self._with_entries(answer, expected))
        files["entries.ndjson"] = b"".join(self.entries[one] for one in sorted(self.entries))
        nodes = [self.nodes[name] for name in sorted(self.nodes)]
        files["map.json"] = packs.write_json({"entry": self.map_position, "nodes": nodes})
        return files

    def _add_rows(self, files: dict[str, bytes], question: Answer) -> None:
        """Prove the rows behind the root, as far as claims fit into a pack."""
        starts, named = starting_rows(files, question), named_row(question)
        if not (starts or named) or any(find_spec(one) is None for one in ("numpy", "pyarrow")):
            return
        claims = RowClaims(self.segment)
        if named is not None:
            starts = self._named_start(named, question, claims)
            if not (starts or claims.missing):
                return  # No such key is recorded.
        for _ in range(EVIDENCE_CLAIMS_MAX):
            steps = [
                step
                for event in disclosed_events(self.checked, question)
                for step in iter_steps(event)
            ]
            reached = walk_back(steps, starts, claims.behind)
            nodes = {str(node.at("")) for node in reached if node.namespace != MEMORY}
            if nodes <= set(self.nodes):
                break
            self._add_nodes(sorted(nodes - set(self.nodes)))
        self._add_entries(sorted(claims.entries))
        rows = sorted(
            (str(node.at("")), node.version, number)
            for node, numbers in reached.items()
            if node.namespace != MEMORY
            for number in numbers
        )
        stated = {
            "claims": list(claims.proven.values()),
            "missing": list(claims.missing.values()),
            "rows": [row_json(*row) for row in rows],
            "complete": not claims.missing,
        }
        files["rows.json"] = packs.write_json(stated)

    def _named_start(
        self, named: NodeId, question: Answer, claims: RowClaims
    ) -> dict[NodeId, list[int]]:
        """Prove which row a declared key names; where it cannot be told, `claims` says why."""
        home = named.dataset.at(named.version)
        self._add_nodes([str(home.at(""))])
        events = disclosed_events(self.checked, question)
        number = claims.find_key(key_blobs(events, home), named.part)
        return {} if number is None else {home: [number]}

    def _with_entries(self, answer: Answer, expected: Answer) -> Answer:
        """Give of the live answer what can be proven, each edge with the entries behind it."""
        known = {_edge_key(edge): edge["entries"] for edge in expected["edges"]}
        written = {name: answer[name] for name in _MEMBERS}
        written["edges"] = [
            {
                **{name: value for name, value in edge.items() if name != "transformations"},
                "entries": known.get(_edge_key(edge), []),
            }
            for edge in answer["edges"]
        ]
        gaps = [*answer["gaps"]]
        gaps += [gap for gap in self._disclosure_gaps(answer, expected) if gap not in gaps]
        return {**written, "gaps": gaps, "complete": not gaps}

    def _disclosure_gaps(self, answer: Answer, expected: Answer) -> list[Answer]:
        as_of = answer["as_of"]["tree_size"]
        own = [
            disclosure_gap(entry, answer["root"])
            for index, entry in self.checked.items()
            if entry.record.kind in ("event", "block") and not entry.whole and index < as_of
        ]
        return [gap for gap in expected["gaps"] if gap in own]

    def _add_nodes(self, names: Sequence[str]) -> None:
        proven = prove_nodes(self.segment, names, self.map_position)
        for name, (positions, proof) in proven.items():
            self.nodes[name] = {"node": name, "positions": positions, "proof": proof.to_json()}
            self._add_entries(positions)

    def _add_entries(self, positions: Any) -> None:
        wanted = [one for one in positions if one not in self.entries]
        for position in wanted:
            if len(self.entries) >= EVIDENCE_ENTRIES_MAX:
                raise UsageError(
                    f"more than {EVIDENCE_ENTRIES_MAX} entries; ask with --depth or --as-of"
                )
            line = self.entries[position] = self._entry(position)
            self.checked[position] = packs.verify_entry(line.rstrip(b"\n"), self.head)
            self.progress(len(self.entries), len(self.entries))

    def _entry(self, position: int) -> bytes:
        segment = self.segment
        with segment.reading() as connection:
            (leaf,) = connection.execute(
                "SELECT leaf FROM entry WHERE position = ?", (position,)
            ).fetchone()
            disclosed = disclosed_fields(segment, position, connection, hold_back=self.hold_back)
        missing = [one.erased_by for one in disclosed.fields if one.value is None]
        erased = [disclosed.erased_by, *missing]
        return packs.write_json(
            packs.disclose_entry(
                position,
                leaf,
                segment.inclusion_path(position, self.head.size),
                [(one.pointer, one.salt, one.value, one.commitment) for one in disclosed.fields],
                erased_by=max((one for one in erased if one is not None), default=None),
            )
        )

    def _prediction(self, root: str, size: int) -> bytes:
        """Prove that the record of a prediction is a row of its batch."""
        row = prove_row(self.segment, root.removeprefix("prediction:"), size=size)
        own = [row.batch] if row.reservation is None else [row.batch, row.reservation]
        self._add_entries(own)
        return packs.write_json(
            {
                "batch": row.batch,
                "reservation": row.reservation,
                "leaf": row.place,
                "line": row.line.decode(),
                "salt": row.salt.hex(),
                "path": [one.hex() for one in row.path],
            }
        )


def _edge_key(edge: Answer) -> tuple[str, str, str, str | None]:
    return edge["source"], edge["target"], edge["kind"], edge["job"]


def _add_pages(files: dict[str, bytes], segment: SqlSegment, question: Answer) -> None:
    """Add what people read, the keys by fingerprint, a policy to start from, and the verifier."""
    keys = {use: segment.verifiers(use) for use in ("checkpoint", "receipt")}
    listed = [_key_json(use, key) for use, found in keys.items() for key in found]
    files["keys.json"] = packs.write_json(listed)
    files["policy.json"] = packs.write_json(
        {
            "keys": [key.vkey for key in keys["checkpoint"]],
            "origin": segment.origin,
            "threshold": 0,
            "witnesses": [],
        }
    )
    written = json.loads(files["answer.json"])
    files["summary.html"] = render_summary(written, question, listed).encode()
    files["certificate.html"] = render_certificate(written, listed).encode()
    package = resources("lodeline")
    files["verifier/verify.py"] = (package / "evidence" / "offline.py").read_bytes()
    files["verifier/lodeline/__init__.py"] = _package_file()
    for name in _VERIFIER:
        _add_source(files, package / name, f"verifier/lodeline/{name}")


def _key_json(use: str, key: Verifier) -> Answer:
    return {"use": use, "vkey": key.vkey, "sha256": sha256(key.public).hexdigest()}


def _package_file() -> bytes:
    from lodeline import __version__

    return f'"""The part of Lodeline that verifies."""\n\n__version__ = "{__version__}"\n'.encode()


def _add_source(files: dict[str, bytes], source: Traversable, name: str) -> None:
    if source.is_file():
        if name.endswith(".py"):
            files[name] = source.read_bytes()
        return
    for one in source.iterdir():
        if one.name != "__pycache__":
            _add_source(files, one, f"{name}/{one.name}")
