"""Does memory stay flat under steady load?

Workload: a service over SQLite takes single events at a fixed rate from 8 connections, of 500 jobs
that run again and again, while a reader asks `trace`, `search` and `stats` twice a second. The
resident memory of the service is read every ten seconds from `/proc`; what counts is how much it
grows after the first fifth of the time, when caches have filled.

    python bench/soak.py --minutes 30 --rate 100 --out bench/results/soak.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from http_ingest import lodeline
from ingest import make_event

JOBS = 500
CONNECTIONS = 8


def resident_kb(process_id: int) -> int:
    """Read the resident memory of a process."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


def find_service(store: Path) -> int:
    """Find the service's process by the store that it serves."""
    found = subprocess.check_output(["pgrep", "-f", f"lodeline serve.*{store}"], text=True)
    return int(found.split()[0])


class Soak:
    """The load of one run."""

    def __init__(self, url: str, rate: float, seconds: float) -> None:
        self._port = int(url.rsplit(":", 1)[1])
        self._url = url
        self._rate = rate
        self._seconds = seconds
        self._chance = random.Random(1)
        self._number = 0
        self.took: list[float] = []
        self.questions: list[float] = []
        self.refused = 0

    def _body(self) -> bytes:
        self._number += 1
        event = make_event(self._number, self._number // 2, self._chance.randrange(JOBS))
        event["run"]["runId"] = str(uuid.uuid4())
        return json.dumps(event).encode()

    async def _send(self, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        next_at = time.monotonic()
        while time.monotonic() < until:
            next_at += CONNECTIONS / self._rate
            body = self._body()
            begun = time.perf_counter()
            head = (
                f"POST /api/v1/lineage HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            lengths = [
                int(line.split(b":")[1])
                for line in answer.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            ]
            await reader.readexactly(lengths[0] if lengths else 0)
            self.took.append(time.perf_counter() - begun)
            self.refused += answer.split(None, 2)[1] != b"201"
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        writer.close()

    async def _ask(self, until: float) -> None:
        while time.monotonic() < until:
            job = self._chance.randrange(JOBS)
            for path in (
                f"trace?id=dataset:warehouse:target_{job}&both=true",
                f"search?q=target_{job}",
                "stats",
            ):
                begun = time.perf_counter()
                await asyncio.to_thread(self._get, f"{self._url}/api/v2/{path}")
                self.questions.append(time.perf_counter() - begun)
            await asyncio.sleep(1.5)

    @staticmethod
    def _get(url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                response.read()
        except urllib.error.HTTPError as error:
            # A job that has not run yet is not known yet.
            if error.code != 404:
                raise

    async def run(self, process_id: int) -> list[tuple[float, int]]:
        """Run the load; gives resident memory by second."""
        begun = time.monotonic()
        until = begun + self._seconds
        tasks = [asyncio.create_task(self._send(until)) for _ in range(CONNECTIONS)]
        tasks.append(asyncio.create_task(self._ask(until)))
        seen = []
        while time.monotonic() < until:
            await asyncio.sleep(10)
            seen.append((round(time.monotonic() - begun), resident_kb(process_id)))
            print(*seen[-1], len(self.took), flush=True)
        await asyncio.gather(*tasks)
        return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=100, help="events a second")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "l.db"
        with lodeline(Path(name), f"sqlite:///{store}") as url:
            soak = Soak(url, arguments.rate, arguments.minutes * 60)
            seen = asyncio.run(soak.run(find_service(store)))
        size = sum(file.stat().st_size for file in Path(name).rglob("*") if file.is_file())
    settled = [kb for second, kb in seen if second >= arguments.minutes * 12]
    slope = statistics.linear_regression(
        [second / 60 for second, _ in seen[-len(settled) :]], settled
    ).slope
    soak.took.sort()
    results: dict[str, Any] = {
        "events": len(soak.took),
        "refused": soak.refused,
        "resident_mb": {
            "after a fifth of the time": round(settled[0] / 1024, 1),
            "at the end": round(settled[-1] / 1024, 1),
            "most": round(max(settled) / 1024, 1),
            "growth a minute": round(slope / 1024, 3),
        },
        "ingest_ms": {
            "median": round(statistics.median(soak.took) * 1000, 2),
            "p99": round(soak.took[int(len(soak.took) * 0.99)] * 1000, 2),
        },
        "question_ms_median": round(statistics.median(soak.questions) * 1000, 2),
        "bytes_an_event_on_disk": round(size / len(soak.took)),
    }
    report = {
        "question": "Does the service's memory stay flat under steady load?",
        "command": f"python bench/soak.py --minutes {arguments.minutes:g} --rate "
        f"{arguments.rate:g} --out bench/results/soak.json",
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "minutes": arguments.minutes,
        "events_a_second_asked": arguments.rate,
        "results": results,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
