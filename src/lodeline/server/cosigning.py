"""Background cosigning: each witness of the policy is asked once a checkpoint, beside the service.

A thread a witness, with a segment of its own: a witness that is slow or gone delays neither
ingestion nor another witness. What it did not answer is asked again, after a pause that doubles.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from lodeline.errors import LodelineError, NoError
from lodeline.limits import WITNESS_PAUSE_SECONDS, WITNESS_PAUSE_SECONDS_MAX
from lodeline.proof import WitnessPolicy
from lodeline.store import open_segment
from lodeline.store.cosigning import request_cosignature
from lodeline.tlog.witnesses import WitnessClient


class Cosigning:
    """Threads that have new checkpoints cosigned, from `start` to `stop`.

    Args:
        store: URL of the store.
        policy: whose witnesses are asked, as far as they have an address.
        report: told what goes wrong, once for each new reason.
    """

    def __init__(self, store: str, policy: WitnessPolicy, report: Callable[[str], None]) -> None:
        self._store = store
        self._report = report
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._work,
                args=(WitnessClient(url, policy.witnesses[name]),),
                name=f"lodeline-witness-{name}",
                daemon=True,
            )
            for name, url in policy.urls.items()
        ]

    def start(self) -> None:
        """Begin asking."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Ask no more; one request may still be under way, and what it answers is kept or lost."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(seconds)

    def _work(self, witness: WitnessClient) -> None:
        said, pause, done = "", WITNESS_PAUSE_SECONDS, 0
        while not self._stopping.wait(pause):
            try:
                with open_segment(self._store, create=False) as segment:
                    size = segment.last_checkpoint().size
                    if size <= done:
                        continue
                    # A refusal is an answer: nothing changes before the next checkpoint.
                    done = size
                    done = request_cosignature(segment, witness).size
                said, pause = "", WITNESS_PAUSE_SECONDS
            except LodelineError as error:
                if str(error) != said:
                    said = str(error)
                    self._report(said)
                if not isinstance(error, NoError):
                    done = 0
                    pause = min(2 * pause, WITNESS_PAUSE_SECONDS_MAX)
