"""Progress of long work, on a terminal's stderr; silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Told of what is done, of the total, and of what to say beside it.
Progress = Callable[[int, int, str], None]


@contextmanager
def counting(title: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show how far some work has come; give the function that is told of it.

    Args:
        title: stands before the bar.
        quiet: show nothing; so it is, too, where stderr is no terminal.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total, _text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bars:
        task = bars.add_task(title, total=None, text="")
        yield lambda done, total, text: bars.update(
            task, completed=done, total=total or None, text=text
        )
