"""The same programs with capture and without, while something goes wrong: no difference is seen."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from lodeline.capture.adapters import BUILT_IN, UNOBSERVED
from lodeline.cli.spool_state import look_at_spool
from lodeline.ingest.examination import Findings
from observing import Observed, environment, python, read_events, run_observed, run_plain

PROGRAMS = {
    "fork in the middle of writing": (
        "import os\n"
        "out = open('out.txt', 'w')\n"
        "out.write('before '); out.flush()\n"
        "children = []\n"
        "for n in range(8):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        open(f'child-{n}.txt', 'w').write(open('in.csv').read()); os._exit(n)\n"
        "    children.append(pid)\n"
        "print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])\n"
        "out.write('after'); out.close(); print(open('out.txt').read())\n"
    ),
    "threads that fork": (
        "import os, threading\n"
        "def work(n):\n"
        "    open(f'{n}.txt', 'w').write('x')\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        open(f'{n}.child', 'w').write('x'); os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(sorted(os.listdir('.')) == sorted(os.listdir('.')))\n"
    ),
    "os._exit": "import os; open('x.txt', 'w').write(open('in.csv').read()); os._exit(9)",
    "recursion": (
        "def deep(n):\n"
        "    try:\n        return deep(n + 1)\n"
        "    except RecursionError:\n        return open('in.csv').read()\n"
        "print(deep(0)[:3])\n"
    ),
    "recursion in an operation": (
        "import pandas as pd\n"
        "table = pd.read_csv('in.csv')\n"
        "def deep(n): return table.assign(c=lambda t: deep(n + 1))\n"
        "try: deep(0)\nexcept RecursionError as error: print(type(error).__name__)\n"
    ),
    "closing every descriptor": (
        "import os\nos.closerange(3, 256)\n"
        "print(open('in.csv').read(), os.open('in.csv', os.O_RDONLY))\n"
    ),
    "becoming a daemon": (
        "import os, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "os.closerange(0, 64); open('daemon.txt', 'w').write(open('in.csv').read())\n"
    ),
    "no memory": (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))\n"
        "try: bytearray(1 << 30)\nexcept MemoryError: print('no memory')\n"
        "print(open('in.csv').read())\n"
    ),
    "no descriptors": (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n"
        "kept = []\n"
        "try:\n    while True: kept.append(open('in.csv'))\n"
        "except OSError as error: print(error.errno, len(kept))\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    return tmp_path


def same(plain: Observed, seen: Observed) -> None:
    expected = plain.status if plain.status >= 0 else 128 - plain.status
    assert (seen.status, seen.stdout) == (expected, plain.stdout)
    assert cut_own(seen.stderr) == plain.stderr


def cut_own(text: str) -> str:
    """What the runner says of itself is on stderr, each line under its name."""
    return "".join(line for line in text.splitlines(True) if not line.startswith("lodeline: "))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_in_trouble_has_its_own_results(folder: Path, name: str) -> None:
    (folder / "script.py").write_text(PROGRAMS[name])
    same(
        run_plain(folder, sys.executable, "script.py"),
        run_observed(folder, sys.executable, "script.py"),
    )


def test_children_forked_in_mid_write_are_all_on_the_record(folder: Path) -> None:
    seen = python(folder, PROGRAMS["fork in the middle of writing"])
    assert seen.names("outputs") == {"out.txt", *(f"child-{n}.txt" for n in range(8))}
    assert {event["run"]["runId"] for event in seen.events} == {seen.events[0]["run"]["runId"]}


def test_frameworks_of_the_future_that_are_nothing_like_today_are_gaps_and_nothing_else(
    folder: Path,
) -> None:
    """Each is a stand-in of another shape: a version out of range, and none of what is patched."""
    names = sorted(name for name in BUILT_IN if name not in sys.stdlib_module_names)
    assert len(names) > 20
    for name in (*names, *UNOBSERVED):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("__version__ = '9999.1'\n")
    (folder / "script.py").write_text(
        f"import importlib\nfor name in {[*names, *UNOBSERVED]}:\n"
        "    print(name, importlib.import_module(name).__version__)\n"
        "print(open('in.csv').read())\n"
    )
    plain = run_plain(folder, sys.executable, "script.py")
    assert plain.stdout.count("9999.1") == len(names) + len(UNOBSERVED)
    seen = run_observed(folder, sys.executable, "script.py")
    same(plain, seen)
    assert "in.csv" in seen.names("inputs")
    told = {gap["at"] for gap in seen.gaps if "9999.1 is outside the tested range" in gap["detail"]}
    assert told == set(names)
    unseen = {gap["at"] for gap in seen.gaps if "reads and writes by itself" in gap["detail"]}
    assert unseen == set(UNOBSERVED)


FAULTS = """
from lodeline.capture.patches import Patches
from lodeline.capture.process import ADAPTERS

class Broken:
    name, supports = 'broken', ''
    def install(self, recorder):
        import csv
        patches = Patches('broken')
        faults = iter([ValueError('one'), RecursionError('two'), MemoryError('three')])
        def fail(result, args, kwargs):
            raise next(faults)
        patches.after(csv, 'reader', fail)
        patches.after(csv, 'writer', lambda *_: [].pop())
        return patches.undo

ADAPTERS.add('csv', '__main__:Broken')
"""


def test_exceptions_in_an_adapter_at_each_call_never_reach_the_program(folder: Path) -> None:
    text = (
        "import csv, io\n"
        "for _ in range(3): print(list(csv.reader(['a,b'])))\n"
        "out = io.StringIO(); csv.writer(out).writerow([1]); print(out.getvalue())\n"
        "csv.reader(3)\n"
    )
    (folder / "script.py").write_text(text)
    plain = run_plain(folder, sys.executable, "script.py")
    seen = python(folder, FAULTS + text)
    assert (seen.status, seen.stdout) == (plain.status, plain.stdout)
    assert (plain.status, seen.stderr.splitlines()[-1]) == (1, plain.stderr.splitlines()[-1])
    # The first of a place is told, the others are counted.
    told = {gap["at"]: gap["detail"] for gap in seen.gaps}
    assert told["broken.reader"] == "ValueError: one"
    assert told["broken.writer"] == "IndexError: pop from empty list"


def refusing(connection: socket.socket) -> None:
    connection.close()


def silent(connection: socket.socket) -> None:
    connection.settimeout(60)
    try:
        while connection.recv(65536):
            pass
    except OSError:
        return


def garbage(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"\x00\xffHTTP? no\r\n\r\n" * 10)
    connection.close()


def lies(connection: socket.socket) -> None:
    connection.recv(65536)
    body = b'{"failed_events": [{"index": 10000, "reason": 3}]}'
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()


def answering(head: bytes, body: bytes = b"") -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
        connection.close()

    return answer


def dripping(connection: socket.socket) -> None:
    """An answer that never ends, though each byte comes in time."""
    connection.recv(65536)
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(240):
            connection.sendall(b" ")
            time.sleep(1)


def endless(connection: socket.socket) -> None:
    connection.recv(65536)
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            connection.sendall(bytes(1 << 20))


@contextmanager
def server(behaviour: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens, and is no Lodeline."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=behaviour, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


# Of each, a word of what is told of it.
MISBEHAVING: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "refusing": (refusing, ""),
    "silent": (silent, "timed out"),
    "garbage": (garbage, "no HTTP"),
    "lies": (lies, "unintelligible answer about event 10000"),
    "dripping": (dripping, "no answer came to its end in 15 seconds"),
    "endless": (endless, "bytes or more"),
    "a web page": (
        answering(b"200 OK\r\nContent-Type: text/html", b"<html>Welcome</html>"),
        "answers as no receiver of events does: text/html",
    ),
    "elsewhere": (answering(b"302 Found\r\nLocation: http://127.0.0.1:9/"), "302"),
    "tomorrow": (answering(b"503 Busy\r\nRetry-After: 86400", b'{"message": "busy"}'), "busy"),
    "no TLS": (garbage, "SSL"),
}


@pytest.mark.slow
def test_a_server_that_misbehaves_costs_nothing_but_time_and_everything_waits(
    folder: Path,
) -> None:
    """All of them at once: nearly all of their time is waiting."""
    (folder / "script.py").write_text("print(open('in.csv').read()); raise SystemExit(3)")
    plain = run_plain(folder, sys.executable, "script.py")
    with ExitStack() as servers:
        running = {}
        for name, (behaviour, _) in MISBEHAVING.items():
            url = servers.enter_context(server(behaviour))
            url = url.replace("http:", "https:") if name == "no TLS" else url
            running[name] = _started(folder, folder / name, url)
        ended = {name: program.communicate(timeout=240) for name, program in running.items()}
    for name, (stdout, stderr) in ended.items():
        same(plain, Observed(running[name].returncode, stdout, stderr))
        assert "recorded, delivered later" in stderr, name
        assert MISBEHAVING[name][1] in stderr, (name, stderr)
        kinds = [event["eventType"] for event in read_events(folder / name)]
        assert (kinds[0], kinds[-1]) == ("START", "FAIL"), name
        _doctor_says_that_all_waits(folder / name)


def _started(folder: Path, place: Path, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lodeline", "run", "--to", url, "--", sys.executable, "script.py"],
        cwd=folder,
        env=environment(LODELINE_STORE=f"sqlite:///{place}/store/lodeline.db"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _doctor_says_that_all_waits(place: Path) -> None:
    findings = Findings()
    look_at_spool(f"sqlite:///{place}/store/lodeline.db", findings)
    spool = findings.facts["spool"]
    assert isinstance(spool, dict)
    assert spool["pending_bytes"] > 0
    assert (spool["lost_records"], spool["torn"], spool["refused"]) == (0, 0, 0)
    assert [problem["next"] for problem in findings.problems] == ["lodeline flush"]


def test_a_spool_that_cannot_be_written_leaves_the_program_alone(folder: Path) -> None:
    (folder / "script.py").write_text("print(open('in.csv').read())")
    plain = run_plain(folder, sys.executable, "script.py")
    (folder / "store" / "lodeline.db.spool").mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder / "store")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        seen = run_observed_without_store(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder / "store")], check=False)
    same(plain, seen)
    assert "capture is off" in seen.stderr


def run_observed_without_store(folder: Path) -> Observed:
    store = f"sqlite:///{folder}/store/lodeline.db"
    words = [sys.executable, "-m", "lodeline", "run", "--store", store, "--"]
    done = subprocess.run(
        [*words, sys.executable, "script.py"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Observed(done.returncode, done.stdout, done.stderr)


MANY = (
    "import os, resource\n"
    "os.mkdir('many')\n"
    "for n in range({count}):\n"
    "    with open(f'many/{{n % {files}}}', 'a') as file: file.write('x')\n"
    "print(len(os.listdir('many')))\n"
    "open('peak', 'w').write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))\n"
)


@pytest.mark.slow
def test_fifty_thousand_opens_are_bounded_and_the_bound_is_told(folder: Path) -> None:
    (folder / "script.py").write_text(MANY.format(count=50_000, files=25_000))
    plain = run_plain(folder, sys.executable, "script.py")
    before = int((folder / "peak").read_text())
    subprocess.run(["rm", "-r", "many", "peak"], cwd=folder, check=True)
    store = f"sqlite:///{folder}/store/lodeline.db"
    words = [
        sys.executable,
        "-m",
        "lodeline",
        "run",
        "--store",
        store,
        "--to",
        "http://127.0.0.1:9",
    ]
    done = subprocess.run(
        [*words, "--", sys.executable, "script.py"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    same(plain, Observed(done.returncode, done.stdout, done.stderr))
    # Kilobytes: the names of 20,000 files, and what capture itself loads.
    assert int((folder / "peak").read_text()) - before < 32_000
    gaps = [
        gap
        for event in read_events(folder)
        for gap in event["run"]["facets"].get("lodeline_capture", {}).get("gaps", [])
    ]
    assert any(gap["reason"] == "size" and "20000 files" in gap["detail"] for gap in gaps)


def test_a_file_of_ten_gigabytes_is_skipped_by_policy_and_the_answer_says_so(
    folder: Path,
) -> None:
    text = "with open('big.bin', 'wb') as file: file.truncate(10 << 30)\nprint('done')\n"
    seen = python(folder, text, LODELINE_DIGEST_BYTES="1e9")
    assert (seen.status, seen.stdout) == (0, "done\n")
    facet = seen.output("big.bin")["facets"]["lodeline_digest"]
    assert (facet["value"], facet["bytes"]) == (None, 10 << 30)
    told = [gap["detail"] for event in seen.events for gap in gaps_of(event)]
    assert any("larger than the 1000000000 bytes of digest_bytes" in detail for detail in told)
    os.remove(folder / "big.bin")


HASHING = """
import os, resource, sys
from lodeline.transport.digests import FileState, Hasher
states = []
for name in sys.argv[1:]:
    look = os.stat(name)
    states.append(FileState(name, look.st_ino, look.st_mtime_ns, look.st_size))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(*(found.value for found in Hasher().digest_all(states)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_digest_of_a_large_file_is_streamed_in_little_memory(folder: Path) -> None:
    """300 MB, twice at a time, stand for 10 GB: what is held does not grow with the file."""
    expected = hashlib.sha256()
    for _ in range(300):
        expected.update(bytes(1 << 20))
    for name in ("one.bin", "two.bin"):
        with (folder / name).open("wb") as file:
            file.truncate(300 << 20)
    words = [sys.executable, "-c", HASHING, str(folder / "one.bin"), str(folder / "two.bin")]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
    *digests, grown = done.stdout.split()
    assert digests == [expected.hexdigest()] * 2
    assert int(grown) < 32_000  # Kilobytes.


def gaps_of(event: dict[str, object]) -> list[dict[str, str]]:
    return (
        json.loads(json.dumps(event))["run"]["facets"].get("lodeline_capture", {}).get("gaps", [])
    )
