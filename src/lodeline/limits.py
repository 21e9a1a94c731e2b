"""Whatever can grow has a bound; each bound stands here once, with its reason."""

from __future__ import annotations

# One OpenLineage event. Airflow's largest real events are near 5 MB; beyond 16 MiB lies data, not
# lineage.
EVENT_BYTES_MAX = 16 * 1024 * 1024

# Nesting of JSON. The core facets nest to 9; parsers written recursively die near 1,000.
EVENT_DEPTH_MAX = 64

# A namespace or a name, in UTF-8 bytes. Object-store keys end at 1,024, paths at 4,096.
NAME_BYTES_MAX = 8 * 1024

# C2SP tlog-tiles carries an entry's length in 16 bits.
LEAF_BYTES_MAX = 65_535

# Events of one group-committed transaction. More lengthens the wait of the first without
# measurably raising throughput.
COMMIT_EVENTS_MAX = 512

# Event times this far beyond the log's clock are the future, not clock skew.
FUTURE_TOLERANCE_US = 10 * 60 * 1_000_000

# An edge is stale when its job has since completed this many runs over at least this long
# without it (both must hold; both can be configured).
STALE_RUNS = 10
STALE_AGE_US = 7 * 24 * 3600 * 1_000_000

# Nodes of one page of an answer; the rest waits behind the cursor.
ANSWER_NODES_MAX = 10_000

# Seconds an answer may take before it comes back incomplete, with a gap of reason `time`.
ANSWER_SECONDS_MAX = 10.0

# Runs named in `asserted_by` of one edge; `asserted_by_total` counts them all.
ASSERTED_BY_MAX = 100

# The largest record of the spool: an event of the largest size in its envelope.
SPOOL_RECORD_BYTES_MAX = EVENT_BYTES_MAX + 64 * 1024

# The spool of one store. An hour of 250 predictions a second at 1 kB each; observed programs must
# not fill the disk of a host whose server is away. Every writer may overshoot by one
# `SPOOL_MEASURE_BYTES`.
SPOOL_BYTES_MAX = 1024 * 1024 * 1024

# A writer goes on to the next segment beyond this size, so that delivered bytes are freed while
# it runs.
SPOOL_SEGMENT_BYTES = 16 * 1024 * 1024

# How often a writer measures the whole spool: every so many bytes of its own.
SPOOL_MEASURE_BYTES = 1024 * 1024

# A full or unusable spool is tried again this much later, not at every record.
SPOOL_RETRY_SECONDS = 1.0

# A receipt promises its leaf under a signed checkpoint within this time: the sequencer is at most
# one second behind; on SQLite it is not behind at all.
RECEIPT_DEADLINE_US = 1_000_000

# Raw bytes kept of one refused input, so that it can be fixed and sent again. Beyond lies no event.
DEAD_LETTER_BYTES_MAX = 64 * 1024 * 1024

# Raw bytes kept of all unresolved refusals together; past it only digest, length and fault are
# kept, so that a broken producer cannot fill the disk.
DEAD_LETTERS_BYTES_MAX = 1024 * 1024 * 1024

# Milliseconds SQLite waits for a lock that flock does not cover (recovery, a foreign program).
STORE_BUSY_MS = 10_000

# Entries read at a time when the log is walked: a few megabytes, and no long-lived snapshot that
# would keep the write-ahead log from shrinking.
ENTRIES_PAGE = 1_000

# How long a writer waits for another process's transaction. A commit takes milliseconds, a fold
# of a large import seconds; longer means a stopped process, and its holder must be named.
WRITER_LOCK_SECONDS_MAX = 120.0

# Rows on which a model and its replay are asked; more than a screen of them tells little more.
PROBE_ROWS_MAX = 256

# Seconds to load two models and ask them: several times what the largest of ours needs.
PROBE_SECONDS_MAX = 120

# Predictions of the demo: enough for a batch of several blocks, few enough to wait for.
DEMO_PREDICTIONS = 500

# Seconds for the demo's service to load its model and features on a loaded machine.
DEMO_SERVICE_SECONDS_MAX = 60
