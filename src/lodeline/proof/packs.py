"""Evidence packs: a folder of files, or its zip, from which an answer can be checked offline.

This module checks what the log says of a pack: that its files are those the log's key signed for,
that each entry it carries is in the tree of a signed checkpoint, that what is disclosed of an entry
is what its leaf commits to, and that every entry about each node named is there (`merkle_map`).
What the entries mean, and whether the answer follows from them, `lodeline.fold.evidence` checks.

The layout is written down in `docs/reference/evidence.md`. Reading files is the caller's part.
"""

from __future__ import annotations

import binascii
import json
import re
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from .checkpoints import TreeHead, parse_tree_head
from .commitments import SALT_BYTES, commit_field
from .errors import MalformedPackError
from .hashing import hash_leaf
from .inclusion import verify_inclusion
from .leaves import LeafRecord, decode_leaf
from .notes import Signer, Verifier, parse_note, verify_note

FORMAT: Final = "lodeline-evidence/1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
# A pack is read into memory whole. A million entries of a kilobyte each are more than a reader
# wants; what asks for more is an attack, or a question to be asked with less depth.
PACK_BYTES_MAX: Final = 1 << 30
MEMBERS_MAX: Final = 4096
_DOMAIN: Final = b"lodeline/v1/evidence\n"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")


# The container. Members are stored, not deflated, and every field has one value: so the bytes of a
# pack follow from its files, and a changed byte anywhere is found by writing the pack again.

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_DATE: Final = 0x21  # 1980-01-01, the first day that the format can say.
_UTF8: Final = 0x800


def encode_pack(files: Mapping[str, bytes]) -> bytes:
    """Write the zip of a pack; equal files give equal bytes.

    Raises:
        MalformedPackError: a name that is not a plain relative path, or too much.
    """
    _check_files(files)
    body, directory = bytearray(), bytearray()
    for name in sorted(files):
        data, path = files[name], name.encode()
        facts = (_UTF8, 0, 0, _DATE, zlib.crc32(data), len(data), len(data), len(path), 0)
        directory += _CENTRAL.pack(b"PK\1\2", 20, 20, *facts, 0, 0, 0, 0, len(body)) + path
        body += _LOCAL.pack(b"PK\3\4", 20, *facts) + path + data
    end = (0, 0, len(files), len(files), len(directory), len(body), 0)
    return bytes(body + directory + _END.pack(b"PK\5\6", *end))


def decode_pack(data: bytes) -> dict[str, bytes]:
    """Read the zip of a pack; only the exact bytes that `encode_pack` writes are accepted.

    Raises:
        MalformedPackError: anything else. A pack that was unpacked and zipped again can be
            unpacked and verified as a folder.
    """
    if len(data) > PACK_BYTES_MAX:
        raise MalformedPackError(f"pack of {len(data)} bytes; at most {PACK_BYTES_MAX}")
    files: dict[str, bytes] = {}
    offset = 0
    while data[offset : offset + 4] == b"PK\3\4" and len(files) <= MEMBERS_MAX:
        try:
            head = _LOCAL.unpack_from(data, offset)
            start = offset + _LOCAL.size + head[9]
            name = data[offset + _LOCAL.size : start].decode("utf-8")
        except (struct.error, UnicodeDecodeError) as error:
            raise MalformedPackError(f"no zip member at byte {offset}") from error
        offset = start + head[7]
        files[name] = data[start:offset]
    if encode_pack(files) != data:
        raise MalformedPackError(
            "the container is not as it was written: changed, cut off, or zipped anew "
            "(then verify the unpacked folder)"
        )
    return files


def _check_files(files: Mapping[str, bytes]) -> None:
    if len(files) > MEMBERS_MAX or sum(map(len, files.values())) > PACK_BYTES_MAX:
        raise MalformedPackError(f"over {MEMBERS_MAX} files or {PACK_BYTES_MAX} bytes")
    for name in files:
        if not _NAME.fullmatch(name) or len(name) > 255:
            raise MalformedPackError(f"{name[:64]!r} is no name of a pack's file")


def read_json(data: bytes, what: str) -> Any:
    """Read JSON strictly: UTF-8, no duplicate member, no NaN.

    Raises:
        MalformedPackError: not so.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a member occurs twice")
        return found

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise MalformedPackError(f"{what}: {error}") from error


def write_json(value: Any) -> bytes:
    """Write JSON in one form: sorted members, no white space, one final newline."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode() + b"\n"


# The manifest.


def sign_manifest(files: Mapping[str, bytes], facts: Mapping[str, Any], signer: Signer) -> None:
    """Add manifest and signature to the files of a pack."""
    digests = {name: sha256(data).hexdigest() for name, data in sorted(files.items())}
    manifest = write_json({"files": digests, "format": FORMAT, **facts})
    signature = signer.verifier.identifier + signer.sign(_DOMAIN + manifest)
    assert isinstance(files, dict)
    files[MANIFEST] = manifest
    files[SIGNATURE] = b64encode(signature) + b"\n"


def verify_manifest(files: Mapping[str, bytes], verifiers: Sequence[Verifier]) -> dict[str, Any]:
    """Check that a pack's files are those that the log's receipt key signed for.

    1. The manifest is of this format, written in its one form.
    2. The files are those it lists, no more and no less, each with its digest.
    3. A known receipt key signed it.

    Raises:
        MalformedPackError: a file is missing, too many, or changed.
        SignatureError: no known key signed the manifest.
    """
    # 1.
    _check_files(files)
    raw = _member(files, MANIFEST)
    manifest = read_json(raw, MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise MalformedPackError(f"{MANIFEST}: not of format {FORMAT}")
    listed = manifest.get("files")
    if not isinstance(listed, dict) or write_json(manifest) != raw:
        raise MalformedPackError(f"{MANIFEST}: not in its one form")
    # 2.
    present = set(files) - {MANIFEST, SIGNATURE}
    for name in sorted(present ^ set(listed)):
        raise MalformedPackError(f"{name}: {'missing' if name in listed else 'not listed'}")
    for name in sorted(present):
        if sha256(files[name]).hexdigest() != listed[name]:
            raise MalformedPackError(f"{name}: not the file that the manifest lists")
    # 3.
    try:
        signature = b64decode(_member(files, SIGNATURE).rstrip(b"\n"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedPackError(f"{SIGNATURE}: not base64") from error
    if b64encode(signature) + b"\n" != files[SIGNATURE] or len(signature) != 68:
        raise MalformedPackError(f"{SIGNATURE}: not a signature")
    for verifier in verifiers:
        if verifier.identifier == signature[:4]:
            verifier.verify(_DOMAIN + raw, signature[4:])
            return manifest
    raise MalformedPackError(f"{SIGNATURE}: signed by none of the known receipt keys")


def _member(files: Mapping[str, bytes], name: str) -> bytes:
    data = files.get(name)
    if data is None:
        raise MalformedPackError(f"{name}: missing")
    return data


# Entries.


@dataclass(frozen=True, slots=True)
class DisclosedField:
    """One committed field of an entry.

    Attributes:
        pointer: JSON pointer; empty for the core.
        value: canonical bytes; `None` where only the commitment is disclosed.
    """

    pointer: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class DisclosedEntry:
    """An entry of the log as a pack carries it, checked against leaf and checkpoint.

    Attributes:
        index: leaf index.
        record: what the leaf says.
        fields: in pointer order.
        erased_by: index of the `erasure` entry that the pack names for what is missing.
    """

    index: int
    record: LeafRecord
    fields: tuple[DisclosedField, ...]
    erased_by: int | None = None

    @property
    def whole(self) -> bool:
        """Whether every field is disclosed."""
        return bool(self.fields) and all(one.value is not None for one in self.fields)

    @property
    def payload(self) -> bytes | None:
        """The payload of an entry of another kind than `event`; `None` if not disclosed."""
        return self.fields[0].value if self.fields else None


def disclose_entry(
    index: int,
    leaf: bytes,
    path: Sequence[bytes],
    fields: Sequence[tuple[str, bytes | None, bytes | None, bytes]],
    *,
    erased_by: int | None = None,
) -> dict[str, Any]:
    """Write an entry for a pack.

    Args:
        index: leaf index.
        leaf: the leaf record.
        path: of inclusion under the pack's checkpoint.
        fields: (pointer, salt, value, commitment), salt and value `None` where not disclosed.
        erased_by: the entry that erased what is not disclosed.
    """
    written = []
    for pointer, salt, value, commitment in fields:
        if salt is None or value is None:
            written.append({"pointer": pointer, "commitment": commitment.hex()})
        else:
            written.append({"pointer": pointer, "salt": salt.hex(), "value": value.decode()})
    entry: dict[str, Any] = {
        "index": index,
        "leaf": leaf.decode("ascii"),
        "path": [one.hex() for one in path],
        "fields": written,
    }
    return entry if erased_by is None else {**entry, "erased_by": erased_by}


def verify_entry(line: bytes, head: TreeHead) -> DisclosedEntry:
    """Check one entry of a pack.

    1. It has the members of an entry.
    2. Its leaf is in the tree of the checkpoint.
    3. Its leaf is a leaf record.
    4. Its fields, in pointer order, give the commitment of the leaf. An entry erased whole has
       none left: then it names the entry that erased it.

    Raises:
        MalformedPackError: not an entry, or its fields are not what the leaf commits to.
        ProofError: it is not in the tree.
    """
    # 1.
    entry = read_json(line, "entry")
    try:
        index, leaf = entry["index"], entry["leaf"].encode("ascii")
        path = [_bytes(one) for one in entry["path"]]
        fields = [(one["pointer"], *_field(one)) for one in entry["fields"]]
        erased_by = entry.get("erased_by")
        pointers = [pointer.encode() for pointer, _, _ in fields]
        known = set(entry) <= {"index", "leaf", "path", "fields", "erased_by"}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedPackError(f"entry: {error}") from error
    numbers = (index, 0 if erased_by is None else erased_by)
    if not known or not all(type(one) is int for one in numbers):
        raise MalformedPackError("entry: other members than an entry has")
    # 2.
    verify_inclusion(
        hash_leaf(leaf), path, leaf_index=index, tree_size=head.size, root=head.root_hash
    )
    # 3.
    record = decode_leaf(leaf)
    # 4.
    if not fields and erased_by is not None:
        return DisclosedEntry(index, record, (), erased_by)
    if pointers != sorted(set(pointers)) or pointers[:1] != [b""]:
        raise MalformedPackError(f"entry {index}: fields are not in order, each once")
    if sha256(b"".join(commitment for _, commitment, _ in fields)).digest() != record.commitment:
        raise MalformedPackError(f"entry {index}: the fields are not those the leaf commits to")
    disclosed = tuple(DisclosedField(pointer, value) for pointer, _, value in fields)
    return DisclosedEntry(index, record, disclosed, erased_by)


def _bytes(text: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise ValueError("not hexadecimal in lower case")
    return bytes.fromhex(text)


def _field(one: dict[str, Any]) -> tuple[bytes, bytes | None]:
    if set(one) == {"pointer", "commitment"}:
        commitment = _bytes(one["commitment"])
        if len(commitment) != 32:
            raise ValueError("a commitment has 32 bytes")
        return commitment, None
    if set(one) != {"pointer", "salt", "value"}:
        raise ValueError("a field has pointer, salt and value, or pointer and commitment")
    salt, value = _bytes(one["salt"]), one["value"].encode()
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    return commit_field(salt, one["pointer"], value), value


# Keys and checkpoint.


@dataclass(frozen=True)
class Trust:
    """Whom the reader trusts.

    Attributes:
        origin: the log's name that is expected; `None` for any.
        keys: checkpoint keys; empty for those that the log itself certifies (`trust: self`).
        witnesses: (vkey) of witnesses; how their signatures are checked is `verify_witnesses`'.
        threshold: how many witnesses must have signed.
        size_min: no checkpoint below it is accepted: a pack of a rolled-back log fails.
        attesters: keys of people and systems whose statements the reader asks for.
        attested: how many of them must have signed a statement that the pack carries.
    """

    origin: str | None = None
    keys: tuple[Verifier, ...] = ()
    witnesses: tuple[str, ...] = ()
    threshold: int = 0
    size_min: int = 0
    attesters: tuple[Verifier, ...] = ()
    attested: int = 0

    @property
    def name(self) -> str:
        """`policy` with keys of the reader's, else `self`."""
        return "policy" if self.keys else "self"


_POLICY_KEYS: Final = ("keys", "witnesses", "attesters")
_POLICY_NUMBERS: Final = ("threshold", "size_min", "attested")


def read_policy(data: bytes) -> Trust:
    """Read a policy file, as `docs/reference/evidence.md` describes it.

    Raises:
        MalformedPackError: other members, or none of the reader's keys.
        MalformedNoteError: a key that is none.
    """
    policy = read_json(data, "policy")
    known = {"origin", *_POLICY_KEYS, *_POLICY_NUMBERS}
    if not isinstance(policy, dict) or not set(policy) <= known:
        raise MalformedPackError(f"policy: an object of {', '.join(sorted(known))}")
    keys, witnesses, attesters = (policy.get(name, []) for name in _POLICY_KEYS)
    if not all(isinstance(one, list) for one in (keys, witnesses, attesters)):
        raise MalformedPackError("policy: keys, witnesses and attesters are arrays of vkeys")
    texts = [*keys, *witnesses, *attesters, policy.get("origin", "")]
    numbers = {"threshold": len(witnesses), "attested": len(attesters), "size_min": 0}
    numbers.update((name, policy[name]) for name in _POLICY_NUMBERS if name in policy)
    if not all(isinstance(one, str) for one in texts) or not keys:
        raise MalformedPackError("policy: origin and vkeys are text, and there is a key at least")
    if not all(type(one) is int and one >= 0 for one in numbers.values()):
        raise MalformedPackError("policy: numbers are integers, and not negative")
    return Trust(
        origin=policy.get("origin"),
        keys=tuple(Verifier.from_vkey(one) for one in keys),
        witnesses=tuple(witnesses),
        attesters=tuple(Verifier.from_vkey(one) for one in attesters),
        **numbers,
    )


@dataclass(slots=True)
class CertifiedKeys:
    """The keys that `key` entries of a pack certify, by use."""

    checkpoint: list[Verifier] = field(default_factory=list)
    receipt: list[Verifier] = field(default_factory=list)


def certified_keys(entries: Sequence[DisclosedEntry]) -> CertifiedKeys:
    """Collect keys from disclosed `key` entries.

    Raises:
        MalformedPackError: a `key` entry that is none.
    """
    found = CertifiedKeys()
    for entry in entries:
        if entry.record.kind != "key" or entry.payload is None:
            continue
        record = read_json(entry.payload, f"entry {entry.index}")
        for key in record.get("keys", []) if isinstance(record, dict) else []:
            try:
                uses = {"checkpoint": found.checkpoint, "receipt": found.receipt}
                if key["use"] in uses:
                    uses[key["use"]].append(Verifier.from_vkey(key["vkey"]))
            except (KeyError, TypeError, AttributeError) as error:
                raise MalformedPackError(f"entry {entry.index}: no key record") from error
    return found


def find_head(files: Mapping[str, bytes]) -> tuple[str, TreeHead]:
    """Read the checkpoint of a pack; its signatures are not checked here.

    Raises:
        MalformedPackError: none, or not UTF-8.
        MalformedNoteError: not a checkpoint.
    """
    try:
        note = _member(files, "checkpoint").decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedPackError("checkpoint: not UTF-8") from error
    return note, parse_tree_head(parse_note(note)[0])


def verify_head(note: str, head: TreeHead, trust: Trust, certified: CertifiedKeys) -> int:
    """Check the checkpoint of a pack against what the reader trusts.

    1. It is of the origin expected, and not smaller than what the reader has seen before.
    2. A key that the reader trusts signed it; without any, one that the log certifies.

    Returns:
        How many of those keys signed.

    Raises:
        MalformedPackError: another origin, or a log cut back.
        SignatureError: signed by none of the keys.
    """
    # 1.
    if trust.origin is not None and head.origin != trust.origin:
        raise MalformedPackError(f"checkpoint of {head.origin}, expected {trust.origin}")
    if head.size < trust.size_min:
        raise MalformedPackError(f"checkpoint of size {head.size}, expected {trust.size_min}")
    # 2.
    return len(verify_note(note, trust.keys or certified.checkpoint)[1])


def iter_lines(files: Mapping[str, bytes], name: str) -> Iterator[bytes]:
    """Walk the lines of a member; each ends in a newline.

    Raises:
        MalformedPackError: cut off.
    """
    data = files.get(name, b"")
    if data and not data.endswith(b"\n"):
        raise MalformedPackError(f"{name}: cut off")
    yield from data.splitlines()
