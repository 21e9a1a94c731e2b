"""Whether the answer of an evidence pack follows from the log: the offline verdict.

`verify_pack` needs the pack's files and whom the reader trusts; no store, network or account. With
`proof`, `wire`, `model`, `limits` and `errors` this package is all it takes.

1. *Entries.* Each is in the tree of the checkpoint, and is what its leaf commits to.
2. *Keys.* The checkpoint is signed by a key that the reader trusts; the manifest lists every file.
3. *Non-omission.* A `map` leaf under the checkpoint says which entries assert something about a
   node. Every entry about every node that the answer visits is in the pack, and so is every entry
   after those that the map covers.
4. *Prediction and rows.* The record of a prediction is a row of the batch whose root a leaf
   carries, and each claim about a row one of a block whose root a leaf carries; a root that its
   declared key names is the row that claims it; the rows that the pack names behind the root are
   those that steps and claims lead to.
5. *Answer.* Folding the entries and asking again gives the answer: each node, edge and gap of it,
   and for each edge the entries that assert it. What is not disclosed stands as a gap.

What stays open: whether the events told the truth. The pack proves what was recorded, and when it
was recorded at the latest; not that the recorded program did what it said.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Any, Final

from lodeline.errors import (
    InvalidEventError,
    LodelineError,
    MalformedPackError,
    ProofError,
    UnknownNodeError,
)
from lodeline.fold.answer import supported_trace
from lodeline.fold.completeness import required_nodes
from lodeline.fold.entries import Entry, group_key
from lodeline.fold.graph import fold
from lodeline.fold.row_claims import FACET as ROWS_FACET
from lodeline.fold.row_claims import RowsFound, feature_rows, is_valid_by, recompute_rows
from lodeline.model import (
    NodeId,
    PredictionId,
    find_prediction_id,
    format_time,
    parse_identifier,
)
from lodeline.proof import (
    TreeHead,
    Verifier,
    commit_field,
    dsse,
    hash_leaf,
    packs,
    parse_note,
    verify_consistency,
    verify_inclusion,
)
from lodeline.proof.commitments import SALT_BYTES
from lodeline.proof.cosignatures import CosignatureVerifier, find_cosignatures
from lodeline.proof.merkle_map import (
    MapHead,
    MapProof,
    map_key,
    verify_map_absent,
    verify_map_present,
)
from lodeline.proof.packs import DisclosedEntry, Trust
from lodeline.wire import canonical_bytes, decode_stored, parse_with_tokens

FAILURES_MAX: Final = 1000
# Gaps that the record itself does not show: an answer may admit more of them, never fewer.
_ADMITTED: Final = frozenset(
    {"summarised", "sampled", "permission", "retention", "erased", "pending"}
)

_QUESTION: Final = frozenset({"id", "direction", "depth", "columns", "as_of", "valid_at"})
# What an answer says; more could not be proven.
_MEMBERS: Final = frozenset(
    {"root", "direction", "as_of", "trees", "complete", "gaps", "nodes", "edges", "next"}
)
_TREE: Final = frozenset({"segment", "origin", "size", "root_hash"})

# Where facets stand in an event; other fields are personal values, sealed.
_FACET: Final = re.compile(
    r"/(?:(?:run|job|dataset)/facets|(?:inputs|outputs)/\d+/(?:facets|(?:in|out)putFacets))/[^/]*"
)
# A facet that is sealed whole, or that was older than its subject's erasure: `wire.personal`.
_SEALED: Final = re.compile(
    rb'\{"key":"[0-9a-f]{32}","nonce":"[0-9a-f]{24}","sealed":"[^"]*"\}|\{"erased_by":"\d+"\}'
)

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PackFailure:
    """One thing that does not hold; see `docs/reference/evidence.md` for the codes."""

    code: str
    at: str
    expected: str
    found: str


@dataclass(slots=True)
class PackReport:
    """The verdict on a pack.

    Attributes:
        trust: `self` or `policy`.
        entries: in the tree of the checkpoint.
        proofs: inclusion and map proofs that hold.
        signatures: that verify: checkpoint, manifest, witnesses.
        payloads: entries disclosed whole.
        erased: entries of which something is not disclosed.
        failures: at most `FAILURES_MAX`.
    """

    trust: str = "self"
    entries: int = 0
    proofs: int = 0
    signatures: int = 0
    payloads: int = 0
    erased: int = 0
    failures: list[PackFailure] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.failures

    def fail(self, code: str, at: str, expected: object, found: object) -> None:
        """Note what does not hold."""
        if len(self.failures) < FAILURES_MAX:
            self.failures.append(PackFailure(code, _short(at), _short(expected), _short(found)))

    def to_json(self) -> Answer:
        """Give the answer of the contract."""
        return {
            "ok": self.ok,
            "trust": self.trust,
            "checked": {
                "entries": self.entries,
                "proofs": self.proofs,
                "signatures": self.signatures,
                "payloads": self.payloads,
                "erased": self.erased,
            },
            "failures": [
                {"code": one.code, "at": one.at, "expected": one.expected, "found": one.found}
                for one in self.failures
            ],
        }


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    # Half of a surrogate pair can be read from JSON, and printed nowhere.
    return text[:2000].encode("utf-8", "replace").decode()


def verify_pack(files: Mapping[str, bytes], trust: Trust | None = None) -> PackReport:
    """Check a pack whole.

    Args:
        files: name to bytes, as `proof.packs.decode_pack` gives them, or read from a folder.
        trust: whom the reader trusts; without, the keys that the log itself certifies.

    Returns:
        The verdict; nothing that a pack holds raises.
    """
    trust = trust or Trust()
    report = PackReport(trust.name)
    try:
        _Verification(files, trust, report).run()
    except LodelineError as error:
        report.fail(error.code, "pack", "a pack that can be read to its end", str(error))
    except Exception as error:
        # A hostile pack finds errors that no list foresees, such as 1e999 as a size.
        report.fail("proof.malformed_pack", "pack", "the members of a pack", repr(error))
    return report


class _Verification:
    """One pass over a pack, in the order of the list above."""

    def __init__(self, files: Mapping[str, bytes], trust: Trust, report: PackReport) -> None:
        self.files = files
        self.trust = trust
        self.report = report
        self.entries: dict[int, DisclosedEntry] = {}
        self.proven: dict[str, list[int]] = {}

    def run(self) -> None:
        note, head = packs.find_head(self.files)
        # 1.
        self._read_entries(head)
        # 2.
        manifest = self._verify_signatures(note, head)
        answer = packs.read_json(self.files["answer.json"], "answer.json")
        question = manifest["question"]
        # 3.
        self._verify_map(head)
        self._verify_statements()
        # 4. and 5.
        self._verify_question(manifest, answer, head)
        self._verify_answer(question, answer, head)

    def _read_entries(self, head: TreeHead) -> None:
        last = -1
        for number, line in enumerate(packs.iter_lines(self.files, "entries.ndjson")):
            try:
                entry = packs.verify_entry(line, head)
            except ProofError as error:
                self.report.fail(error.code, f"entries.ndjson line {number + 1}", "a proof", error)
                continue
            if entry.index <= last:
                self.report.fail("proof.malformed_pack", f"entry {entry.index}", "in order", last)
            last = entry.index
            self.entries[entry.index] = entry
            self.report.entries += 1
            self.report.proofs += 1
            self.report.payloads += entry.whole
            self.report.erased += not entry.whole
        for entry in self.entries.values():
            if entry.erased_by is not None:
                self._verify_erasure(entry)

    def _verify_erasure(self, entry: DisclosedEntry) -> None:
        """What an erasure is said to have taken, the log must say that it took."""
        assert entry.erased_by is not None
        record = packs.read_json(self._whole(entry.erased_by, "erasure"), "erasure")
        named = {*record["entries"], *(one["entry"] for one in record.get("fields", ()))}
        if entry.erased_by <= entry.index or str(entry.index) not in named:
            at = f"entry {entry.index}"
            self.report.fail("erasure", at, f"named by entry {entry.erased_by}", sorted(named)[:5])

    def _verify_signatures(self, note: str, head: TreeHead) -> Answer:
        certified = packs.certified_keys(list(self.entries.values()))
        try:
            self.report.signatures += packs.verify_head(note, head, self.trust, certified)
        except ProofError as error:
            self.report.fail(error.code, "checkpoint", "signed by a trusted key", error)
        manifest = packs.verify_manifest(self.files, certified.receipt)
        self.report.signatures += 1
        self._verify_timestamps(note)
        if self.trust.threshold:
            self.report.signatures += self._verify_witnesses(note)
        return manifest

    def _verify_timestamps(self, note: str) -> None:
        """Each timestamp is of this checkpoint; its authority's signature is left to `openssl ts`.

        The stamped bytes are the note without the lines of witnesses.
        """
        answers = [name for name in self.files if name.endswith(".tsr")]
        if not answers:
            return
        stamped = self.files["timestamps/checkpoint"]
        if parse_note(stamped.decode())[0] != parse_note(note)[0]:
            self.report.fail("timestamp", "timestamps/checkpoint", "the pack's checkpoint", "other")
        for name in sorted(answers):
            if sha256(stamped).digest() not in self.files[name]:
                self.report.fail("timestamp", name, "of the pack's checkpoint", "of other bytes")

    def _verify_witnesses(self, note: str) -> int:
        witnesses = [CosignatureVerifier.from_vkey(one) for one in self.trust.witnesses]
        signed = find_cosignatures(note, witnesses)
        # One key under two names is one witness.
        count = len({witness.public for witness, _ in signed})
        if count < self.trust.threshold:
            self.report.fail("witness", "checkpoint", self.trust.threshold, count)
        return count

    def _verify_statements(self) -> None:
        """Statements of attesters that the reader knows verify, and are as many as asked for."""
        signed: set[bytes] = set()
        shown: set[str] = set()
        for entry in self.entries.values():
            if entry.record.kind != "statement" or entry.payload is None:
                continue
            at = f"entry {entry.index}"
            stated = packs.read_json(entry.payload, at)
            copy = self.files.get(f"attestations/{entry.index}.json")
            try:
                envelope = dsse.envelope_from_json(stated["envelope"])
                if copy != dsse.format_envelope(envelope).encode():
                    raise MalformedPackError(f"attestations/{entry.index}.json: not the entry's")
                found = self._attesters_of(envelope)
            except ProofError as error:
                self.report.fail("statement", at, "a statement as it was signed", error)
                continue
            shown.add(f"attestations/{entry.index}.json")
            self.report.signatures += len(found)
            signed.update(one.public for one in found)
        for name in sorted(self.files):
            if name.startswith("attestations/") and name not in shown:
                self.report.fail("statement", name, "the statement of an entry of the pack", "none")
        if len(signed) < self.trust.attested:
            self.report.fail("statement", "pack", self.trust.attested, len(signed))

    def _attesters_of(self, envelope: dsse.Envelope) -> list[Verifier]:
        hints = {dsse.key_hint(one) for one in self.trust.attesters}
        if not hints & {one.hint for one in envelope.signatures}:
            return []
        return dsse.verify_envelope(
            envelope, self.trust.attesters, payload_types={envelope.payload_type}
        )

    # 3.

    def _verify_map(self, head: TreeHead) -> None:
        stated = packs.read_json(self.files["map.json"], "map.json")
        leaf = self._whole(stated["entry"], "map")
        known = MapHead.from_json(packs.read_json(leaf, "map entry"))
        if known.size > stated["entry"]:
            self.report.fail(
                "map.tail", f"entry {stated['entry']}", "a map of the past", known.size
            )
        # Whatever the map does not cover must be here, so that it hides nothing.
        # The size may be a lie of 2^60: what is missing is counted no further than it is reported.
        tail = range(known.size, head.size)
        for index in islice((one for one in tail if one not in self.entries), FAILURES_MAX):
            self.report.fail("map.tail", f"entry {index}", "carried: after the map", "missing")
        for node in stated["nodes"]:
            self._verify_node(node, known.root)

    def _verify_node(self, stated: Answer, root: bytes) -> None:
        name, positions = str(stated["node"]), list(stated["positions"])
        proof = MapProof.from_json(stated["proof"])
        try:
            if positions:
                verify_map_present(proof, map_key(name), positions, root)
            else:
                verify_map_absent(proof, map_key(name), root)
        except ProofError as error:
            self.report.fail("map.proof", name, "the entries that the map commits to", error)
            return
        self.report.proofs += 1
        self.proven[name] = positions
        for index in positions:
            if index not in self.entries:
                self.report.fail("map.omitted", f"entry {index}", f"carried: about {name}", "no")

    def _whole(self, index: int, kind: str) -> bytes:
        """Give the payload of an entry that must be disclosed whole."""
        entry = self.entries.get(index)
        if entry is None or entry.record.kind != kind or entry.payload is None:
            raise MalformedPackError(f"entry {index}: the pack needs it, of kind {kind}, whole")
        return entry.payload

    # 4. and 5.

    def _verify_question(self, manifest: Answer, answer: Answer, head: TreeHead) -> None:
        """The answer is said to be of the moment that was asked about, and says nothing beside."""
        question = manifest["question"]
        if not _is_question(question):
            raise MalformedPackError(f"{packs.MANIFEST}: question: {_short(question)}")
        stated = {"origin": manifest.get("origin"), "tree_size": manifest.get("tree_size")}
        _expect(self.report, "manifest", {"origin": head.origin, "tree_size": head.size}, stated)
        size, valid_at = question["as_of"], question["valid_at"]
        last = self.entries.get(size - 1)
        if last is None:
            self.report.fail("answer.as_of", f"entry {size - 1}", "carried: dates the answer", "no")
            return
        moment: Answer = {"time": format_time(last.record.log_time_us), "tree_size": size}
        if valid_at is not None:
            moment["valid_at"] = format_time(valid_at)
        _expect(self.report, "as_of", moment, answer["as_of"])
        _expect(self.report, "members", sorted(_MEMBERS), sorted(answer))

    def _verify_answer(self, question: Answer, answer: Answer, head: TreeHead) -> None:
        self._verify_tree(answer, head)
        try:
            expected, visited = recompute(self.entries, self.files, question)
        except UnknownNodeError as error:
            self.report.fail("answer.root", str(question["id"]), "known to the entries", error)
            return
        for name in sorted(visited - set(self.proven)):
            self.report.fail("map.unproven", name, "its entries proven complete", "not proven")
        for name in ("root", "direction"):
            if answer.get(name) != expected[name]:
                self.report.fail(f"answer.{name}", name, expected[name], answer.get(name))
        for name in ("nodes", "edges"):
            self._compare(name, expected[name], answer[name])
        self._compare_gaps(expected["gaps"], answer["gaps"])
        self._verify_rows(question)
        if answer.get("complete") is not (not answer["gaps"]):
            self.report.fail("answer.complete", "complete", not answer["gaps"], answer["complete"])
        if answer.get("next") is not None:
            self.report.fail("answer.next", "next", "the whole answer", "a page of it")

    def _verify_rows(self, question: Answer) -> None:
        """The rows that the pack names are those that steps and claims lead to."""
        if "rows.json" not in self.files:
            return
        stated = packs.read_json(self.files["rows.json"], "rows.json")
        if set(stated) != {"claims", "missing", "rows", "complete"}:
            raise MalformedPackError("rows.json: other members than it has")
        try:
            found = find_rows(self.entries, self.files, question, stated)
        except ProofError as error:
            self.report.fail(error.code, "rows.json", "claims that the log commits to", error)
            return
        self.report.proofs += len(stated["claims"])
        expected = [row_json(*row) for row in found.rows]
        _expect(self.report, "rows", expected, stated["rows"])
        _expect(self.report, "rows.complete", not found.gaps, stated["complete"])

    def _verify_tree(self, answer: Answer, head: TreeHead) -> None:
        """The answer's tree head is the checkpoint's, or one that the checkpoint extends."""
        [tree] = answer["trees"]
        size, root = tree["size"], bytes.fromhex(tree["root_hash"])
        if tree["origin"] != head.origin or type(size) is not int or set(tree) != _TREE:
            self.report.fail("answer.trees", "trees", head.origin, tree)
        if answer["as_of"]["tree_size"] != size:
            self.report.fail("answer.trees", "trees", head.origin, tree)
        if (size, root) == (head.size, head.root_hash):
            return
        path = packs.read_json(self.files["consistency.json"], "consistency.json")
        try:
            verify_consistency(
                [bytes.fromhex(one) for one in path],
                size_earlier=size,
                size_later=head.size,
                root_earlier=root,
                root_later=head.root_hash,
            )
        except ProofError as error:
            self.report.fail(error.code, "trees", "a tree that the checkpoint extends", error)

    def _compare(self, what: str, expected: list[Answer], found: list[Answer]) -> None:
        ours = {_key(one): one for one in expected}
        theirs = {_key(one): one for one in found}
        for key in sorted(set(ours) - set(theirs)):
            self.report.fail(f"answer.{what}", key, "in the answer: the entries say so", "left out")
        for key in sorted(set(theirs) - set(ours)):
            self.report.fail(f"answer.{what}", key, "not in the answer", "no entry says so")
        for key in sorted(set(ours) & set(theirs)):
            # As written: to Python, true is 1 and 1 is 1.0.
            if packs.write_json(ours[key]) != packs.write_json(theirs[key]):
                self.report.fail(f"answer.{what}", key, ours[key], theirs[key])
        if len(theirs) != len(found):
            self.report.fail(f"answer.{what}", what, "each once", "repeated")

    def _compare_gaps(self, expected: list[Answer], found: list[Answer]) -> None:
        ours = {tuple(sorted(gap.items())) for gap in expected}
        theirs = {tuple(sorted(gap.items())) for gap in found}
        for gap in sorted(ours - theirs):
            self.report.fail("answer.gaps", dict(gap)["at"], dict(gap), "left out")
        for gap in sorted(theirs - ours):
            if dict(gap)["reason"] not in _ADMITTED:
                self.report.fail("answer.gaps", dict(gap)["at"], "no such gap", dict(gap))


def _expect(report: PackReport, name: str, expected: Any, found: Any) -> None:
    if packs.write_json(expected) != packs.write_json(found):
        code = "proof.malformed_pack" if name == "manifest" else f"answer.{name}"
        report.fail(code, name, expected, found)


def _is_question(value: Any) -> bool:
    """Whether a question is one: each member of its type, none beside."""
    if not isinstance(value, dict) or set(value) != _QUESTION:
        return False
    depth, valid_at = value["depth"], value["valid_at"]
    return (
        isinstance(value["id"], str)
        and value["direction"] in ("up", "down", "both")
        and (depth is None or (type(depth) is int and depth >= 0))
        and type(value["columns"]) is bool
        and type(value["as_of"]) is int
        and (valid_at is None or type(valid_at) is int)
    )


def _key(one: Answer) -> str:
    if "id" in one:
        return str(one["id"])
    return " ".join(str(one[name]) for name in ("source", "target", "kind", "job"))


# The answer, from the entries alone. Whoever writes a pack takes it from here, too.


def recompute(
    entries: Mapping[int, DisclosedEntry], files: Mapping[str, bytes], question: Answer
) -> tuple[Answer, set[str]]:
    """Ask again, of the entries that a pack carries.

    Args:
        entries: by index, checked.
        files: of the pack; of them `prediction.json`, where the root is a prediction.
        question: `{"id", "direction", "depth", "columns", "as_of", "valid_at"}`; `as_of` a tree
            size, `valid_at` microseconds or null.

    Returns:
        Root, direction, nodes, edges (each with `entries`) and gaps of the answer; and the nodes
        whose entries must all be there.

    Raises:
        UnknownNodeError: the entries do not know the root.
        ProofError: a prediction is not what its batch holds.
    """
    as_of = int(question["as_of"])
    events, gaps = _events(entries, as_of, str(question["id"]))
    root = parse_identifier(str(question["id"]))
    options = {"as_of": as_of, "valid_at": question.get("valid_at")}
    options["columns"] = bool(question.get("columns"))
    direction, depth = str(question["direction"]), question.get("depth")
    if root.kind == "prediction":
        answer, visited = _from_prediction(
            events, entries, files, root, direction=direction, depth=depth, options=options
        )
    elif root.kind == "row":
        answer, visited = _from_row(events, root, direction=direction, depth=depth, options=options)
    else:
        answer, visited = _trace(events, root, direction=direction, depth=depth, **options)
    answer["gaps"] += gaps
    if "rows.json" in files:
        stated = packs.read_json(files["rows.json"], "rows.json")
        visited |= find_rows(entries, files, question, stated).nodes
    return answer, visited


def find_rows(
    entries: Mapping[int, DisclosedEntry],
    files: Mapping[str, bytes],
    question: Answer,
    stated: Answer,
) -> RowsFound:
    """Walk back from the root's rows, with the claims that a pack states.

    Raises:
        ProofError: a claim is not what the log commits to, or is missing and not said to be.
    """
    events = disclosed_events(entries, question)
    starts = starting_rows(files, question)
    return recompute_rows(entries, events, stated, starts, named_row(question))


def disclosed_events(
    entries: Mapping[int, DisclosedEntry], question: Answer
) -> Iterator[dict[str, Any]]:
    """Give the events with row steps that count for a question, as far as they are disclosed."""
    for index, entry in sorted(entries.items()):
        if entry.record.kind != "event" or index >= int(question["as_of"]):
            continue
        if not any(one.pointer.endswith(f"/{ROWS_FACET}") for one in entry.fields):
            continue
        canonical = assemble([(one.pointer, one.value) for one in entry.fields])
        event = None if canonical is None else json.loads(canonical)
        if event is not None and is_valid_by(event, question.get("valid_at")):
            yield event


def starting_rows(files: Mapping[str, bytes], question: Answer) -> dict[NodeId, list[int]]:
    """Give the rows, by number, that a question is about: the root, or a prediction's features."""
    root = parse_identifier(str(question["id"]))
    if root.kind == "row":
        return {root.dataset.at(root.version): [int(root.part)]} if _is_numbered(root) else {}
    if "prediction.json" not in files:
        return {}
    line = packs.read_json(files["prediction.json"], "prediction.json")["line"]
    starts: dict[NodeId, list[int]] = {}
    for dataset, version, number in feature_rows(json.loads(line)):
        starts.setdefault(parse_identifier(dataset).at(version), []).append(number)
    return starts


def named_row(question: Answer) -> NodeId | None:
    """Give the root of a question where it is a row that its declared key names."""
    root = parse_identifier(str(question["id"]))
    if root.kind != "row" or _is_numbered(root) or not root.version:
        return None
    # Rows without a key claim an empty text: nobody can tell them from one with an empty key.
    return root if root.part else None


def _is_numbered(row: NodeId) -> bool:
    """Whether a number names a row: of bytes. Anything else names it by a declared key."""
    return row.part.isdigit() and row.version.startswith("sha256:")


def row_json(dataset: str, version: str, number: int) -> Answer:
    """Write one row as a pack names it."""
    return {"dataset": dataset, "version": version, "key": str(number)}


def _trace(events: Sequence[Entry], root: NodeId, **options: Any) -> tuple[Answer, set[str]]:
    as_of, valid_at = options.pop("as_of"), options.pop("valid_at")
    graph = fold(events, as_of=as_of, valid_at=valid_at)
    answer, supports = supported_trace(graph, root, valid_at=valid_at, **options)
    positions: dict[Any, list[int]] = defaultdict(list)
    for entry in events:
        positions[group_key(entry)].append(entry.position)
    for edge, groups in zip(answer["edges"], supports, strict=True):
        edge["entries"] = sorted({one for key in groups for one in positions[key]})
    asked = str(root)
    return answer, required_nodes(graph, answer, asked=asked, columns=options["columns"])


def _events(
    entries: Mapping[int, DisclosedEntry], as_of: int, root: str
) -> tuple[list[Entry], list[Answer]]:
    """Put the disclosed events together again; what is missing in them is a gap."""
    events: list[Entry] = []
    gaps: list[Answer] = []
    for index, entry in sorted(entries.items()):
        if entry.record.kind != "event" or index >= as_of:
            continue
        if not entry.whole:
            gaps.append(disclosure_gap(entry, root))
        canonical = assemble([(one.pointer, one.value) for one in entry.fields])
        if canonical is None:
            continue
        try:
            event = decode_stored(canonical)
        except InvalidEventError as error:
            raise MalformedPackError(f"entry {index}: no event: {error}") from error
        events.append(Entry(index, entry.record.log_time_us, event, sha256(canonical).digest()))
    return events, gaps


def disclosure_gap(entry: DisclosedEntry, root: str) -> Answer:
    """Give the gap that stands for what is not disclosed of an entry."""
    missing = [one.pointer or "core" for one in entry.fields if one.value is None] or ["payload"]
    reason = "permission" if entry.erased_by is None else "erased"
    detail = f"entry {entry.index}: {', '.join(missing[:5])} not disclosed"
    return {"at": root, "reason": reason, "detail": detail}


def assemble(fields: Iterable[tuple[str, bytes | None]]) -> bytes | None:
    """Put the payload of an event together from its committed fields.

    Returns:
        Canonical bytes; `None` where the core is not disclosed. What is not disclosed stays null,
        and so does what is sealed: it is null in the payload that was folded, too.
    """
    core, *facets = list(fields) or [("", None)]
    if core[1] is None:
        return None
    event = parse_with_tokens(core[1])
    for pointer, value in facets:
        if value is not None and _FACET.fullmatch(pointer) and not _SEALED.fullmatch(value):
            holder = event
            *steps, name = pointer.split("/")[1:]
            for step in steps:
                holder = holder[int(step)] if isinstance(holder, list) else holder[step]
            holder[name.replace("~1", "/").replace("~0", "~")] = parse_with_tokens(value)
    return canonical_bytes(event, finished=True)


# 4.


def _from_prediction(
    events: Sequence[Entry],
    entries: Mapping[int, DisclosedEntry],
    files: Mapping[str, bytes],
    root: NodeId,
    *,
    direction: str,
    depth: int | None,
    options: Mapping[str, Any],
) -> tuple[Answer, set[str]]:
    batch = _verified_batch(entries, files, root, as_of=options["as_of"])
    deployment, answer = batch.deployment, _empty(root, direction)
    # The reservation is filed under the deployment that the batch names: none may be left out.
    visited = {str(batch.named.at(""))}
    if direction != "down" and deployment is not None and depth != 0:
        below = None if depth is None else depth - 1
        try:
            answer, more = _trace(events, deployment, direction="up", depth=below, **options)
        except UnknownNodeError:
            # That no entry tells of it must be proven, as what entries tell.
            known = fold(events, as_of=options["as_of"], valid_at=options["valid_at"])
            asked, columns = str(deployment), options["columns"]
            answer = _empty(deployment, direction)
            more = required_nodes(known, None, asked=asked, columns=columns)
        visited |= more
        deployment = parse_identifier(answer["root"])
        for node in answer["nodes"]:
            node["depth"] += 1
        answer["nodes"].append({**root.to_json(), "depth": 0})
        answer["edges"].append(_predicts(root, deployment, batch))
    elif direction != "down" and deployment is not None:
        gap = {"at": str(root), "reason": "depth", "detail": "derivations beyond depth 0"}
        answer["gaps"].append(gap)
    elif direction != "down":
        detail = "no deployment is recorded for its block"
        answer["gaps"].append({"at": str(root), "reason": "capture", "detail": detail})
    answer |= {"root": str(root), "direction": direction}
    answer["gaps"] += [
        disclosure_gap(entry, str(root))
        for index, entry in sorted(entries.items())
        if entry.record.kind == "block" and not entry.whole and index < options["as_of"]
    ]
    return answer, visited


def _empty(root: NodeId, direction: str) -> Answer:
    nodes = [{**root.to_json(), "depth": 0}]
    return {"root": str(root), "direction": direction, "nodes": nodes, "edges": [], "gaps": []}


@dataclass(frozen=True, slots=True)
class _Batch:
    named: NodeId
    deployment: NodeId | None
    run_id: str | None
    entries: list[int]


def _verified_batch(
    entries: Mapping[int, DisclosedEntry],
    files: Mapping[str, bytes],
    root: NodeId,
    *,
    as_of: int,
) -> _Batch:
    """Check that a prediction is a row of its batch; give what the batch says of it."""
    stated = packs.read_json(files["prediction.json"], "prediction.json")
    line = stated["line"].encode()
    if packs.read_json(line, "prediction").get("id") != root.name:
        raise MalformedPackError(f"prediction.json: not the record of {root}")
    index, drawn = stated["batch"], find_prediction_id(root.name)
    if type(index) is not int or index >= as_of or drawn is None:
        raise MalformedPackError(f"prediction.json: entry {index} came after the answer")
    facet = _batch_facet(entries, index)
    if facet["block"] != drawn.block_text:
        raise MalformedPackError(f"prediction.json: entry {index} is of another block")
    salt = bytes.fromhex(stated["salt"])
    if len(salt) != SALT_BYTES:
        raise MalformedPackError(f"prediction.json: a salt has {SALT_BYTES} bytes")
    [block_root] = entries[index].record.roots
    verify_inclusion(
        hash_leaf(commit_field(salt, "", line)),
        [bytes.fromhex(one) for one in stated["path"]],
        leaf_index=int(stated["leaf"]),
        tree_size=int(facet["count"]),
        root=bytes.fromhex(block_root),
    )
    reservation = _reservation(entries, drawn, as_of=as_of)
    if stated.get("reservation") != reservation:
        raise MalformedPackError(f"prediction.json: its block is reserved by entry {reservation}")
    named = _deployment(facet)
    if reservation is None:
        return _Batch(named, None, None, [index])
    reserved = _batch_facet(entries, reservation)
    used = sorted({index, reservation})
    return _Batch(named, _deployment(reserved), reserved.get("run"), used)


def _reservation(
    entries: Mapping[int, DisclosedEntry], drawn: PredictionId, *, as_of: int
) -> int | None:
    """Find the reservation of an identifier's block: the latest before it was drawn."""
    found: list[tuple[int, int]] = []
    for index, entry in entries.items():
        if entry.record.kind != "block" or entry.payload is None or index >= as_of:
            continue
        event = packs.read_json(entry.payload, f"entry {index}")
        facet = event["dataset"]["facets"].get("lodeline_prediction_batch")
        if facet is None:
            continue  # It commits to links of rows.
        if facet.get("reserved") and facet["block"] == drawn.block_text:
            found.append((int(facet["time"]), -index))
    before = [one for one in found if one[0] <= drawn.time_us]
    return -max(before)[1] if before else None


def _deployment(facet: Answer) -> NodeId:
    named = facet["deployment"]
    version = str(named.get("version") or "")
    return NodeId("deployment", named["namespace"], named["name"], "", version)


def _batch_facet(entries: Mapping[int, DisclosedEntry], index: int) -> Answer:
    entry = entries.get(index)
    if entry is None or entry.record.kind != "block" or entry.payload is None:
        raise MalformedPackError(f"prediction.json: entry {index} is no block entry of the pack")
    event = packs.read_json(entry.payload, f"entry {index}")
    facet: Answer = event["dataset"]["facets"]["lodeline_prediction_batch"]
    return facet


def _predicts(root: NodeId, deployment: NodeId, batch: _Batch) -> Answer:
    drawn = find_prediction_id(root.name)
    assert drawn is not None  # Its batch holds it, and takes identifiers of blocks alone.
    time = format_time(drawn.time_us)
    runs = [batch.run_id] if batch.run_id else []
    return _edge(deployment, root, "predicts", runs=runs, time=time, entries=batch.entries)


def _edge(
    source: NodeId,
    target: NodeId,
    kind: str,
    *,
    runs: Sequence[str] = (),
    time: str | None = None,
    entries: Collection[int] = (),
) -> Answer:
    return {
        "source": str(source),
        "target": str(target),
        "kind": kind,
        "job": None,
        "status": "current",
        "basis": "observed",
        "restricted": False,
        "asserted_by": list(runs),
        "asserted_by_total": len(runs),
        "first_seen": time,
        "last_seen": time,
        "entries": list(entries),
    }


def _from_row(
    events: Sequence[Entry],
    root: NodeId,
    *,
    direction: str,
    depth: int | None,
    options: Mapping[str, Any],
) -> tuple[Answer, set[str]]:
    home = root.dataset.at(root.version)
    answer, visited = _trace(events, home, direction=direction, depth=depth, **options)
    answer["root"] = str(root)
    answer["nodes"].append({**root.to_json(), "depth": 0})
    answer["edges"].append(_edge(home, root, "row"))
    return answer, visited
