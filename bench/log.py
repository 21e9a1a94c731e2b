"""What does the log cost: entries a second, share of ingest, proofs at 10 M entries, bytes, memory?

Workload: the seeded run events of `bench/ingest.py`. *Log alone* is what the log adds to a store:
identifiers, commitments, leaf records, tiles, roots and a signed checkpoint for each commit's worth
of events. Its floor, in the same run: appending the same bytes to a file and hashing them with
SHA-256, with one fdatasync for each commit's worth. Proofs are generated from, and verified
against, a store file whose tiles hold ENTRIES random leaf hashes.

    python bench/log.py --out bench/results/log.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ingest import log_alone, make_events, page_bytes, timed
from lodeline.ingest import accept, prepare_event
from lodeline.ingest.projection import fold_pending
from lodeline.limits import COMMIT_EVENTS_MAX
from lodeline.proof import HASH_BYTES, TILE_WIDTH, verify_consistency, verify_inclusion
from lodeline.store import AcceptedEvent, SqliteSegment, open_segment
from lodeline.store.verification import verify_segment
from lodeline.tlog import GrowingTree

_TILES_A_BATCH = 64


def floor(prepared: Sequence[AcceptedEvent], folder: Path) -> None:
    """Append the payloads to a file and hash them, with an fdatasync for each group."""
    with (folder / "floor").open("wb", buffering=0) as file:
        for start in range(0, len(prepared), COMMIT_EVENTS_MAX):
            group = [event.canonical for event in prepared[start : start + COMMIT_EVENTS_MAX]]
            for payload in group:
                hashlib.sha256(payload).digest()
            file.write(b"".join(group))
            os.fdatasync(file.fileno())


def rss_mb() -> float:
    """Resident memory now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_speed(raws: list[bytes], repeats: int) -> dict[str, Any]:
    """Entries a second: floor, log alone, appended to a store, verified; the share of ingest."""
    prepared = [prepare_event(raw) for raw in raws]
    count = len(raws)
    runs: list[dict[str, tuple[float, float]]] = []
    sizes: dict[str, int] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
            folder = Path(name)
            segment = open_segment(f"sqlite:///{folder / 'lodeline.db'}")
            run = {
                "floor": timed(lambda f=folder: floor(prepared, f)),
                "alone": timed(lambda: log_alone("0" * 32, prepared, committed=True)),
                "uncommitted": timed(lambda: log_alone("0" * 32, prepared, committed=False)),
                "append": timed(lambda s=segment: accept(s, raws, fold=False)),
                "fold": timed(lambda s=segment: fold_pending(s)),
                "verify": timed(lambda s=segment: verify_segment(s)),
            }
            sizes = page_bytes(segment)
            segment.close()
            runs.append(run)
    wall, cpu = (
        {name: statistics.median(run[name][i] for run in runs) for name in runs[0]}
        for i in range(2)
    )
    ingest = cpu["append"] + cpu["fold"]
    return {
        "entries": count,
        "payload_bytes_an_entry": sum(len(one.canonical) for one in prepared) / count,
        "entries_per_s": {
            "floor": count / wall["floor"],
            "log_alone": count / wall["alone"],
            "log_alone_by_cpu": count / cpu["alone"],
            "decoded_and_appended_to_a_store": count / wall["append"],
            "verified": count / wall["verify"],
        },
        "ratio_of_log_alone_to_floor": wall["floor"] / wall["alone"],
        "share_of_ingest_cpu": {
            "log": cpu["alone"] / ingest,
            "of_it_commitments": (cpu["alone"] - cpu["uncommitted"]) / ingest,
            "log_of_append_without_folding": cpu["alone"] / cpu["append"],
        },
        "bytes_an_entry": {
            name: sizes.get(name, 0) / count
            for name in ("entry", "event_id", "record_secret", "tile", "checkpoint", "payload")
        },
    }


def fill_tiles(segment: SqliteSegment, entries: int) -> dict[str, float]:
    """Give a store the tiles of so many random leaf hashes; memory before, within and after."""
    tree = GrowingTree()
    memory = {"before": rss_mb()}
    batch = _TILES_A_BATCH * TILE_WIDTH
    started, growing = time.perf_counter(), 0.0
    with segment.writing(durable=False) as connection:
        while tree.size < entries:
            count = min(batch, entries - tree.size)
            drawn = os.urandom(count * HASH_BYTES)
            leaves = [drawn[i : i + HASH_BYTES] for i in range(0, len(drawn), HASH_BYTES)]
            begun = time.perf_counter()
            full = tree.extend(leaves)
            growing += time.perf_counter() - begun
            connection.executemany("INSERT INTO tile VALUES (?, ?, ?)", full)
            for tenths in (2, 6):
                if f"at_{tenths}_tenths" not in memory and tree.size * 10 >= entries * tenths:
                    memory[f"at_{tenths}_tenths"] = rss_mb()
        connection.executemany(
            "INSERT OR REPLACE INTO tile_edge VALUES (?, ?)", enumerate(map(bytes, tree.edges))
        )
        # The tiles are all that a proof reads; one entry says how long the log is.
        connection.execute("INSERT INTO entry VALUES (?, 1, 'event', x'')", (entries - 1,))
    memory["at_the_end"] = rss_mb()
    return {
        "seconds": time.perf_counter() - started,
        "leaf_hashes_into_tiles_per_s": entries / growing,
        **{f"rss_mb_{name}": value for name, value in memory.items()},
    }


def quantiles_ms(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Mean CPU, median and 99th percentile of repeated calls, in ms."""
    taken = [timed(work) for _ in range(repeats)]
    times = sorted(wall for wall, _ in taken)
    return {
        "cpu_mean_ms": sum(cpu for _, cpu in taken) / repeats * 1e3,
        "median_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
    }


def measure_proofs(entries: int, repeats: int, seed: int) -> dict[str, Any]:
    """Generate and verify proofs in a store with the tiles of a large log."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        path = Path(name) / "lodeline.db"
        with open_segment(f"sqlite:///{path}") as segment:
            filled = fill_tiles(segment, entries)
        # Opened anew: proofs must need nothing that filling left in memory.
        segment = open_segment(f"sqlite:///{path}", create=False)
        root = segment.root_at(entries)

        def prove_inclusion() -> None:
            segment.inclusion_path(chance.randrange(entries), entries)

        def prove_consistency() -> None:
            segment.consistency_path(chance.randrange(1, entries), entries)

        position, earlier = chance.randrange(entries), chance.randrange(1, entries)
        path_to, path_from = (
            segment.inclusion_path(position, entries),
            segment.consistency_path(earlier, entries),
        )
        with segment.reading() as connection:
            (tile,) = connection.execute(
                "SELECT hashes FROM tile WHERE level = 0 AND number = ?",
                (position // TILE_WIDTH,),
            ).fetchone()
        offset = position % TILE_WIDTH * HASH_BYTES
        leaf_hash, root_earlier = tile[offset : offset + HASH_BYTES], segment.root_at(earlier)
        found = {
            "inclusion": quantiles_ms(prove_inclusion, repeats),
            "consistency": quantiles_ms(prove_consistency, repeats),
            "verify_inclusion": quantiles_ms(
                lambda: verify_inclusion(
                    leaf_hash, path_to, leaf_index=position, tree_size=entries, root=root
                ),
                repeats,
            ),
            "verify_consistency": quantiles_ms(
                lambda: verify_consistency(
                    path_from,
                    size_earlier=earlier,
                    size_later=entries,
                    root_earlier=root_earlier,
                    root_later=root,
                ),
                repeats,
            ),
        }
        segment.close()
        file_bytes = path.stat().st_size
    return {
        "at_entries": entries,
        "tile_bytes_an_entry": file_bytes / entries,
        "rss_mb_while_proving": rss_mb(),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "filling": filled,
        "proofs": found,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=10_000_000, help="of the large log")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    # First, so that the memory of the events does not blur that of the large log.
    large = measure_proofs(arguments.entries, 500, arguments.seed)
    raws = make_events(arguments.events, repeated=True, seed=arguments.seed)
    results: dict[str, Any] = {
        "question": (
            "What does the log cost: entries a second, share of ingest, proofs, bytes, memory?"
        ),
        "command": "python bench/log.py " + " ".join(sys.argv[1:]),
        "workload": (
            f"{arguments.events} run events of 200 jobs, seed {arguments.seed}, medians of "
            f"{arguments.repeats} runs; proofs at random positions of {arguments.entries} entries"
        ),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "load_average_before": before,
            "load_average_after": os.getloadavg()[0],
        },
        "target": {
            "log_alone_entries_per_s": 20_000,
            "log_share_of_ingest_cpu": 0.15,
            "inclusion_proof_ms": 5,
        },
        **measure_speed(raws, arguments.repeats),
        "large_log": large,
    }
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
