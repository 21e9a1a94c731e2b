"""Blocks of rows: one Merkle root in a leaf for millions of rows, each provable and erasable alone.

A row's *claim* is bytes; the block's writer says what they mean. Each claim is committed to under a
salt of its own; `GROUP_ROWS` commitments, concatenated, are one leaf of an RFC 9162 tree, whose
root stands in the log. So a row costs one hash, and a proof shows the commitments of the rows
beside it, which say nothing of them.

Salts come from one SHAKE-256 stream in two steps: the block's secret gives a secret for each
*section* of `SECTION_ROWS` rows, and that the salts of its rows. To erase a row, the salts of its
section are written out without the row's own, and the block's secret gives way to those of the
other sections: a thousand salts to keep, not millions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256, shake_256
from typing import Any, Final

from .commitments import SALT_BYTES, SECRET_BYTES, commit_field, derive_salts, salt_stream
from .compact_range import CompactRange
from .errors import MalformedProofError
from .hashing import HASH_BYTES, hash_leaf
from .inclusion import inclusion_path, verify_inclusion

# Rows under one leaf. A proof carries 31 commitments, a kilobyte; fewer would cost more hashes.
GROUP_ROWS: Final = 32
# Rows under one secret; a power of two of groups, so that a section is a subtree of its own.
SECTION_ROWS: Final = 1024
_SECTION_GROUPS: Final = SECTION_ROWS // GROUP_ROWS
_SECTION_DOMAIN: Final = b"lodeline/v1/sections\n"
# Of `commit_field` with an empty pointer, between the salt and the claim.
_NO_POINTER: Final = bytes(4)
_SECTION_LEVEL: Final = _SECTION_GROUPS.bit_length() - 1

Claims = Callable[[int], Sequence[bytes]]
# Of a section and the salts of its rows, one after another: salt ‖ 0x00000000 ‖ claim of each row.
Preimages = Callable[[int, bytes], Sequence[bytes]]


def section_count(rows: int) -> int:
    """Count the sections of a block."""
    return -(-rows // SECTION_ROWS)


def leaf_count(rows: int) -> int:
    """Count the leaves of a block's tree."""
    return -(-rows // GROUP_ROWS)


@dataclass(frozen=True)
class Seals:
    """What commitments of a block can be computed with.

    Attributes:
        rows: of the block.
        secret: of the whole block; `None` once something was erased.
        sections: secret of each section; `None` of one that lost a row.
        salts: of each section that lost a row: a salt a row, `None` of those that are gone.
        erased: commitments of rows that are gone.
    """

    rows: int
    secret: bytes | None = None
    sections: tuple[bytes | None, ...] = ()
    salts: Mapping[int, tuple[bytes | None, ...]] = field(default_factory=dict)
    erased: Mapping[int, bytes] = field(default_factory=dict)

    def section_secrets(self) -> tuple[bytes | None, ...]:
        """Give the secret of each section."""
        if self.secret is None:
            return self.sections
        count = section_count(self.rows)
        stream = shake_256(_SECTION_DOMAIN + self.secret).digest(SECRET_BYTES * count)
        return tuple(stream[at : at + SECRET_BYTES] for at in range(0, len(stream), SECRET_BYTES))

    def salts_of(self, section: int, secret: bytes | None) -> Sequence[bytes | None]:
        """Give the salts of a section's rows."""
        count = min(SECTION_ROWS, self.rows - section * SECTION_ROWS)
        return self.salts[section] if secret is None else derive_salts(secret, count)

    def without(self, doomed: Sequence[int], claims: Claims) -> Seals:
        """Give the seals that are left once rows are erased.

        Args:
            doomed: row numbers.
            claims: gives the claims of a section's rows.
        """
        secrets = list(self.section_secrets())
        salts, erased = dict(self.salts), dict(self.erased)
        for section in sorted({row // SECTION_ROWS for row in doomed}):
            kept = list(self.salts_of(section, secrets[section]))
            values, first = claims(section), section * SECTION_ROWS
            for row in doomed:
                salt = kept[row - first] if row // SECTION_ROWS == section else None
                if salt is not None:
                    erased[row] = commit_field(salt, "", values[row - first])
                    kept[row - first] = None
            secrets[section], salts[section] = None, tuple(kept)
        return Seals(self.rows, None, tuple(secrets), salts, erased)

    def to_json(self) -> dict[str, Any]:
        """Write them for the block's own file."""
        if self.secret is not None:
            return {"rows": self.rows, "secret": self.secret.hex()}
        return {
            "rows": self.rows,
            "sections": [None if one is None else one.hex() for one in self.sections],
            "salts": {
                str(section): [None if one is None else one.hex() for one in salts]
                for section, salts in sorted(self.salts.items())
            },
            "erased": {str(row): one.hex() for row, one in sorted(self.erased.items())},
        }

    @staticmethod
    def from_json(written: Mapping[str, Any]) -> Seals:
        """Read what `to_json` wrote; KeyError, TypeError or ValueError for anything else."""
        if "secret" in written:
            return Seals(int(written["rows"]), bytes.fromhex(written["secret"]))
        return Seals(
            int(written["rows"]),
            None,
            tuple(None if one is None else bytes.fromhex(one) for one in written["sections"]),
            {
                int(section): tuple(None if one is None else bytes.fromhex(one) for one in salts)
                for section, salts in written["salts"].items()
            },
            {int(row): bytes.fromhex(one) for row, one in written["erased"].items()},
        )


def commit_section(
    seals: Seals, section: int, secret: bytes | None, claims: Sequence[bytes]
) -> list[bytes]:
    """Commit to the rows of one section; of an erased row the commitment is kept as it was."""
    first = section * SECTION_ROWS
    if secret is not None:
        # `commit_field`, written out: this runs for every row.
        salts = derive_salts(secret, len(claims))
        return [
            sha256(salt + _NO_POINTER + claim).digest()
            for salt, claim in zip(salts, claims, strict=True)
        ]
    return [
        seals.erased[first + place] if salt is None else commit_field(salt, "", claim)
        for place, (salt, claim) in enumerate(zip(seals.salts[section], claims, strict=True))
    ]


def leaf_hashes(commitments: bytes) -> list[bytes]:
    """Hash the leaves over a section's commitments, which follow one another."""
    size = GROUP_ROWS * HASH_BYTES
    return [hash_leaf(commitments[at : at + size]) for at in range(0, len(commitments), size)]


def block_roots(
    seals: Seals, claims: Claims, preimages: Preimages | None = None
) -> tuple[bytes, bytes]:
    """Compute the root of a block, and those of its sections, concatenated.

    Args:
        seals: of all rows.
        claims: gives the claims of a section's rows, in order.
        preimages: gives what is hashed of a section that lost no row, for those who put it
            together faster than row by row.
    """
    tree, sections = CompactRange(), bytearray()
    for section, secret in enumerate(seals.section_secrets()):
        if secret is None or preimages is None:
            commitments = b"".join(commit_section(seals, section, secret, claims(section)))
        else:
            count = min(SECTION_ROWS, seals.rows - section * SECTION_ROWS)
            texts = preimages(section, salt_stream(secret, count))
            commitments = b"".join([sha256(text).digest() for text in texts])
        hashes = leaf_hashes(commitments)
        root = _range_root(hashes, 0, len(hashes))
        sections += root
        if len(hashes) == _SECTION_GROUPS:
            tree.append_subtree(_SECTION_LEVEL, root)
            continue
        for one in hashes:
            tree.append(one)
    return tree.root(), bytes(sections)


@dataclass(frozen=True, slots=True)
class RowProof:
    """That one row of a block makes a claim.

    Attributes:
        row: its number.
        rows: of the block.
        claim: bytes.
        salt: of the row.
        beside: commitments of the other rows of its group, in order.
        path: from the group's leaf to the block's root.
    """

    row: int
    rows: int
    claim: bytes
    salt: bytes
    beside: tuple[bytes, ...]
    path: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """Write it."""
        return {
            "row": self.row,
            "rows": self.rows,
            "claim": self.claim.hex(),
            "salt": self.salt.hex(),
            "beside": [one.hex() for one in self.beside],
            "path": [one.hex() for one in self.path],
        }

    @staticmethod
    def from_json(written: Mapping[str, Any]) -> RowProof:
        """Read a proof.

        Raises:
            MalformedProofError: not one.
        """
        try:
            texts = [written["claim"], written["salt"], *written["beside"], *written["path"]]
            values = [bytes.fromhex(one) for one in texts]
            count = len(written["beside"])
            row, rows = written["row"], written["rows"]
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedProofError(f"no proof of a row: {error}") from error
        if type(row) is not int or type(rows) is not int or len(written) != 6:
            raise MalformedProofError("no proof of a row: other members than one has")
        if [one.hex() for one in values] != texts:
            raise MalformedProofError("no proof of a row: not hexadecimal in lower case")
        claim, salt, *hashes = values
        return RowProof(row, rows, claim, salt, tuple(hashes[:count]), tuple(hashes[count:]))


def prove_row(seals: Seals, row: int, section_roots: bytes, claims: Claims) -> RowProof | None:
    """Prove the claim of one row; `None` where it is erased.

    Args:
        seals: of the block.
        row: below `seals.rows`.
        section_roots: as `block_roots` gave them.
        claims: gives the claims of a section's rows; asked for one section alone.
    """
    section = row // SECTION_ROWS
    secret = seals.section_secrets()[section]
    values = claims(section)
    place = row - section * SECTION_ROWS
    salt = seals.salts_of(section, secret)[place]
    if salt is None:
        return None
    commitments = commit_section(seals, section, secret, values)
    hashes = leaf_hashes(b"".join(commitments))
    first = section * _SECTION_GROUPS

    def range_root(begin: int, end: int) -> bytes:
        if first <= begin and end <= first + len(hashes):
            return _range_root(hashes, begin - first, end - first)
        tree = CompactRange()
        # Beyond the row's own section every range begins and ends with a section, or the block.
        for number in range(begin // _SECTION_GROUPS, -(-end // _SECTION_GROUPS)):
            tree.append(section_roots[number * HASH_BYTES : (number + 1) * HASH_BYTES])
        return tree.root()

    group = place - place % GROUP_ROWS
    beside = commitments[group:place] + commitments[place + 1 : group + GROUP_ROWS]
    path = inclusion_path(row // GROUP_ROWS, leaf_count(seals.rows), range_root)
    return RowProof(row, seals.rows, values[place], salt, tuple(beside), tuple(path))


def verify_row(proof: RowProof, *, rows: int, root: bytes) -> None:
    """Check that a row of a block makes the claim.

    Args:
        proof: of the row.
        rows: of the block, as the log states it: no root tells how many leaves it is over.
        root: of the block.

    1. Row, salt and commitments are of that block's.
    2. The commitment of the claim, among those beside it, is a leaf of the tree with that root.

    Raises:
        MalformedProofError: it cannot belong to such a block.
        RootMismatchError: it leads to another root.
    """
    # 1.
    place = proof.row % GROUP_ROWS
    size = min(GROUP_ROWS, proof.rows - (proof.row - place))
    if proof.rows != rows or not 0 <= proof.row < rows or len(proof.beside) != size - 1:
        raise MalformedProofError(f"row {proof.row} of {proof.rows}: not its group")
    if len(proof.salt) != SALT_BYTES or any(len(one) != HASH_BYTES for one in proof.beside):
        raise MalformedProofError(f"row {proof.row}: salts and commitments have 32 bytes")
    # 2.
    own = commit_field(proof.salt, "", proof.claim)
    group = b"".join([*proof.beside[:place], own, *proof.beside[place:]])
    verify_inclusion(
        hash_leaf(group),
        proof.path,
        leaf_index=proof.row // GROUP_ROWS,
        tree_size=leaf_count(proof.rows),
        root=root,
    )


def _range_root(hashes: Sequence[bytes], begin: int, end: int) -> bytes:
    tree = CompactRange()
    for one in hashes[begin:end]:
        tree.append(one)
    return tree.root()
