"""The errors of verification, and the root of all that Lodeline raises.

They stand here, not in `lodeline.errors`, so that this folder works when it is copied elsewhere;
`lodeline.errors` gives them out with all the others.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar, dataclass_transform

_Kind = TypeVar("_Kind", bound="type[LodelineError]")


@dataclass_transform(eq_default=False)
def fault(kind: _Kind) -> _Kind:
    """Make a class of errors take its annotated attributes, as `dataclass(eq=False)` would.

    That compiles functions for each class: for our eighty in 20 ms, which every command would
    wait for.
    """
    own = [name for name, said in kind.__annotations__.items() if not said.startswith("ClassVar")]
    kind.facts = (*kind.facts, *(name for name in own if name not in kind.facts))
    return kind


@fault
class LodelineError(Exception):
    """The root. Never raised itself.

    Attributes:
        code: stable, dotted, documented.
        exit_status: 1 no, 2 wrong usage, 3 could not tell.
        facts: names of what an error is made of, in order.
    """

    code: ClassVar[str] = "lodeline"
    exit_status: ClassVar[int] = 3
    facts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *values: object, **named: object) -> None:
        given = dict(zip(self.facts, values, strict=False))
        wrong = [name for name in named if name in given or name not in self.facts]
        missing = [name for name in self.facts if name not in given and name not in named]
        missing = [name for name in missing if not hasattr(type(self), name)]
        if wrong or missing or len(values) > len(self.facts):
            raise TypeError(f"{type(self).__name__} is made of {', '.join(self.facts)}")
        for name in self.facts:
            value = given[name] if name in given else named.get(name, getattr(self, name, None))
            setattr(self, name, value)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.facts)
        return f"{type(self).__qualname__}({facts})"

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from attributes, so that errors cross process borders with their facts."""
        return (_rebuild, (type(self), self.__dict__))

    @property
    def next_step(self) -> str | None:
        """A command or an act that may help; printed after the message."""
        return None


def _rebuild(cls: type[LodelineError], attributes: dict[str, object]) -> LodelineError:
    error = cls.__new__(cls)
    error.__dict__.update(attributes)
    return error


@fault
class NoError(LodelineError):
    """The answer is no: the thing asked for is not in the record, or a check failed."""

    code: ClassVar[str] = "no"
    exit_status: ClassVar[int] = 1


@fault
class ProofError(NoError):
    """A proof, a note or a record does not hold."""

    code: ClassVar[str] = "proof"


@fault
class MalformedProofError(ProofError):
    """A proof that cannot be one: an index out of range, or a path of the wrong length."""

    code: ClassVar[str] = "proof.malformed"
    message: str

    def __str__(self) -> str:
        return self.message


@fault
class RootMismatchError(ProofError):
    """The path leads to another root than the tree head's."""

    code: ClassVar[str] = "proof.root_mismatch"
    leaf_index: int
    tree_size: int
    root_expected: bytes
    root_computed: bytes

    def __str__(self) -> str:
        return (
            f"leaf {self.leaf_index} of {self.tree_size}: "
            f"tree head says {self.root_expected.hex()[:12]}, "
            f"path gives {self.root_computed.hex()[:12]}"
        )


@fault
class InconsistentTreesError(ProofError):
    """The later tree is not an extension of the earlier one, or the proof is of other trees."""

    code: ClassVar[str] = "proof.inconsistent"
    size_earlier: int
    size_later: int
    root_expected: bytes
    root_computed: bytes

    def __str__(self) -> str:
        return (
            f"tree of {self.size_later} does not extend tree of {self.size_earlier}: "
            f"expected {self.root_expected.hex()[:12]}, "
            f"proof gives {self.root_computed.hex()[:12]}"
        )


@fault
class MapMismatchError(ProofError):
    """What a map is said to hold at a key leads to another root than the map leaf's."""

    code: ClassVar[str] = "proof.map_mismatch"
    key: bytes
    root_expected: bytes
    root_computed: bytes

    def __str__(self) -> str:
        return (
            f"map key {self.key.hex()[:12]}: map leaf says {self.root_expected.hex()[:12]}, "
            f"proof gives {self.root_computed.hex()[:12]}"
        )


@fault
class MalformedNoteError(ProofError):
    """Text that is not a signed note, a checkpoint or a verifier key."""

    code: ClassVar[str] = "proof.malformed_note"
    message: str

    def __str__(self) -> str:
        return self.message


@fault
class SignatureError(ProofError):
    """No signature by the named key, or one that does not verify."""

    code: ClassVar[str] = "proof.signature"
    key_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key_name}: {self.reason}"


@fault
class MalformedLeafError(ProofError):
    """Bytes that are not a leaf record of the log."""

    code: ClassVar[str] = "proof.malformed_leaf"
    message: str

    def __str__(self) -> str:
        return self.message


@fault
class UnwitnessedError(ProofError):
    """Fewer of the trusted witnesses have cosigned a checkpoint than are asked for."""

    code: ClassVar[str] = "proof.unwitnessed"
    needed: int
    cosigned_by: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(self.cosigned_by) or "none"
        return f"{self.needed} trusted witnesses must have cosigned; those who have: {names}"


@fault
class MalformedEnvelopeError(ProofError):
    """Bytes that are not a DSSE envelope, or one whose payload the reader does not understand."""

    code: ClassVar[str] = "proof.malformed_envelope"
    message: str

    def __str__(self) -> str:
        return self.message


@fault
class MalformedStatementError(ProofError):
    """A payload that is not an in-toto statement, or lacks what its predicate type requires."""

    code: ClassVar[str] = "proof.malformed_statement"
    message: str

    def __str__(self) -> str:
        return self.message


@fault
class MalformedSealError(ProofError):
    """Bytes that are not a sealed value."""

    code: ClassVar[str] = "proof.malformed_seal"
    message: str

    def __str__(self) -> str:
        return self.message


@fault
class SealError(ProofError):
    """A sealed value that the key does not open: another key or place, or changed bytes."""

    code: ClassVar[str] = "proof.seal"
    pointer: str

    def __str__(self) -> str:
        return f"{self.pointer}: the key does not open the sealed value"


@fault
class MalformedPolicyError(ProofError):
    """A file that is not a policy of logs, witnesses and their quorum."""

    code: ClassVar[str] = "proof.malformed_policy"
    line: int
    message: str

    def __str__(self) -> str:
        return f"policy, line {self.line}: {self.message}"


@fault
class MalformedPackError(ProofError):
    """An evidence pack, or a file in it, that is not as it was written."""

    code: ClassVar[str] = "proof.malformed_pack"
    message: str

    def __str__(self) -> str:
        return self.message
