"""The durable local queue between an observed program and whoever delivers its records.

`Spool` is the writing side: it appends, and it never raises into the program it observes.
`open_drain` is the reading side, one process at a time. What a record means is not known here.
"""

from lodeline.spool.drain import Drain, SpooledRecord, drop_oldest, iter_pending, open_drain
from lodeline.spool.queue import (
    Loss,
    Spool,
    count_past_records,
    iter_spools_of_this_process,
    measure_loss,
)
from lodeline.spool.segment import spool_directory, written_at_us
from lodeline.spool.state import replace_file

__all__ = [
    "Drain",
    "Loss",
    "Spool",
    "SpooledRecord",
    "count_past_records",
    "drop_oldest",
    "iter_pending",
    "iter_spools_of_this_process",
    "measure_loss",
    "open_drain",
    "replace_file",
    "spool_directory",
    "written_at_us",
]
