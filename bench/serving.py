"""What does recording predictions cost a server?

Workload: an ASGI application on uvicorn answers JSON posts over kept-alive connections, from
another process. Three servers alternate, round by round: the bare application (the floor), the
same appending one JSON line per request to a file by itself (recording by hand), and the same
behind `lodeline.serving`. `trivial` answers a sum; `model` asks a scikit-learn classifier.

The server has one core and the client another, where the machine has two. `trivial` and `model`
are closed loops at saturation: their latencies are mostly of waiting for each other. `steady` is an
open loop below saturation: requests are due at a fixed rate whatever the server does, and each
one's time counts from when it was due, so `added_p99_us` is what a client of a server that is not
overloaded waits longer.

`in_process` calls the application without a server and counts CPU time alone, of the request path
and of the writer thread's work apart, so that it holds on a busy machine, too.

    python bench/serving.py --out bench/results/serving.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

KINDS = ("bare", "by hand", "lodeline")
FEATURES = {f"feature_{i}": i / 7 for i in range(12)}


def serve(workload: str, kind: str, folder: Path) -> None:
    """Run one server; prints its port."""
    import uvicorn

    pin(0)
    app = make_app(workload, kind, folder)
    if kind == "lodeline":
        from lodeline.capture.serving import serving

        app = serving(app, deployment="bench", model="model:bench:m#1", spool=folder / "spool")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    start = server.startup

    async def start_and_tell(sockets: Any = None) -> None:
        await start(sockets)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)

    server.startup = start_and_tell
    server.run()


def make_app(workload: str, kind: str, folder: Path) -> Any:
    """Make the application; the model is trained anew, the same from its seed."""
    predict = sum_of if workload == "trivial" else make_predict(kind)
    line = (folder / "by-hand.ndjson").open("ab", buffering=0) if kind == "by hand" else None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        begun = time.perf_counter_ns()
        body = json.loads((await receive())["body"])
        output = predict(body)
        answer = json.dumps({"output": output}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        if line is not None:
            took = (time.perf_counter_ns() - begun) // 1000
            record = {"time": time.time(), "us": took, "features": body, "output": output}
            line.write(json.dumps(record).encode() + b"\n")

    return app


def sum_of(body: dict[str, float]) -> float:
    """The trivial model."""
    return sum(body.values())


def make_predict(kind: str) -> Any:
    """A gradient-boosted classifier, reporting its calls as the scikit-learn integration does."""
    import pandas as pd
    from sklearn.datasets import make_classification
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = make_classification(n_samples=2_000, n_features=12, random_state=1)
    frame = pd.DataFrame(x, columns=list(FEATURES))
    model = HistGradientBoostingClassifier(max_iter=50, random_state=1).fit(frame, y)
    if kind == "lodeline":
        from lodeline.capture.serving import observe_call, observe_estimators

        observe_estimators()

    def predict(body: dict[str, float]) -> float:
        row = pd.DataFrame([body], columns=list(FEATURES))
        output = model.predict_proba(row)
        if kind == "lodeline":
            observe_call(model, "predict_proba", row, output)
        return float(output[0, 1])

    return predict


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one request and read its answer."""
    body = json.dumps(FEATURES).encode()
    head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in answer.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    await reader.readexactly(length)


async def load_steadily(port: int, rate: int, requests: int, connections: int) -> list[float]:
    """Send requests when they are due; give each one's microseconds from then on."""
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    took: list[float] = []
    waiting: asyncio.Queue[Any] = asyncio.Queue()
    for pair in idle:
        waiting.put_nowait(pair)

    async def one(due: float) -> None:
        pair = await waiting.get()
        await ask(*pair)
        waiting.put_nowait(pair)
        took.append((time.perf_counter() - due) * 1e6)

    begun = time.perf_counter() + 0.05
    asked = set()
    for number in range(requests):
        due = begun + number / rate
        # The timer of the loop is a millisecond coarse: the last of it is waited for awake.
        if (left := due - time.perf_counter()) > 0.002:
            await asyncio.sleep(left - 0.002)
        while time.perf_counter() < due:  # noqa: ASYNC110  # for a moment, not for an event
            await asyncio.sleep(0)
        asked.add(asyncio.create_task(one(due)))
    await asyncio.gather(*asked)
    for _, writer in idle:
        writer.close()
    return took


async def load(port: int, requests: int, connections: int) -> tuple[float, list[float]]:
    """Send requests; give the seconds that all took and each one's microseconds."""
    took: list[float] = []

    async def client(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            begun = time.perf_counter()
            await ask(reader, writer)
            took.append((time.perf_counter() - begun) * 1e6)
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client(requests // connections) for _ in range(connections)))
    return time.perf_counter() - begun, took


@contextlib.contextmanager
def running(workload: str, folder: str) -> Iterator[tuple[dict[str, Any], dict[str, int]]]:
    """Run all servers, on a core of their own; gives processes and ports."""
    servers = {}
    for kind in KINDS:
        command = [sys.executable, __file__, "--serve", kind, "--workload", workload]
        servers[kind] = subprocess.Popen(
            [*command, "--folder", folder],
            stdout=subprocess.PIPE,
            text=True,
            # Threads of the model spin while they wait and would be counted as its CPU.
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        yield servers, {kind: int(server.stdout.readline()) for kind, server in servers.items()}
    finally:
        for server in servers.values():
            server.terminate()
            server.wait()


def pin(core: int) -> None:
    """Keep this process on one core, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core]})


def measure_steadily(rate: int, requests: int, rounds: int, connections: int) -> dict[str, Any]:
    """Alternate the servers of the trivial workload, below saturation."""
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder, running("trivial", folder) as (_, ports):
        for kind in KINDS:
            asyncio.run(load(ports[kind], requests // 4, connections))
        for _ in range(rounds):
            for kind in KINDS:
                took[kind] += asyncio.run(load_steadily(ports[kind], rate, requests, connections))
    answer: dict[str, Any] = {}
    for kind in KINDS:
        ordered = sorted(took[kind])
        answer[kind] = {
            "median_us": round(statistics.median(ordered), 1),
            "p99_us": round(ordered[int(len(ordered) * 0.99)], 1),
        }
        for figure in ("median_us", "p99_us") if kind != KINDS[0] else ():
            added = answer[kind][figure] - answer[KINDS[0]][figure]
            answer[kind][f"added_{figure}"] = round(added, 1)
    return {"requests_per_second": rate, **answer}


def measure(workload: str, requests: int, rounds: int, connections: int) -> dict[str, Any]:
    """Alternate the servers."""
    found: dict[str, Any] = {kind: {"rates": [], "cpu": [], "took": []} for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        with running(workload, folder) as (servers, ports):
            for kind in KINDS:
                asyncio.run(load(ports[kind], requests // 4, connections))
            for _ in range(rounds):
                for kind in KINDS:
                    process = psutil.Process(servers[kind].pid)
                    before = process.cpu_times()
                    seconds, took = asyncio.run(load(ports[kind], requests, connections))
                    time.sleep(0.3)  # The last batch is written down.
                    after = process.cpu_times()
                    spent = after.user + after.system - before.user - before.system
                    found[kind]["rates"].append(len(took) / seconds)
                    found[kind]["cpu"].append(spent / len(took) * 1e6)
                    found[kind]["took"] += took
        spool = Path(folder) / "spool"
        spooled = sum(path.stat().st_size for path in spool.glob("*.segment"))
        recorded = requests // 4 + rounds * requests
    answer = {kind: summarise(found[kind]) for kind in KINDS}
    bare = answer["bare"]
    for kind in KINDS[1:]:
        own = answer[kind]
        own["added_cpu_us"] = round(own["cpu_us_per_request"] - bare["cpu_us_per_request"], 1)
        own["added_median_us"] = round(own["median_us"] - bare["median_us"], 1)
        own["rate_of_bare"] = round(own["requests_per_second"] / bare["requests_per_second"], 3)
    answer["spool_bytes_per_prediction"] = round(spooled / recorded)
    return answer


def measure_in_process(calls: int, rounds: int) -> dict[str, Any]:
    """CPU microseconds a request, by the bare application, the middleware, the writer thread."""
    from lodeline.capture.serving import serving

    body = json.dumps(FEATURES).encode()
    headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"accept", b"*/*")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: Any) -> None:
        return None

    async def ask(app: Any) -> float:
        begun = time.process_time()
        for _ in range(calls):
            await app(scope, receive, send)
        return (time.process_time() - begun) / calls * 1e6

    found: dict[str, list[float]] = {"bare": [], "request_path": [], "writer": []}
    with tempfile.TemporaryDirectory() as folder:
        bare: Any = make_app("trivial", "bare", Path(folder))
        app = serving(bare, deployment="bench", model="model:bench:m#1", spool=folder)
        # The writer's work is done, and measured, by hand below.
        app.log._begin = lambda: None  # noqa: SLF001
        for _ in range(rounds):
            plain = asyncio.run(ask(bare))
            found["bare"].append(plain)
            found["request_path"].append(asyncio.run(ask(app)) - plain)
            begun = time.process_time()
            app.log.flush()
            found["writer"].append((time.process_time() - begun) / calls * 1e6)
    return {
        name: {"median_us": round(statistics.median(took), 1), "max_us": round(max(took), 1)}
        for name, took in found.items()
    }


def summarise(found: dict[str, list[float]]) -> dict[str, float]:
    """Median and 99th percentile over all rounds."""
    took = sorted(found["took"])
    return {
        "requests_per_second": round(statistics.median(found["rates"])),
        "cpu_us_per_request": round(statistics.median(found["cpu"]), 1),
        "median_us": round(statistics.median(took), 1),
        "p99_us": round(took[int(len(took) * 0.99)], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=int, default=1_000, help="of the open loop")
    parser.add_argument("--serve", choices=KINDS)
    parser.add_argument("--workload", choices=["trivial", "model"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.workload, arguments.serve, arguments.folder)
        return
    pin(1)
    result = {
        "question": "What does recording predictions cost a server?",
        "command": f"python bench/serving.py --requests {arguments.requests} "
        f"--rounds {arguments.rounds} --out bench/results/serving.json",
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.system(),
        },
        "requests": arguments.requests,
        "rounds": arguments.rounds,
        "connections": arguments.connections,
        "load_average": os.getloadavg()[0],
        "in_process": measure_in_process(calls=3_000, rounds=9),
        "steady": measure_steadily(
            arguments.rate, arguments.requests, arguments.rounds, arguments.connections
        ),
        "results": {
            "trivial": measure(
                "trivial", arguments.requests, arguments.rounds, arguments.connections
            ),
            "model": measure(
                "model", arguments.requests // 8, arguments.rounds, arguments.connections
            ),
        },
    }
    if os.getloadavg()[0] > (os.cpu_count() or 1):
        result["note"] = (
            "Other work kept the machine busier than it has cores: rates and latencies over "
            "sockets say little here; in_process counts CPU time alone."
        )
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
