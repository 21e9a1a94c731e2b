"""The two moments of delivery: a command opens a store, and a program asks to be flushed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lodeline.limits import DRAIN_SECONDS, FOLLOW_SECONDS, FOLLOW_SECONDS_MAX, SPOOL_DAYS
from lodeline.settings import find_setting, number_setting, receiver_url
from lodeline.settings import store_url as default_store_url
from lodeline.spool import (
    count_past_records,
    drop_oldest,
    iter_pending,
    iter_spools_of_this_process,
    spool_directory,
)
from lodeline.transport.deliverer import Report, deliver
from lodeline.transport.transports import Transport, open_transport


def drain_into(
    store_url: str,
    seconds: float | None = DRAIN_SECONDS,
    *,
    directory: Path | None = None,
    opener: Callable[[], Transport] | None = None,
    logical_seconds: float | None = None,
) -> Report:
    """Deliver the spool of a store into it.

    Whoever opens the store calls this first. With nothing spooled it costs a look at a directory.

    Args:
        store_url: of the store, as `sqlite:///path`; or of a server, then with `directory`.
        seconds: bound; `None` for a `flush` that is to finish.
        directory: of the spool; by default the one beside the store.
        opener: opens what takes the records; by default the transport of the URL.
        logical_seconds: bound on what goes into logical digests; `None` for none.

    Returns:
        What was done. When it is not `complete`, an answer carries a gap of reason `pending`.
    """
    spool = spool_directory(store_url) if directory is None else directory
    if not spool.is_dir():
        return Report()
    if directory is None and opener is None:
        elsewhere = find_setting("deliver")
        if elsewhere is not None and elsewhere != store_url:
            # Whoever opens the store must not take what is meant for another receiver.
            pending = sum(size for _, size in iter_pending(spool))
            return Report(pending_bytes=pending, reason="delivered elsewhere (LODELINE_DELIVER)")
    return deliver(
        spool,
        opener or (lambda: open_transport(store_url)),
        seconds=seconds,
        logical_seconds=logical_seconds,
    )


def flush(timeout: float | None = 5.0, *, store: str | None = None) -> dict[str, int]:
    """Make durable what this process has captured, then deliver it.

    Args:
        timeout: seconds for the delivery; what is not delivered then stays in the spool.
        store: URL of the receiver; by default the one of the settings.

    Returns:
        `durable`: records of this process forced to disk; `delivered`: how many of all spooled
        records were delivered now; `lost`: records of this process that could not be kept.
    """
    url = receiver_url(store)
    own = spool_directory(default_store_url()) if store is None else _spool_of(store)
    spools = [s for s in iter_spools_of_this_process() if own is None or s.directory == own]
    directories = {spool.directory for spool in spools} | ({own} if own is not None else set())
    durable = sum(spool.flush() for spool in spools)
    lost = sum(spool.loss.records for spool in spools)
    delivered = 0
    for directory in sorted(directories):
        past_durable, past_lost = count_past_records(directory)
        durable, lost = durable + past_durable, lost + past_lost
        if directory.is_dir() and next(iter_pending(directory), None) is not None:
            delivered += drain_into(url, timeout, directory=directory).delivered
    return {"durable": durable, "delivered": delivered, "lost": lost}


def follow(
    receiver: str,
    directory: Path,
    *,
    should_stop: Callable[[], bool],
    wait: Callable[[float], object],
) -> Iterator[Report]:
    """Deliver what a spool holds and what comes, until told to stop: the background deliverer.

    While the receiver is away the pauses grow, each a random part shorter, so that many
    deliverers do not come back at one moment. What waited longer than the setting `spool_days`
    allows is dropped then, oldest first, and counted.

    Args:
        receiver: URL.
        directory: of the spool.
        should_stop: asked after each delivery.
        wait: pauses for so many seconds, or less.

    Yields:
        Each delivery that did something, or that failed.
    """
    import random  # whoever delivers once waits for nothing

    pause = FOLLOW_SECONDS
    while True:
        busy = directory.is_dir() and next(iter_pending(directory), None) is not None
        report = drain_into(receiver, None, directory=directory) if busy else Report()
        if report.reason and not report.busy:
            drop_aged(directory)
            pause = min(pause * 2, FOLLOW_SECONDS_MAX)
        else:
            pause = FOLLOW_SECONDS
        if busy:
            yield report
        if should_stop():
            return
        wait(pause * (1 - random.random() / 2))  # noqa: S311  # a pause is no secret


def drop_aged(directory: Path) -> int:
    """Drop what waited longer than `spool_days`; gives the bytes freed."""
    days = number_setting("spool_days", otherwise=SPOOL_DAYS)
    return drop_oldest(directory, written_before=time.time() - days * 86_400)


def _spool_of(store: str) -> Path | None:
    return spool_directory(store) if store.startswith(("sqlite", "postgres")) else None
