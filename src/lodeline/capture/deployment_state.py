"""What operators decided of a deployment, and how a serving process learns of it.

`lodeline deployment` puts each decision into the record, as a `lodeline_deploymentState` facet. A
serving process never asks the record while a request waits: a thread looks, every
`DEPLOYMENT_POLL_SECONDS`, at a file beside the store and, where a server is set, asks the server
and keeps its answer in that file. A request reads one attribute.

Without an answer the last known decision stands, also over a restart; where there never was one,
the deployment is active, or, failing closed, refuses.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from lodeline.limits import (
    DEPLOYMENT_ANSWER_SECONDS,
    DEPLOYMENT_POLL_SECONDS,
    DEPLOYMENT_STALE_SECONDS,
    DEPLOYMENT_STATE_BYTES_MAX,
)
from lodeline.model import NodeId
from lodeline.settings import bearer_header, find_setting

FACET: Final = "lodeline_deploymentState"
_LIVE: Final[weakref.WeakSet[StateWatch]] = weakref.WeakSet()
Name = tuple[str, str]
Verdict = Literal["serve", "refuse", "fallback"]


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A decision; see `LodelineDeploymentStateDatasetFacet`.

    Attributes:
        state: `active`, `killed` or `constrained`.
        reason: as the operator gave it.
        since: event time of the decision; empty where it is not told.
        fraction: of the requests that are answered.
        header: lower case; `None` where any request may be answered.
        values: of the header.
        fallback: JSON bytes for the others; `None` to refuse them.
        model: the version that may answer; `None` for any.
        is_plain: whether every request is answered, by whatever model is there.
    """

    state: str = "active"
    reason: str = ""
    since: str = ""
    fraction: float = 1.0
    header: bytes | None = None
    values: frozenset[bytes] = frozenset()
    fallback: bytes | None = None
    model: NodeId | None = None
    is_plain: bool = field(init=False)

    def __post_init__(self) -> None:
        # Every request asks.
        object.__setattr__(self, "is_plain", self.state == "active" and self.model is None)

    def judge(self, headers: Iterable[tuple[bytes, bytes]]) -> Verdict:
        """Say what becomes of a request, the model aside."""
        if self.state == "active":
            return "serve"
        if self.state == "killed":
            return "refuse"
        allowed = self.header is None or any(
            name == self.header and value in self.values for name, value in headers
        )
        if allowed and (self.fraction >= 1 or random.random() < self.fraction):  # noqa: S311
            return "serve"
        return "refuse" if self.fallback is None else "fallback"


ACTIVE: Final = DeploymentState()


def read_state(facet: Mapping[str, Any], since: str = "") -> DeploymentState:
    """Read a facet.

    Raises:
        ValueError: it is none.
    """
    state = facet.get("state")
    if state not in {"active", "killed", "constrained"}:
        raise ValueError(f"no such state: {state!r}")
    bound = facet.get("constraint") or {}
    model = facet.get("model")
    if not isinstance(bound, Mapping) or not isinstance(model, Mapping | None):
        raise ValueError("constraint and model are objects")  # noqa: TRY004  # foreign bytes
    fraction, header = bound.get("fraction"), bound.get("header")
    fallback = json.dumps(bound.get("fallback")).encode() if bound.get("hasFallback") else None
    return DeploymentState(
        state,
        str(facet.get("reason") or ""),
        str(facet.get("since") or since),
        1.0 if fraction is None else float(fraction),
        None if header is None else str(header).lower().encode("latin-1"),
        frozenset(str(value).encode("latin-1") for value in bound.get("values") or ()),
        fallback,
        None
        if model is None
        else NodeId(
            "model",
            str(model["namespace"]),
            str(model["name"]),
            "",
            str(model.get("version") or ""),
        ),
    )


def state_file(spool: Path, deployment: Name) -> Path:
    """Say where a deployment's state lies: in `<store>.deployments`, beside the spool.

    Args:
        spool: directory of the spool.
        deployment: its namespace and name.
    """
    namespace, name = (quote(part, safe="") for part in deployment)
    # Long names are cut; two that are cut alike are told apart by what the file says.
    return spool.with_name(f"{spool.name.removesuffix('.spool')}.deployments") / (
        f"{namespace[:100]}:{name[:100]}.json"
    )


def write_state_file(path: Path, deployment: Name, facet: Mapping[str, Any]) -> None:
    """Replace a deployment's state; readers see the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {"namespace": deployment[0], "name": deployment[1], **facet}
    # Several processes may serve one deployment, each writing what the server told it.
    new = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    new.write_bytes(json.dumps(body).encode())
    new.rename(path)


class StateWatch:
    """Keeps the state of one deployment in memory, by a thread of its own.

    Args:
        find_name: namespace and name, as known now.
        spool: directory of the spool, beside which the file lies.
        server: URL to ask; by default the setting `url`; empty for none.
        fail_closed: refuse where nothing is known.

    Attributes:
        state: as known now.
    """

    def __init__(
        self,
        find_name: Callable[[], Name],
        spool: Path,
        *,
        server: str | None = None,
        fail_closed: bool = False,
    ) -> None:
        self._find_name = find_name
        self._spool = spool
        self._server = find_setting("url") if server is None else server
        self._fail_closed = fail_closed
        self._seen: tuple[str, int, int] | None = None
        self._confirmed = float("-inf")
        self.state = ACTIVE
        self._start()
        _LIVE.add(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_blind(self) -> bool:
        """Whether to refuse, since nothing is known for sure."""
        if not self._fail_closed or not self._server:
            return False
        return time.monotonic() - self._confirmed > DEPLOYMENT_STALE_SECONDS

    @property
    def is_watching(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    @property
    def is_open(self) -> bool:
        """Whether it is known that every request is answered: what most requests ask alone."""
        return self._thread is not None and self.state.is_plain and not self._fail_closed

    def begin(self) -> None:
        """Read what lies on disk, and start to watch; does nothing the second time."""
        with self._lock:
            if self._thread is not None:
                return
            with contextlib.suppress(Exception):
                self._look_at_file()
            thread = threading.Thread(target=self._run, name="lodeline-deployment", daemon=True)
            self._thread = thread
            thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()

    def _run(self) -> None:
        stopping = self._stopping
        while True:
            # Capture's outermost door in this thread: a fault leaves the last known state.
            with contextlib.suppress(Exception):
                self._ask_server()
            with contextlib.suppress(Exception):
                self._look_at_file()
            if stopping.wait(DEPLOYMENT_POLL_SECONDS):
                return

    def _look_at_file(self) -> None:
        name = self._find_name()
        path = state_file(self._spool, name)
        try:
            stat = path.stat()
        except FileNotFoundError:
            # Gone is not resumed: what was decided stands until something else is.
            return
        seen = (str(path), stat.st_mtime_ns, stat.st_ino)
        if seen == self._seen or stat.st_size > DEPLOYMENT_STATE_BYTES_MAX:
            return
        body = json.loads(path.read_bytes())
        if (body.get("namespace"), body.get("name")) == name:
            self.state = read_state(body)
            self._seen = seen

    def _ask_server(self) -> None:
        if not self._server:
            return
        name = self._find_name()
        facet = ask_state(self._server, name, seconds=DEPLOYMENT_ANSWER_SECONDS)
        self._confirmed = time.monotonic()
        path = state_file(self._spool, name)
        if facet is not None:
            body = {"namespace": name[0], "name": name[1], **facet}
            with contextlib.suppress(OSError, ValueError):
                if json.loads(path.read_bytes()) == body:
                    return
            self.state = read_state(facet)
            write_state_file(path, name, facet)


def ask_state(server: str, name: Name, *, seconds: float) -> dict[str, Any] | None:
    """Ask a server for the facet of a deployment; `None` where nothing was ever decided.

    Raises:
        OSError: it does not answer.
        ValueError: what it answers is no answer.
    """
    # Only here: it costs more to load than all of capture.
    import urllib.error
    import urllib.request

    node = str(NodeId("deployment", *name))
    url = f"{server.rstrip('/')}/api/v2/show?{urlencode({'id': node})}"
    request = urllib.request.Request(url)  # noqa: S310  # the operator's own setting
    for header, value in bearer_header().items():
        request.add_unredirected_header(header, value)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310
            answer = json.loads(response.read(4 * DEPLOYMENT_STATE_BYTES_MAX))
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise
    facet = answer["facets"].get(FACET)
    return facet if isinstance(facet, dict) else None


def _restart_all() -> None:
    # A fork has no threads but its own; its first request starts one.
    for watch in list(_LIVE):
        watch._start()  # noqa: SLF001  # the module's own hook


os.register_at_fork(after_in_child=_restart_all)
