"""The two moments of delivery: a command opens a store, and a program asks to be flushed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lodeline.limits import DRAIN_SECONDS
from lodeline.settings import store_url as default_store_url
from lodeline.spool import (
    count_past_records,
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
) -> Report:
    """Deliver the spool of a store into it.

    Whoever opens the store calls this first. With nothing spooled it costs a look at a directory.

    Args:
        store_url: of the store, as `sqlite:///path`; or of a server, then with `directory`.
        seconds: bound; `None` for a `flush` that is to finish.
        directory: of the spool; by default the one beside the store.
        opener: opens what takes the records; by default the transport of the URL.

    Returns:
        What was done. When it is not `complete`, an answer carries a gap of reason `pending`.
    """
    spool = spool_directory(store_url) if directory is None else directory
    if not spool.is_dir():
        return Report()
    return deliver(spool, opener or (lambda: open_transport(store_url)), seconds=seconds)


def flush(timeout: float | None = 5.0, *, store: str | None = None) -> dict[str, int]:
    """Make durable what this process has captured, then deliver it.

    Args:
        timeout: seconds for the delivery; what is not delivered then stays in the spool.
        store: URL of the store or server; by default the one of the settings.

    Returns:
        `durable`: records of this process forced to disk; `delivered`: how many of all spooled
        records were delivered now; `lost`: records of this process that could not be kept.
    """
    url = default_store_url(store)
    own = spool_directory(url) if not url.startswith("http") else None
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
