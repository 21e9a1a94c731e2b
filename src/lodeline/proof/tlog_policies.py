"""Whom to trust: a file that names logs, witnesses, and how many of them must have cosigned.

Source: https://c2sp.org/tlog-policy. Lines are

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>…
    quorum <name>|none

Names stand for themselves within the file; a group counts as having cosigned when `k` of its
members have. Of witness keys only Ed25519 ones (type 0x04) are read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from .checkpoints import TreeHead, parse_tree_head
from .cosignatures import CosignatureVerifier, find_cosignatures
from .errors import MalformedNoteError, MalformedPolicyError, UnwitnessedError
from .notes import Verifier, verify_note

# Eight times what the specification asks readers to take.
_LINES_MAX: Final = 1_000
_ITEMS_MAX: Final = 256
_NONE: Final = "none"


@dataclass(frozen=True)
class PolicyGroup:
    """Members of which so many must have cosigned; a witness is a group of itself."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class WitnessPolicy:
    """What a policy file says.

    Attributes:
        logs: the logs that may have signed; empty where they are known otherwise.
        witnesses: by their names in the file.
        urls: where to reach witnesses, by their names; not every one has an address.
        groups: by their names.
        quorum: name of the witness or group that must have cosigned; `none` asks for nobody.
    """

    logs: tuple[Verifier, ...]
    witnesses: Mapping[str, CosignatureVerifier]
    urls: Mapping[str, str]
    groups: Mapping[str, PolicyGroup]
    quorum: str

    def is_met_by(self, cosigned: set[str]) -> bool:
        """Whether witnesses, by their names in the file, are a quorum."""
        return self.quorum == _NONE or self._has_cosigned(self.quorum, cosigned)

    def _has_cosigned(self, name: str, cosigned: set[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in cosigned
        count = sum(self._has_cosigned(member, cosigned) for member in group.members)
        return count >= group.threshold


@dataclass
class _Draft:
    logs: list[Verifier] = field(default_factory=list)
    witnesses: dict[str, CosignatureVerifier] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    groups: dict[str, PolicyGroup] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    quorum: str | None = None

    def add_log(self, words: list[str]) -> None:
        if not 1 <= len(words) <= 2:
            raise ValueError("a log has a vkey and perhaps a URL")
        verifier = Verifier.from_vkey(words[0])
        if any(verifier.public == known.public for known in self.logs):
            raise ValueError("this log's key stands here twice")
        self.logs.append(verifier)

    def add_witness(self, words: list[str]) -> None:
        if not 2 <= len(words) <= 3:
            raise ValueError("a witness has a name, a vkey and perhaps a URL")
        self._check_new(words[0])
        verifier = CosignatureVerifier.from_vkey(words[1])
        if any(verifier.public == known.public for known in self.witnesses.values()):
            raise ValueError("this witness's key stands here twice")
        self.witnesses[words[0]] = verifier
        if len(words) == 3:
            self.urls[words[0]] = words[2]

    def add_group(self, words: list[str]) -> None:
        if len(words) < 3:
            raise ValueError("a group has a name, a threshold and members")
        name, threshold, *members = words
        self._check_new(name)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise ValueError(f"{member} is not defined above")
            # Otherwise one witness could count in two ways.
            if member in self.used:
                raise ValueError(f"{member} is a member twice")
            self.used.add(member)
        counts = {"all": len(members), "any": 1}
        if threshold not in counts and not re.fullmatch(r"[1-9][0-9]{0,3}", threshold):
            raise ValueError(f"{threshold} is not all, any or a number")
        needed = counts.get(threshold) or int(threshold)
        if needed > len(members):
            raise ValueError(f"{needed} of {len(members)} members")
        self.groups[name] = PolicyGroup(needed, tuple(members))

    def set_quorum(self, words: list[str]) -> None:
        if self.quorum is not None or len(words) != 1:
            raise ValueError("there is one quorum, with one name")
        (name,) = words
        if name != _NONE and name not in self.witnesses and name not in self.groups:
            raise ValueError(f"{name} is not defined above")
        self.quorum = name

    def _check_new(self, name: str) -> None:
        if name == _NONE or name in self.witnesses or name in self.groups:
            raise ValueError(f"{name} is taken")
        if len(self.witnesses) + len(self.groups) >= _ITEMS_MAX:
            raise ValueError(f"more than {_ITEMS_MAX} witnesses and groups")


def parse_policy(text: str) -> WitnessPolicy:
    """Read a policy file.

    Raises:
        MalformedPolicyError: not such a file; the line is named.
    """
    lines = text.split("\n")
    if lines[-1] or len(lines) > _LINES_MAX:
        raise MalformedPolicyError(len(lines), f"at most {_LINES_MAX} lines, each ended")
    draft = _Draft()
    acts: dict[str, Callable[[list[str]], None]] = {
        "log": draft.add_log,
        "witness": draft.add_witness,
        "group": draft.add_group,
        "quorum": draft.set_quorum,
    }
    for number, line in enumerate(lines[:-1], 1):
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            raise MalformedPolicyError(number, "a control character")
        words = [word for word in re.split("[ \t]+", line) if word]
        if not words or words[0].startswith("#"):
            continue
        if words[0] not in acts:
            raise MalformedPolicyError(number, "not a log, witness, group or quorum line")
        try:
            acts[words[0]](words[1:])
        except (ValueError, MalformedNoteError) as error:
            raise MalformedPolicyError(number, str(error)) from error
    if draft.quorum is None:
        raise MalformedPolicyError(len(lines), "no quorum line")
    return WitnessPolicy(tuple(draft.logs), draft.witnesses, draft.urls, draft.groups, draft.quorum)


def verify_by_policy(
    note: str, policy: WitnessPolicy, *, logs: Sequence[Verifier] = ()
) -> tuple[TreeHead, dict[str, int]]:
    """Check a checkpoint against a policy.

    1. One of the policy's logs has signed it, and it bears that log's name as its origin. A policy
       that names no log takes those given beside it.
    2. Each cosignature that names a witness of the policy must verify, at most one a key.
    3. The witnesses that cosigned are a quorum.

    Returns:
        What the checkpoint says, and when each witness cosigned, by its name in the policy, in
        seconds since 1970.

    Raises:
        MalformedNoteError: no checkpoint, or of another origin than its signer's name.
        SignatureError: a signature of a known key fails, or no log of the policy has signed.
        UnwitnessedError: the quorum is not met.
    """
    # 1.
    text, signed = verify_note(note, policy.logs or logs)
    head = parse_tree_head(text)
    if all(verifier.name != head.origin for verifier in signed):
        raise MalformedNoteError(f"checkpoint of {head.origin}, signed by another log")
    # 2.
    names = {witness: name for name, witness in policy.witnesses.items()}
    found = find_cosignatures(note, list(names))
    cosigned = {names[witness]: time_s for witness, time_s in found}
    # 3.
    if not policy.is_met_by(set(cosigned)):
        group = policy.groups.get(policy.quorum)
        raise UnwitnessedError(1 if group is None else group.threshold, tuple(sorted(cosigned)))
    return head, cosigned
