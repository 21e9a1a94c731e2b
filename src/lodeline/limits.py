"""Whatever can grow has a bound; each bound stands here once, with its reason."""

from __future__ import annotations

# One OpenLineage event. Airflow's largest real events are near 5 MB; beyond 16 MiB lies data, not
# lineage.
EVENT_BYTES_MAX = 16 * 1024 * 1024

# Nesting of JSON. The core facets nest to 9; parsers written recursively die near 1,000.
EVENT_DEPTH_MAX = 64

# Digits of one JSON integer: CPython's own bound on turning text into an int.
INTEGER_DIGITS_MAX = 4_300

# Beyond this a refused event's lexical fault is told by byte offset instead of JSON pointer: the
# exact scanner reads about 2 MB/s, and a hostile sender must not buy seconds of CPU with one event.
EXPLAIN_BYTES_MAX = 1024 * 1024

# Parts of events remembered by their bytes, of each of four sorts, and the largest that is. With
# what is kept of each, at most 200 MiB for hostile senders; a few MiB for real ones.
PARTS_CACHED_MAX = 2048
PART_BYTES_MAX = 8 * 1024

# Contents of events (job, inputs and outputs) remembered by their bytes, and sets of facets of
# runs; of events no larger than a part may be, so that both hold at most 64 MiB.
CONTENTS_REMEMBERED_MAX = 1024

# A JSON document of several lines (an array of events, say) is held in memory whole while it is
# split; one event a line streams without bound.
DOCUMENT_BYTES_MAX = 512 * 1024 * 1024

# A namespace or a name, in UTF-8 bytes. Object-store keys end at 1,024, paths at 4,096.
NAME_BYTES_MAX = 8 * 1024


# Pages of the write-ahead log before a commit moves them into the database file: 32 MiB. A fold
# touches hundreds of pages again and again; moved at SQLite's thousand, each is written and synced
# many times over. A store that was killed reads this much when it is opened.
WAL_PAGES_MAX = 8 * 1024

# How long a busy service's commits may be ahead of their checkpoint. Signing and storing one costs
# a single event's commit a fifth; a receipt promises a second.
CHECKPOINT_BEHIND_SECONDS = 0.1

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

# What a process keeps of a segment between questions: names of nodes, with their texts, and what
# was found at the newest moment of groups, assertions and edges; some 25 MB each. Past it, it
# begins anew.
NODE_NAMES_KEPT_MAX = 50_000
MOMENT_FACTS_KEPT_MAX = 100_000

# Bytes of pages of closures that a process keeps of a segment as they were sent, until the log
# moves: a dozen of the largest usual ones, less than the facts behind them take.
ANSWERS_KEPT_BYTES_MAX = 16 << 20

# Seconds an answer may take before it comes back incomplete, with a gap of reason `time`.
ANSWER_SECONDS_MAX = 10.0

# Runs named in `asserted_by` of one edge (`asserted_by_total` counts them all), and entries in
# `entries`; an evidence pack names every entry.
ASSERTED_BY_MAX = 100

# Paths that `path` spells out; the sub-graph that holds all of them is in nodes and edges.
PATHS_MAX = 20

# Exports that a service writes at a time, and bytes of one that stay in memory before a temporary
# file takes them.
EXPORTS_AT_A_TIME = 2
EXPORT_MEMORY_BYTES = 8 * 1024 * 1024

# Rows of a Parquet archive held before they are written: some hundred megabytes of large events.
ARCHIVE_ROWS_MAX = 50_000

# Results of one page of a search.
SEARCH_RESULTS_MAX = 1_000

# A search. People type words; 50,000 characters are a pattern that SQLite calls too complex.
SEARCH_CHARACTERS_MAX = 1_000

# Matches of a search that are ranked and counted. More would take longer than anyone waits for
# results that nobody looks through; `total_exact` says whether there were more.
SEARCH_MATCHES_MAX = 500

# Documents looked at for a reader from whom some are hidden, to find as many that are not.
SEARCH_HIDDEN_MAX = 10_000

# Words of the vocabulary that one word of a search may stand for (beginning with it, containing
# it, mistyped). Shorter ones first: what is left out has the longest rest.
SEARCH_EXPANSIONS_MAX = 32

# Words of the vocabulary looked at for those.
SEARCH_WORDS_READ_MAX = 1_000

# Words that a question may ask for: each costs a walk over the documents that have it.
SEARCH_ASKED_MAX = 16

# Characters of a word; no name's part is longer, encoded data is.
SEARCH_WORD_CHARACTERS_MAX = 64

# Words kept of one node's descriptions, columns and the like: a table of some hundred columns, or
# some pages of text.
SEARCH_SAID_WORDS_MAX = 4_000

# Nodes indexed in one transaction: some hundred milliseconds under the writer's lock.
SEARCH_BATCH_NODES = 2_048

# Seconds that a command spends on the index before it asks; what then is not indexed is scanned.
SEARCH_INDEX_SECONDS = 20.0

# Nodes whose facets one search reads from the log, where the index does not hold them: at earlier
# moments, and for what came in since.
SEARCH_FACETS_READ_MAX = 2_000

# Values of one facet (kind, namespace, tag, owner) that a search counts, the most frequent first.
SEARCH_FACET_VALUES_MAX = 50

# Versions that `show` lists, newest first; `versions_total` counts them all.
SHOW_VERSIONS_MAX = 100

# Entries on one page of a catalogue's list; a page of jobs carries this many latest runs of each,
# as Marquez's does. Raw events are larger than entries.
CATALOGUE_PAGE_MAX = 10_000
CATALOGUE_RUNS_MAX = 10
CATALOGUE_EVENTS_MAX = 1_000

# Distinct sources or tags that facets state, read for one list: each may stand in another payload.
CATALOGUE_STATEMENTS_MAX = 10_000

# Names that a pattern of the catalogue's search matches at most, before they are sorted and cut.
CATALOGUE_MATCHES_MAX = 50_000

# Body of a request that puts something into the catalogue: names, descriptions, columns.
CATALOGUE_BODY_BYTES_MAX = 4 * 1024 * 1024

# Candidates that an ambiguous identifier lists, and readings that are looked up for one.
IDENTIFIER_CANDIDATES_MAX = 20
IDENTIFIER_READINGS_MAX = 512

# Events and bytes that wait for the writer of a service before it answers 503: some eight
# commits, half a second of waiting on a slow disk.
QUEUE_EVENTS_MAX = 8 * COMMIT_EVENTS_MAX
QUEUE_BYTES_MAX = 128 * 1024 * 1024

# One batch request, after decompression, and the events in it.
BATCH_BYTES_MAX = 64 * 1024 * 1024
BATCH_EVENTS_MAX = 10_000

# Questions that a service answers at a time; more wait for a thread.
SERVER_THREADS_MAX = 16

# Derivations that the entries since the graph's snapshot may have touched; beyond, SQL answers
# until the next snapshot. Each is looked up in the store by every large question.
INDEX_OVERLAY_MAX = 100_000

# Entries folded since the graph's snapshot, from which on a service writes the next one. Touched
# derivations stay well below `INDEX_OVERLAY_MAX`, and a million derivations take seconds to write.
INDEX_ENTRIES_MAX = 20_000

# Entries from which on a graph is worth a snapshot: fewer hold no closure that SQL is slow at.
INDEX_FIRST_MIN = 1_000

# Columns of datasets with aliases that one question takes up: a second's work. Where there are
# more, closures between columns are walked in SQL.
ALIASED_COLUMNS_MAX = 200_000

# Edges that a diff of the graph compares in all they say. Of more it tells those that came or went:
# describing an edge costs a hundred times what knowing of it does.
DIFF_EDGES_MAX = 100_000

# Bytes of all bodies that a service is receiving or decompressing at a time; beyond, it answers
# 503. Room for three of the largest batches.
BODIES_BYTES_MAX = 4 * BATCH_BYTES_MAX

# Members of one gzip body. Programs that append to a file make a few; a million empty ones would
# only cost time.
GZIP_MEMBERS_MAX = 1_000

# The receipt of a batch, as a header field. Clients refuse lines beyond 8,190 bytes (aiohttp) to
# 65,536; some 80 events' leaf hashes fit.
RECEIPT_HEADER_BYTES_MAX = 8_000

# Seconds that `?wait=folded` waits for the view before the event is acknowledged without it.
WAIT_SECONDS_MAX = 30

# Connections of a service, if the system grants as many descriptors: some 60 MB at 15 kB each.
# Past it the one that has been quiet longest is closed.
CONNECTIONS_MAX = 4_096

# Connections that the kernel holds until they are accepted; its own bound is usually 4,096.
CONNECTIONS_WAITING_MAX = 2_048

# Descriptors kept for files, databases and connections outward.
DESCRIPTORS_RESERVED = 256

# The body of a single event that goes straight to the writer. uvicorn holds as many bytes of a body
# that nobody reads yet, so the short way keeps no more in memory than the ordinary one; larger
# bodies are counted while they arrive.
DIRECT_BYTES_MAX = 64 * 1024

# A request's target and header fields. Cookies and tokens end near 16 KiB.
HEAD_BYTES_MAX = 64 * 1024

# Seconds from the first byte of a request to the end of its head, one packet as a rule.
HEAD_SECONDS_MAX = 10

# Seconds that any body may take, and the pace that a longer one must keep: a batch of the largest
# size over the slowest mobile line.
BODY_SECONDS_MAX = 30
BODY_BYTES_PER_SECOND_MIN = 32 * 1024

# Bytes of one request as sent, with what chunks add; a stream without an end is cut off here.
REQUEST_BYTES_MAX = 1024 * 1024 * 1024

# Requests that may wait on one connection behind the one being answered.
PIPELINED_REQUESTS_MAX = 64

# Seconds that a connection may stay silent between requests: longer than producers pause between
# two tasks, so that few meet a connection that was just closed.
IDLE_SECONDS_MAX = 75

# Seconds that a client may leave an answer unread before its connection is cut.
UNREAD_SECONDS_MAX = 60

# Listeners to a service's events at a time. Each is a connection, and a look at the log whenever it
# grows; a page or an agent needs one.
EVENT_STREAMS_MAX = 64

# Seconds between two signs of life on such a stream: proxies cut what is silent for a minute. And
# between two looks at the log, for what other processes write.
EVENT_STREAM_HEARTBEAT_SECONDS = 15.0
EVENT_STREAM_PAUSE_SECONDS = 0.5

# The longest that one stream lasts: a key that was revoked reads on so long.
EVENT_STREAM_SECONDS_MAX = 900.0

# Entries told at a time to one listener; it gets the rest next.
EVENT_STREAM_ENTRIES_MAX = 200

# Between two askings of the retention hooks, whose times are days.
RETENTION_PAUSE_SECONDS = 3600.0

# Seconds that a stopping service waits for requests under way and for the writer's queue.
SHUTDOWN_SECONDS_MAX = 10

# What a client reads of one answer before it calls the server broken.
ANSWER_BYTES_MAX = 256 * 1024 * 1024

# Nodes that one closure may reach: a few hundred megabytes of a process's memory.
CLOSURE_NODES_MAX = 500_000

# Derivations that one closure may walk. A few hubs can join every node with every other, so that
# nodes alone bound nothing; a derivation costs a few hundred bytes of a process's memory.
CLOSURE_DERIVATIONS_MAX = 2_000_000

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

# Characters kept of the pointer and of the message of one refusal; both quote the sender.
DEAD_LETTER_TEXT_MAX = 2_000

# Raw bytes kept of all unresolved refusals together; past it only digest, length and fault are
# kept, so that a broken producer cannot fill the disk.
DEAD_LETTERS_BYTES_MAX = 1024 * 1024 * 1024

# Open letters, some 300 bytes each besides their raw bytes; past it a refusal is only counted.
DEAD_LETTERS_MAX = 100_000

# Letters of one page of an answer, and those that one request sends again.
DEAD_LETTERS_PAGE = 1_000

# Accounts of producers; a producer that calls itself differently every time is counted as `other`.
ACCOUNTS_MAX = 1_000

# Characters of a producer, namespace or caller in its account: the three are one key, and an index
# entry of PostgreSQL holds 2,704 bytes.
ACCOUNT_TEXT_MAX = 200

# Raw bytes of one group-committed transaction; one event may exceed it alone. Bounds memory where
# events are large, and never binds where they are of ordinary size.
COMMIT_BYTES_MAX = 32 * 1024 * 1024

# Faults that `verify` lists; the first names the place to look, a thousand show the extent.
VERIFY_FAILURES_MAX = 1_000

# The largest file of a tiled log: a bundle of 256 entries of the largest size.
LOG_FILE_BYTES_MAX = 256 * (2 + 65_535)

# Faults that `log fsck` lists before it stops: a checkpoint that claims 2^62 entries must not keep
# it busy with missing files.
FSCK_FAULTS_MAX = 1_000

# Requests that write to a bucket at a time. More only queue in front of the same connection.
BUCKET_WRITES_MAX = 16

# Milliseconds SQLite waits for a lock that flock does not cover (recovery, a foreign program).
STORE_BUSY_MS = 10_000

# Pages that the writer's connection may keep, in kibibytes; used as needed. SQLite's 2 MiB make a
# fold of new edges spill its transactions to disk: three to five times the wall time at 20,000.
WRITER_CACHE_KB = 64 * 1024

# Entries read at a time when the log is walked: a few megabytes, and no long-lived snapshot that
# would keep the write-ahead log from shrinking.
ENTRIES_PAGE = 1_000

# Connections of one process to PostgreSQL, which by default takes 100 of all. A question holds one,
# rarely two; who finds none waits for STORE_BUSY_MS.
POSTGRES_CONNECTIONS_MAX = 16

# Milliseconds that one statement may take on PostgreSQL. Questions are bounded far below it; a
# verification reads in pages. Longer is a runaway that would hold its snapshot open.
POSTGRES_STATEMENT_MS_MAX = 120_000

# How long a process that had PostgreSQL tries to reach it again before it gives up: a restart with
# recovery takes seconds.
POSTGRES_RECONNECT_SECONDS = 30.0

# How long PostgreSQL keeps a silent client that holds the writer's lock in a transaction.
POSTGRES_IDLE_TRANSACTION_MS = 60_000

# Attempts at a commit whose connection was lost under it. Each finds out first whether the one
# before was kept.
COMMIT_ATTEMPTS = 3

# Attempts at a question whose connection was lost under it. A server that restarts is waited for
# while connecting; more attempts would repeat a question that itself brings its server down.
QUESTION_ATTEMPTS = 5

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

# Records of one delivery: as many as one group commit takes, and no more bytes than a server takes
# in one request.
DELIVERY_RECORDS_MAX = COMMIT_EVENTS_MAX
DELIVERY_BYTES_MAX = 8 * 1024 * 1024

# Failures in a row before a deliverer leaves the rest in the spool for the next one.
DELIVERY_ATTEMPTS_MAX = 6

# Seconds of failures in a row after which it does so in any case: a receiver that takes connections
# and never answers would else hold whoever waits for the delivery for a minute.
DELIVERY_FAILING_SECONDS_MAX = 15.0

# Waiting before another try: doubles from the first to the last, each time a random part of it.
DELIVERY_RETRY_SECONDS = 0.1
DELIVERY_RETRY_SECONDS_MAX = 5.0

# Seconds that a command which opens the store spends on draining its spool first.
DRAIN_SECONDS = 2.0

# Seconds until an HTTP request of a deliverer counts as failed.
HTTP_TIMEOUT_SECONDS = 10.0

# Seconds until it does though bytes still come, one now and then.
HTTP_REQUEST_SECONDS_MAX = 15.0

# Bytes of an answer to a deliverer: a reason for each event of the largest batch takes a tenth.
HTTP_ANSWER_BYTES_MAX = 16 * 2**20

# What the end of a short run leaves in a local store's spool for whoever opens the store next: so
# many bytes, some dozens of runs, which a question takes in within `DRAIN_SECONDS`; of so many
# seconds ago, so that a log which many runs fill follows them within an hour.
DELIVERY_WAITING_BYTES_MAX = 256 * 1024
DELIVERY_WAITING_SECONDS_MAX = 3600.0

# CPU seconds of a run's own from which on a delivery at its end costs it less than capture as a
# whole may (3 %): to load and run what writes a store takes a third of a second.
DELIVERY_WAITING_CPU_SECONDS_MAX = 10.0

# Seconds until a broker's answer to a deliverer counts as missing; as of a stream's consumer.
BROKER_TIMEOUT_SECONDS = 10.0

# Seconds between two looks of a background deliverer at a spool in which nothing waits, and the
# longest pause while its receiver is away: what comes back is noticed within a minute.
FOLLOW_SECONDS = 1.0
FOLLOW_SECONDS_MAX = 60.0

# Days that records wait for a receiver that is away. A month outlives holidays and repairs; what is
# older is dropped, oldest first, and counted.
SPOOL_DAYS = 30

# Refused records kept beside the spool for repair; beyond it they are only counted.
REFUSED_BYTES_MAX = 64 * 1024 * 1024

# Files hashed at a time by a deliverer. More only makes a disk seek.
DIGEST_THREADS_MAX = 4

# Together smaller, files are hashed one after another: within the time that loading and starting
# threads takes, one core hashes as much.
DIGEST_THREADS_BYTES_MIN = 32 * 1024 * 1024

# Digests of files remembered between deliveries, by device, inode, time and size, and the smallest
# file that is worth it: a smaller one is hashed in a millisecond.
DIGEST_MEMORY_MAX = 10_000
DIGEST_MEMORY_BYTES_MIN = 1024 * 1024

# Files of one dataset that a manifest lists; a larger directory is a gap. A line is 150 bytes: what
# this allows is a fifth of the largest event.
MANIFEST_FILES_MAX = 20_000

# Files of one kind in one folder that stay single; with more, the folder is one dataset. A hundred
# names can still be read in an answer.
FOLDER_FILES = 100

# The largest table whose logical digest is computed: it is held in memory, at up to 33 bytes a
# cell, and takes about ten seconds of one core. The file's bytes bound what is read before its
# cells can be counted.
LOGICAL_CELLS_MAX = 20_000_000
LOGICAL_BYTES_MAX = 256 * 1024 * 1024

# Logical digests remembered by the digest of the bytes; a few hundred bytes each.
LOGICAL_MEMORY_MAX = 1_000

# Logical digests that wait for whoever delivers next, one of a file; under a kilobyte each. A
# program that writes more tables than this has the first of them without.
LOGICAL_POSTPONED_MAX = 1_000

# Share of an observed program's own CPU time that its end may spend on logical digests: less than
# capture as a whole may cost it.
LOGICAL_SHARE = 0.02

# Predictions of one spooled batch, and the longest that one waits for its batch: what kill -9 may
# cost. At 250 predictions a second both are reached together.
PREDICTIONS_BATCH_MAX = 64
PREDICTIONS_BATCH_SECONDS = 0.25

# Predictions that the writer thread writes down before it lets requests go first: a tenth of a
# millisecond; and for how long, the least that a kernel's timer knows. Without, a request that
# comes meanwhile waits for the whole batch; with it, sixteen predictions cost a switch of threads.
PREDICTIONS_IN_ONE_GO = 16
PREDICTIONS_PAUSE_SECONDS = 0.000_05

# Predictions waiting for the writer thread. A minute at 1,000 a second; beyond it, they are lost
# and counted instead of filling the server's memory.
PREDICTIONS_WAITING_MAX = 65_536

# Features or output of one prediction kept as values; beyond it their digest is.
PREDICTION_VALUES_BYTES_MAX = 16 * 1024

# Cells of one call's features or output copied for the record, 8 MB of numbers; beyond it, only
# their shape is.
PREDICTION_CELLS_MAX = 1_000_000

# Body of a request or response that is kept for the record while it passes.
PREDICTION_BODY_BYTES_MAX = 64 * 1024

# W3C baggage allows 8,192 bytes in all; `traceparent` and `tracestate` are far below.
TRACE_HEADER_BYTES_MAX = 8_192

# Between two looks at what operators decided of a deployment: how late a kill may arrive, beside
# the time that a server takes to answer. A look at the file is one `stat`.
DEPLOYMENT_POLL_SECONDS = 0.5
DEPLOYMENT_ANSWER_SECONDS = 2.0

# A process that is to fail closed refuses once the server has not answered for so long.
DEPLOYMENT_STALE_SECONDS = 60.0

# File that holds a deployment's state; a fallback answer is all that could make it long.
DEPLOYMENT_STATE_BYTES_MAX = 1024 * 1024

# Connections that a proxy holds to one upstream at a time; further requests wait, unread.
PROXY_CONNECTIONS_MAX = 256

# An idle connection of a proxy is dropped before a model server drops it: many do after five
# seconds, and a request sent just then would be lost.
PROXY_IDLE_SECONDS = 4.0

# Bytes of a body that a proxy holds in each direction.
PROXY_BUFFER_BYTES = 64 * 1024

# Head of an upstream's answer.
PROXY_HEAD_BYTES_MAX = 256 * 1024

# Spans of one OTLP request; exporters send 512 at a time by default. More are rejected, and told.
SPANS_MAX = 20_000

# Depth of a value in a span's attribute; messages with parts of tools' answers need about six.
SPAN_VALUE_DEPTH_MAX = 32

# Documents that one retrieval names; more than a model's context takes in.
SPAN_DOCUMENTS_MAX = 500

# A run's messages of a topic are told anew after so many seconds, and at the end: what a killed
# process loses of its counts.
MESSAGES_WINDOW_SECONDS = 10.0

# Digests of messages, and runs and predictions named in headers, that one summary keeps.
MESSAGES_NAMED_MAX = 64

# Columns of messages that a summary has figures of, each with a sketch of up to 6 kB, told anew
# every window; values of one message that are looked at, how deep in each other, and its bytes.
# What has more is counted and not read, for the program waits meanwhile.
MESSAGES_COLUMNS_MAX = 32
MESSAGE_CELLS_MAX = 256
MESSAGE_DEPTH_MAX = 4
MESSAGE_BYTES_READ_MAX = 16 * 1024

# Partitions that one summary tells apart; of the others only the sum is told.
MESSAGES_PARTITIONS_MAX = 1_000

# Paths remembered as leading to predictions, so that their failures are records, too.
PREDICTION_PATHS_MAX = 1_000

# Predictions of one blob: finding one reads the whole blob, a few milliseconds.
PREDICTION_BLOB_ROWS_MAX = 2_048

# Parsed facets kept in memory, per kind of facet. A busy store sees a few thousand distinct ones.
STATEMENTS_CACHED_MAX = 8192

# Rows of one interning table (nodes, derivations, details, facet sets) kept in memory while
# folding: about 300 bytes each.
INTERNED_MAX = 300_000

# Rows of one interning table read at once when folding begins; beyond, single look-ups are
# cheaper than reading what a short batch will never ask for.
INTERNED_AT_ONCE = 20_000

# Objects made and kept before a service's process looks for cycles among them: some MiB of what a
# busy second leaves. At Python's 700 that took 24 us of each single event.
COLLECTED_OBJECTS_MIN = 20_000

# Durable events that a service lets wait for the fold while more arrive: three commits of 32
# connections. Folding them holds up the requests behind them for some 10 ms, and 256 for 30; an
# event costs the same in both, and a quarter more in 64.
FOLD_BEHIND_MAX = 96

# How long a service waits for the next request before it folds what is durable, and how long it
# puts that off while requests go on to come. Events of a busy second say the same of the same
# datasets again: folded in thirties an event costs nearly three times what it costs in hundreds.
# Questions and `?wait=folded` do not wait for it: they fold what is left.
FOLD_PAUSE_SECONDS = 0.05
FOLD_BEHIND_SECONDS = 0.25

# Events folded in one transaction of the view. More holds the writer's lock longer without
# measurably raising throughput.
FOLD_EVENTS_MAX = 2048

# Rows of a table of the graph from which on PostgreSQL's planner has to know of them, and the
# growth after which it looks again: plans change with the order of magnitude, not with each row.
STATISTICS_ROWS_MIN = 1000
STATISTICS_GROWTH = 2
# Entries folded between two looks at whether that is due, each of three small statements.
STATISTICS_PAUSE_ENTRIES = 256

# Groups (runs) kept in memory while folding, so that a COMPLETE finds its START.
GROUPS_CACHED_MAX = 20_000

# Least time between two maps of the log unless evidence is asked for: a map costs what changed, and
# entries younger than the newest map are not yet shown to be complete.
MAP_INTERVAL_US = 60 * 1_000_000

# Entries mapped in one transaction: some 20 ms of the writer's lock.
MAP_ENTRIES_MAX = 256

# Mentions of an earlier map that is computed again at a question: a second or two of hashing.
MAP_RECOMPUTED_MENTIONS_MAX = 200_000

# Distinct contents of events (job, inputs and outputs) kept in memory while folding.
CONTENTS_CACHED_MAX = 4096

# Seconds that each question to git may take before the answer becomes a gap.
GIT_SECONDS_MAX = 5.0

# Uncommitted changes kept with a run as text; of larger ones the digest is kept.
PATCH_BYTES_MAX = 64 * 1024

# Packages named in one environment; a full data science image has about 600.
PACKAGES_MAX = 5_000

# Plain files named in one run. A program that walks a million files is described by the first
# ones and a gap; its journal stays readable in a second.
RUN_FILES_MAX = 20_000

# Files and objects that one run removed and that are told as ended. Who clears a cache of more than
# these is described by the first ones and a gap.
REMOVALS_MAX = 1_000

# Objects put into stores whose versions wait for the frame's writer that put them. A writer tells
# of its own at once.
STORED_OBJECTS_MAX = 1_000

# Bytes of a file's beginning whose information is measured: enough to tell a table from its header.
INFORMATION_BYTES = 65_536

# Information below which equal bytes say nothing of where a file came from: empty files, headers,
# markers, files of zeros. A line of a table holds some 30 bytes when compressed.
CONTENT_INFORMATION_MIN = 256

# Datasets with the same bytes that the gap of an ambiguous copy names.
CONTENT_NAMED_MAX = 5

# Digests that one pass of the fold looks at again for copies.
CONTENT_DUE_MAX = 500

# Gaps of one run. They tell what is missing; beyond this they tell that much is.
RUN_GAPS_MAX = 200

# Different statements of SQL that one connection's session reads for lineage: reading one takes
# milliseconds, and a program that writes its values into the text has as many as it has values.
SQL_STATEMENTS_MAX = 2_000

# Characters of one statement that are kept, without literals; longer ones are read each time.
SQL_TEXT_MAX = 10_000

# Questions about tables that one connection's database is asked: more would slow the program.
SQL_TABLES_MAX = 1_000

# Characters of all statements that a run tells of.
RUN_SQL_MAX = 64_000

# Words of the command line of a program that is not observed which are looked up as files.
ARGUMENTS_NAMED_MAX = 100

# Datasets of one event that a run tells; more become further RUNNING events.
EVENT_DATASETS_MAX = 500

# One line of a journal: one dataset with its facets.
JOURNAL_LINE_BYTES_MAX = 4 * 1024 * 1024

# Text, members and nesting of a recorded parameter; what is larger is data, not a setting.
PARAMETER_TEXT_MAX = 1_000
PARAMETER_MEMBERS_MAX = 200
PARAMETER_DEPTH_MAX = 4

# Rows of all nodes in one kept composition of a model, and how many are kept beside a store. Rows
# in order compress to a byte or two each: some ten megabytes a model, and a gigabyte in all.
COMPOSITION_ROWS_MAX = 10_000_000
COMPOSITIONS_MAX = 64
# Sets by which the rows of one weighted fit are told. Class weights are a few values; of continuous
# ones each set stands for a range, and a reader can't tell a sixty-fourth of them apart.
FIT_WEIGHTS_MAX = 64
# Ways in which one run drew rows from one input, and divisions told of one of them. A search over a
# search makes thousands; a person reads the first ones, and the seed makes the rest again.
SAMPLINGS_MAX = 32
FOLDS_MAX = 100
# Rows of a division whose numbers are digested: about 20 ms. The seed tells larger ones.
FOLD_ROWS_DIGESTED_MAX = 1_000_000

# Checks of one input that are told. A suite has tens; a generated one of thousands is counted.
ASSERTIONS_MAX = 500

# Values kept of a metric that is measured again and again, beside the last one.
METRIC_REPEATS_MAX = 100

# Loaders of a program whose settings are told one by one; some programs make one for each epoch.
LOADERS_TOLD_MAX = 100

# Members of a list or dict looked at for data flow; a longer one is judged by its first members.
FLOW_MEMBERS_MAX = 256

# Single values, such as means, whose origin is remembered: two hundred bytes each. Of what is used
# again, most is used soon.
FLOW_SCALARS_MAX = 1_000

# Files that one glob pattern may stand for before the rest becomes a gap.
GLOB_FILES_MAX = 1_000

# Seconds between two looks of `lodeline run` at its program's journals, and the longest pause
# between two RUNNING events, which doubles from the first on.
RUN_POLL_SECONDS = 1.0
RUN_PAUSE_SECONDS_MAX = 60.0

# Changes of one table that its rows are followed through in a run: each is a step that names every
# row of the table, so a loop of single inserts would write the square of what it inserts.
TABLE_CHANGES_MAX = 200

# Links of all window frames of one query, counted before they are written out: a running sum over a
# million rows has 5 * 10^11 of them. These are a few hundred megabytes in DuckDB.
FRAME_LINKS_MAX = 20_000_000

# Row links of one statement on PostgreSQL: rows that its plan expects anywhere, or gives; and how
# long the second query may take, which the program waits for. A gap says where it is passed.
POSTGRES_LINK_ROWS_MAX = 200_000
POSTGRES_LINK_MS_MAX = 10_000

# Files of a folder whose values are read for an answer: each is digested first, and someone waits.
FOLDER_VALUES_FILES_MAX = 1_000

# Rows of what a program writes with Spark, or of what their query gives: they are compared in the
# program's process. A gap says where it is passed.
SPARK_LINK_ROWS_MAX = 200_000

# Statements of one connection whose links are asked for: each costs several questions, and a
# program that runs thousands is one that asks for single rows.
POSTGRES_LINK_STATEMENTS_MAX = 200

# Rows of one table on PostgreSQL that one process names by key.
POSTGRES_KEYS_MAX = 1_000_000

# Row provenance: rows of one page of an answer; counts tell how many there are in all.
ROWS_PAGE_DEFAULT = 10_000
ROWS_PAGE_MAX = 100_000

# Links of row steps kept in memory during one question; the least recently used go first.
ROW_BLOB_CACHE_BYTES = 512 * 1024 * 1024

# Row groups of one block kept decoded: a question about single rows touches few of them.
ROW_GROUPS_CACHED_MAX = 16

# Of all bitmaps of one source that a query collects, in bytes, as estimated: the estimate is from
# a sketch of a sample and may be ten times too low, each thread has bitmaps of its own, and the
# program observed must not notice.
ROW_BITMAPS_MAX = 16 * 1024 * 1024

# Blocks of row steps kept open by one process, over all questions.
ROW_BLOCKS_OPEN_MAX = 256

# A smaller block is checked against its digest whole when it is opened; of a larger one the end is,
# and each page when it is read.
ROW_BLOCK_CHECKED_WHOLE_BYTES = 4 * 1024 * 1024

# Predictions of one cohort that are looked at one by one, for a condition or a list.
COHORT_RECORDS_MAX = 200_000

# Claims about single rows in one evidence pack, three kilobytes each. What has more rows behind it
# is proven as far as this, and says so.
EVIDENCE_CLAIMS_MAX = 2_000

# A condition of `--where`. People write them by hand.
WHERE_CHARACTERS_MAX = 2_000

# A file that is unpacked from a ZIP to read values of its rows, into the system's temporary folder.
ZIPPED_ROWS_BYTES_MAX = 1 << 30

# Rows named in the record of one prediction; a larger batch is a job, not a decision.
FEATURE_ROWS_MAX = 1_000

# Links of one step over windows of a table in memory: 400 MB while they are written. A program
# with more of them gets a gap.
ROW_WINDOW_LINKS_MAX = 50_000_000

# Samples whose order of feeding is kept in one process, 8 bytes each until it is written. Later
# epochs are a gap.
EPOCH_SAMPLES_MAX = 100_000_000

# Labels of personal values in one facet; one label names many values by a wildcard. A facet with
# more is sealed whole.
PERSONAL_LABELS_MAX = 100

# Personal values of one event that are sealed one by one; each may bring a new key, a file.
# Of an event with more, the facets that hold them are sealed whole, unattributed.
PERSONAL_VALUES_MAX = 1_000

# Steps from a facet down to a property that its schema marks personal. Schemas may be recursive.
PERSONAL_SCHEMA_DEPTH_MAX = 16

# Keys of subjects kept in memory, 32 bytes each and their names.
SUBJECT_KEYS_CACHED_MAX = 10_000

# Erased values that an answer names one by one among its gaps; the rest is counted.
ERASED_GAPS_MAX = 100

# Gaps of one reason that an answer tells one by one; the rest is counted. A walk to a depth may end
# at as many nodes as it reaches.
ANSWER_GAPS_MAX = 1_000

# Places that one answer about a data subject lists; an erasure takes out as many undeclared ones.
SUBJECT_PLACES_MAX = 100_000

# Attempts to empty the write-ahead log, a tenth of a second apart, before the next opening has to.
CHECKPOINT_TRIES = 20

# Seconds between two looks for a checkpoint that a witness has not cosigned; checkpoints between
# them are covered by the later one. The pause doubles up to the second figure while it is gone.
WITNESS_PAUSE_SECONDS = 1.0
WITNESS_PAUSE_SECONDS_MAX = 300.0

# An evidence pack is read into memory whole by whoever verifies it; at 3 kB an entry this is
# 300 MB. A question with more behind it is asked with --depth.
EVIDENCE_ENTRIES_MAX = 100_000

# A key's name: a team, a tool, a place. Longer ones would break the list.
API_KEY_NAME_CHARACTERS_MAX = 100

# How long a look-up of a key may be shared by requests. Shorter than `lodeline key revoke` takes to
# end, so that a revocation counts once the command is done; long enough that thousands of requests
# a second cost fifty look-ups.
API_KEY_CACHE_SECONDS = 0.02

# Between two notes of a key's use; a note is a write to the store.
API_KEY_USE_SECONDS = 3600

# Keys whose look-up is remembered. Unknown identifiers are remembered, too: this bounds them.
API_KEYS_CACHED_MAX = 10_000

# A model's version in the headers of a message: digests and revision numbers, far below.
CORRELATION_CHARACTERS_MAX = 512

# Seconds before a broker or folder that did not answer is tried again; doubles up to the second.
STREAM_RETRY_SECONDS = 0.25
STREAM_RETRY_SECONDS_MAX = 10.0

# How long a consumer waits for messages before it looks whether it should stop, and folds.
STREAM_WAIT_SECONDS = 0.5

# Messages asked for at a time: one commit's worth.
STREAM_MESSAGES_MAX = COMMIT_EVENTS_MAX

# Bytes of messages held at a time, if each were as large as its broker lets it be.
STREAM_BYTES_MAX = QUEUE_BYTES_MAX

# Seconds that a consumer which was told to stop may take for the messages in its hands, and once
# more to leave its broker.
STREAM_STOP_SECONDS_MAX = 5.0

# Seconds until a request to a broker counts as unanswered.
STREAM_REQUEST_SECONDS_MAX = 10.0

# Seconds between two looks whether a broker that sends nothing is still there.
STREAM_LOOK_SECONDS = 2.0

# Bytes of one request of a forwarder: a quarter of what a service takes in one.
FORWARD_BYTES_MAX = BATCH_BYTES_MAX // 4

# Seconds that a forwarder waits at most before it asks a service again that has no room, whatever
# that says.
FORWARD_PAUSE_SECONDS_MAX = 300.0

# Seconds until a broker gives a message that was handed out and not acknowledged to another
# consumer: how long a killed one's last batch waits. One at work says so three times as often.
STREAM_REDELIVERY_SECONDS = 6.0

# Seconds between two looks at a folder. A look lists it; what has not changed is not opened.
FOLDER_PAUSE_SECONDS = 1.0

# Bytes of files given to one commit.
FOLDER_BYTES_MAX = COMMIT_BYTES_MAX

# The first bytes of a file, by which it is told from another that took its name or its inode.
FOLDER_FINGERPRINT_BYTES = 256
# An agent reads every byte of an answer: 64 KiB are some 16,000 tokens.
AGENT_ANSWER_BYTES_MAX = 64 * 1024

# A facet larger than this is named with its size in place of its body.
AGENT_FACET_BYTES_MAX = 8 * 1024

# Items of a page where an agent does not say.
AGENT_PAGE = 50

# Segments of one service. Each has threads, connections and a log of its own, and a question is
# asked of all.
SEGMENTS_MAX = 64

# Blocks of predictions whose segment is remembered; others are looked up.
BLOCKS_REMEMBERED_MAX = 100_000

# Bytes of a report of tests. The largest suites write a few megabytes.
TEST_REPORT_BYTES_MAX = 64 * 1024 * 1024

# Columns whose readers one check of a pull request looks up; beyond, it could not tell.
CHECKED_COLUMNS_MAX = 200

# Times that `import --server` sends a batch which the service is too busy for, a second apart: a
# queue that stays full for half a minute is not emptied by waiting.
SERVED_ATTEMPTS_MAX = 30

# Milliseconds that a program's end waits for what Spark has still to tell of finished actions; it
# tells of each within milliseconds, unless its own queue is behind.
SPARK_LISTENER_MS_MAX = 10_000

# Characters of a plan's JSON that are read: a plan of some thousand columns. Reading more would
# hold the program's interpreter for seconds.
SPARK_PLAN_CHARACTERS_MAX = 16 * 1024 * 1024

# Columns that a summary of predictions has figures of; models with more features exist, but a
# summary is to stay smaller than what it stands for.
SUMMARY_COLUMNS_MAX = 256

# Numbers of a column kept until they go into its figures and sketch together: 4 kB a column.
FIGURES_IN_ONE_GO = 512

# Characters of a sketch in base 64. One of a hundred million values has 6,300; what is longer was
# made with other parameters than ours, or is none.
SKETCH_BYTES_MAX = 16 * 1024

# Bytes of dbt's manifest that are read: a project of some ten thousand models. Reading takes as
# long as dbt takes to write it, and some times its size in memory.
DBT_ARTIFACT_BYTES_MAX = 256 * 1024 * 1024

# Characters of one dbt model whose columns are followed; generated ones that are longer would take
# their parser seconds, after the program's end.
DBT_QUERY_CHARACTERS_MAX = 200_000

# Objects of whose store the current version is remembered, to tell whether a version that is
# deleted is an old one; of those beyond, a deleted version is a gap.
OBJECT_VERSIONS_MAX = 10_000

# Folders that are listed before a filesystem removes one whole, each a request to it; what a deeper
# one held is a gap.
FOLDERS_LISTED_MAX = 100

# Sketches that one answer checks and merges, some 50 us each: two hundred batches of a hundred
# columns in a second. Of the batches beyond, the exact figures count all the same.
SKETCHES_MERGED_MAX = 20_000

# A form of the pages: a key, and an address to come back to, which a request line bounds.
SIGN_IN_BYTES_MAX = 64 * 1024

# Runs of one answer about a job: a line of time with more is no longer read.
RUNS_LISTED_MAX = 100

# Runs that are looked through for those of an agent, of whom there is no index.
AGENT_RUNS_SCANNED_MAX = 500

# Predictions of one page, and records that one question reads to find them: a filter that matches
# nothing would otherwise read every blob of a deployment.
PREDICTIONS_LISTED_MAX = 500
PREDICTIONS_SCANNED_MAX = 20_000

# Of one page about a node: neighbours on each side, runs on its line of time, places of a table of
# values, predictions. Each list says when there is more, and links to where all of it is.
PAGE_NEIGHBOURS_MAX = 60
PAGE_RUNS_MAX = 30
PAGE_VALUES_MAX = 1_000
PAGE_PREDICTIONS_MAX = 25

# Of a graph: nodes whose columns are open at once, and columns of one of them; its own page lists
# all. More would be taller than a screen many times over.
PAGE_NODES_OPENED_MAX = 8
PAGE_COLUMNS_MAX = 200

# Of one page of rows: rows shown, rows of one table that it sorts and exports (as `rows` gives
# without asking for more), and characters of a cell.
PAGE_ROWS_MAX = 50
PAGE_ROWS_SORTED_MAX = 10_000
PAGE_CELL_CHARACTERS_MAX = 300

# Lines of code that a comparison shows, with what stayed around each change.
PAGE_CODE_LINES_MAX = 2_000

# Entries of one answer that its page has the browser check: each is fetched and hashed there. An
# evidence pack has them all.
PROOF_ENTRIES_MAX = 200

# Checkpoints that the page of the log lists, the newest first.
PAGE_CHECKPOINTS_MAX = 100

# Refused inputs of one page, and bytes of one that a page shows and lets people edit; larger ones
# are downloaded, mended, and sent again by command.
PAGE_DEAD_LETTERS_MAX = 25
DEAD_LETTER_SHOWN_BYTES_MAX = 256 * 1024

# Newest entries that the home page reads for what changed and failed in a day: in a busy service
# they are those of some minutes, which the page says; more would keep its reader waiting.
PAGE_ENTRIES_READ_MAX = 200
