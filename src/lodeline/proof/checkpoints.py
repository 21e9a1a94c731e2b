"""The body of a tree head: origin, size, root, and lines for extensions.

Source: https://c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import MalformedNoteError
from .hashing import HASH_BYTES
from .notes import Verifier, verify_note


@dataclass(frozen=True)
class TreeHead:
    """What a checkpoint says.

    Attributes:
        origin: the log's name.
        size: leaves in the tree.
        root_hash: 32 bytes.
        extensions: further lines, opaque here.
    """

    origin: str
    size: int
    root_hash: bytes
    extensions: tuple[str, ...] = ()


def format_tree_head(head: TreeHead) -> str:
    """Write the text that is signed.

    Raises:
        MalformedNoteError: an empty or multi-line origin or extension, or a root of another size.
    """
    if len(head.root_hash) != HASH_BYTES or head.size < 0:
        raise MalformedNoteError(f"a root has {HASH_BYTES} bytes, a size is not negative")
    for line in (head.origin, *head.extensions):
        if not line or "\n" in line:
            raise MalformedNoteError(f"{line!r}: a checkpoint's lines are single and not empty")
    root = b64encode(head.root_hash).decode()
    return "".join(f"{line}\n" for line in (head.origin, head.size, root, *head.extensions))


def parse_tree_head(text: str) -> TreeHead:
    """Read the signed text of a checkpoint; verifying its note comes first.

    Raises:
        MalformedNoteError: not such a text.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise MalformedNoteError("a checkpoint has three lines or more, none empty")
    origin, size, root, *extensions = lines[:-1]
    if not (size.isascii() and size.isdigit()) or (size[0] == "0" and size != "0"):
        raise MalformedNoteError(f"{size[:32]!r}: a size is decimal, without leading zeros")
    if len(size) > 20 or int(size) >= 1 << 63:
        raise MalformedNoteError("a size has at most 63 bits")
    try:
        root_hash = b64decode(root, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedNoteError("the root is not base64") from error
    if len(root_hash) != HASH_BYTES or b64encode(root_hash).decode() != root:
        raise MalformedNoteError(f"the root is not {HASH_BYTES} bytes of canonical base64")
    return TreeHead(origin, int(size), root_hash, tuple(extensions))


def verify_checkpoint(note: str, verifiers: Sequence[Verifier], *, origin: str) -> TreeHead:
    """Check a checkpoint of a known origin against known keys.

    Raises:
        MalformedNoteError: not a checkpoint, or one of another origin.
        SignatureError: none of the keys has signed it.
    """
    text, _ = verify_note(note, verifiers)
    head = parse_tree_head(text)
    if head.origin != origin:
        raise MalformedNoteError(f"checkpoint of {head.origin}, expected {origin}")
    return head
