"""The errors that Lodeline raises: one root, one branch for each decision a caller can take.

A branch fixes the exit status of the command line and the HTTP status family; a leaf fixes a
stable `code`, documented in `docs/reference/errors.md`. Errors pickle, since runs cross processes.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

from lodeline.proof.errors import (
    InconsistentTreesError,
    LodelineError,
    MalformedEnvelopeError,
    MalformedLeafError,
    MalformedNoteError,
    MalformedPackError,
    MalformedPolicyError,
    MalformedProofError,
    MalformedSealError,
    MalformedStatementError,
    MapMismatchError,
    NoError,
    ProofError,
    RootMismatchError,
    SealError,
    SignatureError,
    UnwitnessedError,
    fault,
)


@fault
class UsageError(LodelineError):
    """The question is malformed; asking it again unchanged cannot help."""

    code: ClassVar[str] = "usage"
    exit_status: ClassVar[int] = 2
    message: str

    def __str__(self) -> str:
        return self.message


@fault
class MalformedOptionsError(UsageError):
    """Options or arguments of a command that it does not take.

    Attributes:
        command: that was called, with `lodeline` before it.
    """

    code: ClassVar[str] = "usage.options"
    command: str

    @property
    def next_step(self) -> str | None:
        """See what it takes."""
        return f"{self.command} --help"


@fault
class CouldNotTellError(LodelineError):
    """Neither yes nor no: the store is unreachable, or evidence is missing."""

    code: ClassVar[str] = "could_not_tell"
    exit_status: ClassVar[int] = 3


@fault
class InvalidInputError(LodelineError):
    """Foreign bytes that do not say what they claim; refused with the path of the fault."""

    code: ClassVar[str] = "invalid"
    exit_status: ClassVar[int] = 1


@fault
class MalformedFacetError(InvalidInputError):
    """A facet that does not match its schema. The fold turns it into a gap; nobody else sees it."""

    code: ClassVar[str] = "invalid.facet"


@fault
class MalformedIdentifierError(UsageError):
    """A node identifier that is not in the canonical form."""

    code: ClassVar[str] = "usage.identifier"


@fault
class AmbiguousIdentifierError(UsageError):
    """A raw identifier that several known nodes answer to."""

    code: ClassVar[str] = "usage.ambiguous_identifier"
    candidates: tuple[str, ...]

    def __str__(self) -> str:
        return self.message + "\n  " + "\n  ".join(self.candidates)


@fault
class UnknownNodeError(NoError):
    """No node of that name is known at the position asked about."""

    code: ClassVar[str] = "no.unknown_node"
    node_id: str
    nearest: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"unknown: {self.node_id}"
        if self.nearest:
            text += "\n  nearest: " + ", ".join(self.nearest)
        return text


@fault
class UnknownEntryError(NoError):
    """The catalogue has no such namespace, source, version, field or run."""

    code: ClassVar[str] = "no.unknown_entry"
    what: str
    name: str

    def __str__(self) -> str:
        return f"{self.what} '{self.name}' not found."


@fault
class UnknownPageError(NoError):
    """The service has nothing at that path."""

    code: ClassVar[str] = "no.route"
    path: str

    def __str__(self) -> str:
        return f"{self.path} is not served here"


@fault
class RunTakenError(UsageError):
    """The identifier belongs to a run of another job."""

    code: ClassVar[str] = "usage.run_taken"


@fault
class StoreUnreachableError(CouldNotTellError):
    """The store or the server does not answer."""

    code: ClassVar[str] = "could_not_tell.store_unreachable"
    url: str
    reason: str

    def __str__(self) -> str:
        return f"cannot reach {self.url}: {self.reason}"


@fault
class UpstreamError(CouldNotTellError):
    """A model server behind the proxy does not answer, or not in HTTP."""

    code: ClassVar[str] = "could_not_tell.upstream"
    url: str
    reason: str
    timed_out: bool = False

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


@fault
class StoreLostError(StoreUnreachableError):
    """The connection to the database was lost; asking again makes a new one."""

    code: ClassVar[str] = "could_not_tell.store_lost"

    def __str__(self) -> str:
        return f"lost the connection to {self.url}: {self.reason}"


@fault
class NotYetFoldedError(CouldNotTellError):
    """The view does not hold the position asked about yet."""

    code: ClassVar[str] = "could_not_tell.not_folded"
    size: int
    folded_to: int

    def __str__(self) -> str:
        return f"as of {self.size}: the view holds {self.folded_to} entries so far"

    @property
    def next_step(self) -> str | None:
        """What brings the view up to the log."""
        return "lodeline rebuild"


@fault
class MissingPredictionError(CouldNotTellError):
    """An identifier of a reserved block whose prediction is not, or not yet, recorded.

    Attributes:
        prediction: its node identifier.
        reason: `pending` while its process may still deliver it; `sampled` where a rule kept it
            out and only a summary counts it; `erased` with the person it was about; `retention`
            where it was let go by age; else `lost`.
    """

    code: ClassVar[str] = "could_not_tell.prediction"
    prediction: str
    reason: str

    def __str__(self) -> str:
        if self.reason == "pending":
            why = "its block is reserved, the record is not delivered yet"
        elif self.reason == "sampled":
            why = "it was made; a rule of sampling kept a summary of it and others, not its details"
        elif self.reason == "erased":
            why = "its record was erased; the log still commits to it"
        elif self.reason == "retention":
            why = "its record was let go by age; the log still commits to it"
        else:
            why = "its block was reserved, and its process ended without delivering it"
        return f"{self.prediction}: {self.reason}; {why}"

    @property
    def next_step(self) -> str | None:
        """What may bring it in."""
        return "lodeline flush" if self.reason == "pending" else None


@fault
class QueueFullError(CouldNotTellError):
    """The writer is behind; the events were not taken. Sending them again later is safe."""

    code: ClassVar[str] = "could_not_tell.queue_full"
    waiting: int

    def __str__(self) -> str:
        return f"{self.waiting} events wait for the writer; send again later"


@fault
class BusyError(CouldNotTellError):
    """The service has as much in hand as it will hold. Sending the request again later is safe."""

    code: ClassVar[str] = "could_not_tell.busy"
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; send again later"


@fault
class MalformedRequestError(UsageError):
    """What a client sent is not HTTP/1.1."""

    code: ClassVar[str] = "usage.http"


@fault
class SlowClientError(UsageError):
    """A client took too long over a request, so its connection was closed."""

    code: ClassVar[str] = "usage.too_slow"


@fault
class HeadTooLargeError(UsageError):
    """The target and header fields of a request are too large together."""

    code: ClassVar[str] = "usage.head_too_large"


@fault
class TooManyStreamsError(CouldNotTellError):
    """As many listen to the service's events as it serves; others wait until one leaves."""

    code: ClassVar[str] = "could_not_tell.event_streams"
    streams_max: int

    def __str__(self) -> str:
        return f"{self.streams_max} listen already; listen again later"


@fault
class StoppingError(CouldNotTellError):
    """The service is stopping; the events were not taken."""

    code: ClassVar[str] = "could_not_tell.stopping"

    def __str__(self) -> str:
        return "the service is stopping"


class Problem(NamedTuple):
    """One fault of the settings.

    Attributes:
        where: `file:line`, a variable or an argument; empty where it has no place.
        message: what is wrong there.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ConfigurationError(UsageError):
    """Settings of the service that are unknown, or that make no sense; all of them at once."""

    code: ClassVar[str] = "usage.configuration"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n  ".join(str(problem) for problem in problems))
        self.problems = problems


@fault
class UnprotectedAddressError(UsageError):
    """An address beyond loopback, without authentication to protect it."""

    code: ClassVar[str] = "usage.unprotected_address"


@fault
class UnauthenticatedError(CouldNotTellError):
    """The service asks for a key, and got none, or one that does not count.

    Attributes:
        reason: what is wrong with it; never the key itself.
        presented: whether a key was sent.
    """

    code: ClassVar[str] = "could_not_tell.unauthenticated"
    reason: str
    presented: bool = False

    def __str__(self) -> str:
        return f"not authenticated: {self.reason}"

    @property
    def next_step(self) -> str | None:
        """Where keys come from, and where they go."""
        return "lodeline key create, then set LODELINE_API_KEY"


@fault
class ForbiddenError(CouldNotTellError):
    """The caller is known, and may not do or see this.

    Attributes:
        reason: what is missing.
        scope: the scope that would do, where one would.
        path: the parameter that names what the caller may not bring, where it is but one record's.
    """

    code: ClassVar[str] = "could_not_tell.forbidden"
    reason: str
    scope: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"not allowed: {self.reason}"


@fault
class UnknownApiKeyError(NoError):
    """No API key has that identifier or name."""

    code: ClassVar[str] = "no.unknown_key"
    named: str

    def __str__(self) -> str:
        return f"no key {self.named!r}"

    @property
    def next_step(self) -> str | None:
        """List those there are."""
        return "lodeline key list"


@fault
class AddressInUseError(CouldNotTellError):
    """The address cannot be listened on."""

    code: ClassVar[str] = "could_not_tell.address"
    address: str
    reason: str

    def __str__(self) -> str:
        return f"cannot listen on {self.address}: {self.reason}"


@fault
class MissingExtraError(CouldNotTellError):
    """A part of Lodeline that is not installed here."""

    code: ClassVar[str] = "could_not_tell.missing_extra"
    extra: str
    module: str

    def __str__(self) -> str:
        return f"this needs the extra `{self.extra}` (no module {self.module!r})"

    @property
    def next_step(self) -> str | None:
        """How to install it."""
        return f"pip install 'lodeline[{self.extra}]'"


class ServerNoError(NoError):
    """The server's answer is no, under its own code and in its words."""

    code: ClassVar[str] = "no.server"

    def __init__(self, code: str, said: str) -> None:
        super().__init__()
        self.code = code  # type: ignore[misc]  # the server's, not the class's
        self.said = said

    def __str__(self) -> str:
        return self.said


class ServerUsageError(UsageError):
    """The server calls the question malformed, under its own code and in its words."""

    code: ClassVar[str] = "usage.server"

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code  # type: ignore[misc]  # the server's, not the class's


class ServerCouldNotTellError(CouldNotTellError):
    """The server could not tell, under its own code and in its words."""

    code: ClassVar[str] = "could_not_tell.server"

    def __init__(self, code: str, said: str) -> None:
        super().__init__()
        self.code = code  # type: ignore[misc]  # the server's, not the class's
        self.said = said

    def __str__(self) -> str:
        return self.said


class InvalidEventError(InvalidInputError):
    """An event that cannot be accepted.

    Attributes:
        code: one of the `event.*` codes of `docs/reference/errors.md`.
        path: JSON pointer (RFC 6901) of the fault; empty for the whole document.
        message: what is wrong there.
    """

    def __init__(self, code: str, path: str, message: str) -> None:
        super().__init__()
        self.code = code  # type: ignore[misc]  # one class, several documented codes
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} (at {self.path or 'the document'}, {self.code})"


@fault
class StoreFullError(CouldNotTellError):
    """No room left where the store lives; the transaction was undone whole, earlier ones stand."""

    code: ClassVar[str] = "could_not_tell.store_full"
    url: str
    reason: str

    def __str__(self) -> str:
        return f"no room left for {self.url}: {self.reason}; what was acknowledged is safe"

    @property
    def next_step(self) -> str | None:
        """Free space; what was acknowledged before is safe."""
        return "free space on that file system and send the batch again"


@fault
class StoreCorruptError(CouldNotTellError):
    """The database is not what Lodeline wrote, or is damaged, or of another format version."""

    code: ClassVar[str] = "could_not_tell.store_corrupt"
    url: str
    reason: str

    def __str__(self) -> str:
        return f"{self.url} is damaged or foreign: {self.reason}"

    @property
    def next_step(self) -> str | None:
        """Look closer."""
        return "lodeline verify"


@fault
class DamagedBackupError(CouldNotTellError):
    """A folder that is no whole backup, or one that was changed; nothing was restored from it."""

    code: ClassVar[str] = "could_not_tell.backup"
    path: str
    reason: str

    def __str__(self) -> str:
        return f"cannot restore from {self.path}: {self.reason}"


@fault
class KeyMissingError(CouldNotTellError):
    """The log's private keys are not where the store expects them, so nothing can be appended."""

    code: ClassVar[str] = "could_not_tell.key_missing"
    path: str

    def __str__(self) -> str:
        return f"missing key file {self.path}: reading works, appending does not"

    @property
    def next_step(self) -> str | None:
        """Keys cannot be made anew for an old log."""
        return "restore the key files from a backup"


@fault
class UnknownBlobError(NoError):
    """No blob of that digest is stored."""

    code: ClassVar[str] = "no.unknown_blob"
    digest: str

    def __str__(self) -> str:
        return f"no blob {self.digest}"


@fault
class UnknownDeadLetterError(NoError):
    """No unresolved dead letter has that number."""

    code: ClassVar[str] = "no.unknown_dead_letter"
    letter_id: int

    def __str__(self) -> str:
        return f"no unresolved dead letter {self.letter_id}"

    @property
    def next_step(self) -> str | None:
        """List those there are."""
        return "lodeline dead-letter list"


@fault
class MissingBytesError(CouldNotTellError):
    """The bytes of a refused input were too many to keep."""

    code: ClassVar[str] = "could_not_tell.bytes"
    letter_id: int

    def __str__(self) -> str:
        return f"the bytes of dead letter {self.letter_id} were too many to keep"


@fault
class UnknownPositionError(NoError):
    """The log has no entry or tree of that position or size."""

    code: ClassVar[str] = "no.unknown_position"
    position: int
    size: int

    def __str__(self) -> str:
        return f"position {self.position} lies outside the log of {self.size} entries"


@fault
class MapNotKeptError(CouldNotTellError):
    """An earlier map of the log that is too large to be computed again at a question."""

    code: ClassVar[str] = "could_not_tell.map"
    position: int

    def __str__(self) -> str:
        return f"the map at entry {self.position} is not kept; only the newest is proven at once"


@fault
class UnknownCheckpointError(NoError):
    """No checkpoint was signed at that size."""

    code: ClassVar[str] = "no.unknown_checkpoint"
    size: int
    newest: int

    def __str__(self) -> str:
        return f"no checkpoint was signed at size {self.size}; the newest is at {self.newest}"

    @property
    def next_step(self) -> str | None:
        """The newest one."""
        return "lodeline log checkpoint"


@fault
class UnknownSegmentError(NoError):
    """The store holds no segment of that identifier."""

    code: ClassVar[str] = "no.unknown_segment"
    segment: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        return f"no segment {self.segment}; here is {', '.join(self.known)}"


@fault
class OtherLogError(NoError):
    """A folder holds the files of another log, or of one that this log is no extension of."""

    code: ClassVar[str] = "no.other_log"
    folder: str
    reason: str

    def __str__(self) -> str:
        return f"{self.folder} is not an earlier state of this log: {self.reason}"

    @property
    def next_step(self) -> str | None:
        """Look closer, or leave it alone."""
        return "lodeline log fsck tells what it holds; export to an empty folder otherwise"


@fault
class FolderBusyError(CouldNotTellError):
    """Another process publishes to the same folder."""

    code: ClassVar[str] = "could_not_tell.folder_busy"
    folder: str

    def __str__(self) -> str:
        return f"another export writes to {self.folder}"


@fault
class FolderUnreachableError(CouldNotTellError):
    """A folder, bucket or web server with a log's files cannot be read or written."""

    code: ClassVar[str] = "could_not_tell.folder"
    folder: str
    reason: str

    def __str__(self) -> str:
        return f"cannot use {self.folder}: {self.reason}"


@fault
class NoAnswerError(CouldNotTellError):
    """A service that is not ours gave no whole answer: unreachable, too slow, or endless."""

    code: ClassVar[str] = "could_not_tell.no_answer"
    url: str
    reason: str

    def __str__(self) -> str:
        return f"no answer from {self.url}: {self.reason}"


@fault
class WitnessUnavailableError(CouldNotTellError):
    """A witness did not answer, or not with its cosignature. Asking again later may help."""

    code: ClassVar[str] = "could_not_tell.witness"
    url: str
    reason: str

    def __str__(self) -> str:
        return f"witness {self.url}: {self.reason}"


@fault
class WitnessRefusedError(NoError):
    """A witness does not know this log, or not the key that signs its checkpoints."""

    code: ClassVar[str] = "no.witness_refused"
    url: str
    status: int
    reason: str

    def __str__(self) -> str:
        return f"witness {self.url} refused ({self.status}): {self.reason}"

    @property
    def next_step(self) -> str | None:
        """Its operator must be told the log's key."""
        return "give the witness's operator the log's vkey: `lodeline log checkpoint --json`"


@fault
class WitnessConflictError(NoError):
    """A witness has cosigned a tree that this log does not extend: cut back, or forked."""

    code: ClassVar[str] = "no.witness_conflict"
    url: str
    reason: str

    def __str__(self) -> str:
        return f"witness {self.url} holds another tree: {self.reason}"

    @property
    def next_step(self) -> str | None:
        """Nothing may be appended under this origin before it is understood."""
        return "stop appending; compare with backups and kept checkpoints: `lodeline verify`"


@fault
class TimestampUnavailableError(CouldNotTellError):
    """A timestamping authority did not answer, or not with a timestamp."""

    code: ClassVar[str] = "could_not_tell.timestamp"
    url: str
    reason: str

    def __str__(self) -> str:
        return f"timestamping authority {self.url}: {self.reason}"


@fault
class TimestampMismatchError(NoError):
    """A timestamp that is not of this checkpoint, or does not verify."""

    code: ClassVar[str] = "no.timestamp"
    reason: str

    def __str__(self) -> str:
        return f"the timestamp does not hold: {self.reason}"


# The codes of `InvalidEventError`, with what each says of the event.
EVENT_FAULTS: Final = {
    "event.cloud_event": "It claims to be a CloudEvent, and is none that can be read.",
    "event.content_encoding": "It is in a content encoding other than gzip.",
    "event.depth": "It nests deeper than any facet does.",
    "event.disconnected": "The client left before all of it had arrived.",
    "event.duplicate_key": "An object holds the same name twice; readers would disagree on it.",
    "event.encoding": "It is not UTF-8, or not in the content encoding that it names.",
    "event.event_type": "`eventType` is none of the six that OpenLineage knows.",
    "event.json": "It is not JSON.",
    "event.missing": "A required member is missing.",
    "event.name_empty": "A job or a dataset has an empty name.",
    "event.name_too_long": "A namespace or name is longer than any real one.",
    "event.nul": "A string holds a NUL character.",
    "event.number": "A number has no exact form: beyond a double, or endless digits.",
    "event.otlp": "A body of spans is no OTLP request.",
    "event.run_id": "`runId` is not a UUID.",
    "event.surrogate": "A string holds half of a surrogate pair.",
    "event.time": "`eventTime` is not a time.",
    "event.too_large": "It, or the batch, is larger than any real one.",
    "event.type": "A value has another type than the schema says.",
}


@fault
class StreamUnreachableError(CouldNotTellError):
    """A broker or a folder that events come from does not answer; nothing of it is acknowledged."""

    code: ClassVar[str] = "could_not_tell.stream_unreachable"
    source: str
    reason: str

    def __str__(self) -> str:
        return f"cannot take from {self.source}: {self.reason}"


@fault
class CannotReplayError(CouldNotTellError):
    """What the record or this machine holds is not enough to run it again."""

    code: ClassVar[str] = "could_not_tell.replay"
    reason: str

    def __str__(self) -> str:
        return f"cannot replay: {self.reason}"


@fault
class DemoError(CouldNotTellError):
    """A step of the demo failed, so there is nothing to show."""

    code: ClassVar[str] = "could_not_tell.demo"
    step: str
    said: str

    def __str__(self) -> str:
        return f"the demo stopped at {self.step}: {self.said}"


@fault
class DeliveryError(CouldNotTellError):
    """Records could not be delivered now; they stay in the spool.

    Attributes:
        retriable: whether the same delivery may succeed later without anybody's help.
        retry_after: seconds the receiver asked to wait; 0 when it did not say.
    """

    code: ClassVar[str] = "could_not_tell.delivery"
    url: str
    reason: str
    retriable: bool = True
    retry_after: float = 0.0

    def __str__(self) -> str:
        return f"cannot deliver to {self.url}: {self.reason}"


@fault
class OutOfTimeError(CouldNotTellError):
    """The time given for an act is over; what was not done can be done later."""

    code: ClassVar[str] = "could_not_tell.time"
    act: str

    def __str__(self) -> str:
        return f"out of time while {self.act}"


@fault
class UnsupportedQueryError(InvalidInputError):
    """A query with an operator that the analysis of SQL does not follow."""

    code: ClassVar[str] = "invalid.sql.unsupported"
    operator: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.operator}: {self.detail}" if self.detail else self.operator


@fault
class UnfollowedRowsError(CouldNotTellError):
    """What an operation on a table does to its rows is not certain; capture makes a gap of it."""

    code: ClassVar[str] = "could_not_tell.rows"
    reason: str

    def __str__(self) -> str:
        return self.reason


@fault
class MissingLinksError(CouldNotTellError):
    """The blob with the links of a row step is not in the store.

    Attributes:
        digest: of the blob.
        reason: `pending` while it may still be delivered; `retention` once it has expired.
    """

    code: ClassVar[str] = "could_not_tell.links"
    digest: str
    reason: str = "pending"

    def __str__(self) -> str:
        if self.reason == "retention":
            return f"the links {self.digest} have expired"
        return f"the links {self.digest} are not in the store"

    @property
    def next_step(self) -> str | None:
        """What may bring them in."""
        return "lodeline flush" if self.reason == "pending" else None


@fault
class FileChangedError(CouldNotTellError):
    """The values of rows are not at hand: the file is gone, or has other bytes now."""

    code: ClassVar[str] = "could_not_tell.values"
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@fault
class NoCohortError(CouldNotTellError):
    """The population behind a decision is not in the record."""

    code: ClassVar[str] = "could_not_tell.cohort"
    node_id: str

    def __str__(self) -> str:
        return f"{self.node_id}: no model is recorded for its deployment"


@fault
class UnreadableFileError(CouldNotTellError):
    """A file that was named cannot be read."""

    code: ClassVar[str] = "could_not_tell.file"
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason or 'cannot be read'}"


@fault
class EvidenceError(CouldNotTellError):
    """Evidence for an answer cannot be put together: the entries alone do not give the answer."""

    code: ClassVar[str] = "could_not_tell.evidence"
    reason: str

    def __str__(self) -> str:
        return f"no evidence: {self.reason}"

    @property
    def next_step(self) -> str | None:
        """The record itself may be at fault."""
        return "lodeline verify; lodeline rebuild"


@fault
class DigestMismatchError(InvalidInputError):
    """Bytes that were announced under another digest than theirs."""

    code: ClassVar[str] = "invalid.digest"
    stated: str
    computed: str

    def __str__(self) -> str:
        return f"announced as {self.stated}, the bytes have {self.computed}"


@fault
class MissingDigestError(CouldNotTellError):
    """The record does not hold the digest of the bytes, so no statement can be made about them."""

    code: ClassVar[str] = "could_not_tell.digest"
    node_id: str

    def __str__(self) -> str:
        return f"{self.node_id}: the record holds no SHA-256 of its bytes"


@fault
class SigningKeyError(CouldNotTellError):
    """A key that was named for signing or verifying is not there, exposed, or not a key.

    Attributes:
        reference: where it was looked for; never the key itself.
        reason: what is wrong there.
    """

    code: ClassVar[str] = "could_not_tell.signing_key"
    reference: str
    reason: str

    def __str__(self) -> str:
        return f"{self.reference}: {self.reason}"

    @property
    def next_step(self) -> str | None:
        """What mends it, where that is known."""
        if "read by others" in self.reason:
            return f"chmod 600 {self.reference}"
        return None


@fault
class UnsignableFileError(NoError):
    """A file of a model folder that cannot stand in a signed manifest."""

    code: ClassVar[str] = "no.unsignable_file"
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@fault
class ChangedModelError(NoError):
    """The files of a model folder are not those that were signed."""

    code: ClassVar[str] = "no.changed_model"
    path: str
    differences: tuple[str, ...]

    def __str__(self) -> str:
        shown = "\n  ".join(self.differences[:20])
        return f"{self.path}: {len(self.differences)} files differ from the signed ones\n  {shown}"
