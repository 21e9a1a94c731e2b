"""What integrations talk to: the run that is current here, and what it reads, writes and says.

One recorder a process. The current run follows `contextvars`: a nested `lodeline.run` or a job
function in its own context, else the run of the whole process. Nothing here raises: the doors in
`patches` catch and count, and a failed append is counted by the journal.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from lodeline.capture.datasets import (
    FILE,
    Dataset,
    Stat,
    find_dataset,
    find_path_stat,
    find_stat,
    is_there,
    list_datasets,
    local_path,
)
from lodeline.capture.flow import BOUND, Flow
from lodeline.capture.folders import Folders, folder_files_of
from lodeline.capture.journal import Journal, Line
from lodeline.capture.privacy import NOTHING
from lodeline.capture.values import plain
from lodeline.credentials import redact_text, redact_value
from lodeline.limits import REMOVALS_MAX, RUN_FILES_MAX, RUN_GAPS_MAX, STORED_OBJECTS_MAX

Facets = Mapping[str, Mapping[str, Any]]


class RunContext:
    """One run of this process: who it is, where its journal is, what was said about it already.

    Attributes:
        run_id: UUID text.
        namespace: of the job.
        job: name.
    """

    def __init__(self, run_id: str, namespace: str, job: str, journal: Journal) -> None:
        self.run_id = run_id
        self.namespace = namespace
        self.job = job
        self.journal = journal
        self.opened: dict[str, str] = {}
        self.said: set[tuple[object, ...]] = set()
        self.wrote: set[Dataset] = set()
        self.gaps = 0
        self.removed = 0

    def say(self, line: Line) -> bool:
        """Append one line."""
        return self.journal.append(line)

    def say_once(self, line: Line, key: tuple[object, ...]) -> None:
        """Append a line unless one with this key was appended before."""
        if key not in self.said:
            self.said.add(key)
            self.say(line)


class State:
    """How deep inside observed calls a thread is.

    An object of its own: what is looked up once per call is cheaper than three looks into what
    belongs to the thread.
    """

    __slots__ = ("depth",)

    def __init__(self) -> None:
        self.depth = 0


class _Local(threading.local):
    """Per thread: how deep inside observed calls we are, and whether plain files are ignored.

    Attributes:
        state: the depth.
        apart: whether a framework keeps its own books, which are nobody's data.
        stored: how many objects the process had put into stores when the observed call began.
        sql_flow: what the statements of an observed call have read so far; `None` before any.
        incoming: flow of what an observed call is writing by SQL; `None` where that is unknown.
        sql_rows: of an observed call that reads a frame by SQL: what the rows of each of its
            queries were made of (`row_tracking.Source`), `None` where that is unknown.
    """

    suspended = 0
    apart = 0
    stored = 0
    sql_flow: int | None = None
    incoming: int | None = None
    sql_rows: list[Any] | None = None

    def __init__(self) -> None:
        self.state = State()


class Recorder:
    """The recorder of this process.

    Attributes:
        flow: which datasets objects in memory came from.
        local: per-thread state of the patches.
        process_run: the run of the whole process; `None` while only nested runs are recorded.
        rows: row provenance is wanted.
        rows_where: groups are linked to the rows that their values were taken from.
        privacy: which values and columns may be recorded.
        deterministic: seeds are fixed on import.
        connecting: whether the connection that is being made belongs to what is observed.
        stored: how many objects this process has put into stores, such as S3.
    """

    def __init__(self) -> None:
        self.flow = Flow()
        self.local = _Local()
        self.process_run: RunContext | None = None
        self.rows = False
        self.rows_where = False
        self.deterministic = False
        self.privacy = NOTHING
        self.troubles: dict[str, int] = {}
        self._folders = Folders(folder_files_of())
        self.connecting: ContextVar[bool] = ContextVar("lodeline.connecting", default=False)
        self.stored = 0
        # What stores said of objects that were put last, until a frame's writer tells of them.
        self._stored: dict[Dataset, tuple[int, Facets]] = {}
        # Objects that frames were written into, and that are not put yet.
        self._unstored: set[Dataset] = set()
        self._nested: ContextVar[RunContext | None] = ContextVar("lodeline.run", default=None)

    # The current run

    @property
    def run(self) -> RunContext | None:
        """The run that what happens here belongs to; `None` also while a framework keeps books."""
        if self.local.apart:
            return None
        return self._nested.get() or self.process_run

    def enter(self, run: RunContext) -> Callable[[], None]:
        """Make a nested run current in this context; the returned function ends that."""
        token = self._nested.set(run)

        def leave() -> None:
            try:
                self._nested.reset(token)
            except ValueError:
                # Left in another context (a generator finished elsewhere): nothing to restore.
                self._nested.set(None)

        return leave

    # Datasets

    def read(
        self,
        dataset: Dataset,
        *,
        facets: Facets | None = None,
        input_facets: Facets | None = None,
        stat: Stat | None = None,
    ) -> int:
        """Record that the current run read a dataset.

        Args:
            dataset: what was read.
            facets: dataset facets, without `_producer` and `_schemaURL`.
            input_facets: input facets, likewise.
            stat: how the file looked when it was read; looked up now when missing.

        Returns:
            The flow of the data read, for `tag`.
        """
        if self.local.apart:
            return 0
        flow = self.flow.note_read(self._grouped(dataset))
        run = self.run
        if run is not None:
            stat = stat or find_stat(dataset)
            facets = self._shown(dataset, facets)
            input_facets = self._shown(dataset, input_facets)
            line = ("read", now_us(), *dataset, _copy(facets), _copy(input_facets), _or_none(stat))
            run.say_once(line, ("read", dataset, stat, repr(facets), repr(input_facets)))
        return flow

    def _grouped(self, dataset: Dataset) -> Dataset:
        """What stands for a file in flows: itself, or its folder when many files were read there.

        A flow of ten thousand files would be told with each output.
        """
        if dataset.namespace != FILE:
            return dataset
        folder = self._folders.find(dataset)
        if folder is None and not self.flow.knows(dataset):
            whole = self._folders.add(dataset)
            if whole is not None and (run := self.run) is not None:
                run.say(("folder", now_us(), *whole))
            folder = self._folders.find(dataset)
        return dataset if folder is None else folder

    def find_source(self, target: object) -> Dataset | None:
        """Name what a reader was given. What an adapter knows of an open file precedes its name."""
        known = None if isinstance(target, (str, os.PathLike)) else self.flow.find(target)
        if known and not known & BOUND:
            found = self.flow.datasets(known)
            if len(found) == 1:
                return found[0]
        return find_dataset(target)

    def read_all(self, target: object, *, facets: Facets | None = None) -> int:
        """Record that everything which a path, a pattern or a list of them names was read.

        Args:
            target: what the reader was given.
            facets: of a dataset, used when there is only one.

        Returns:
            The flow of the data read; a bound when not everything has a name.
        """
        datasets, complete = list_datasets(target)
        # What was read is there. Else it was no name, but the data themselves, which pandas and
        # polars take in its place: it must not become one.
        there = [dataset for dataset in datasets if is_there(dataset)]
        flow = 0
        for dataset in there:
            flow |= self.read(dataset, facets=facets if len(datasets) == 1 else None)
        if there and not complete:
            self.gap(str(target)[:200], "size", "more files than are named one by one")
        if not complete or len(there) < max(1, len(datasets)):
            flow |= self.flow.unknown()
        return flow

    def write(
        self,
        dataset: Dataset,
        *,
        flow: int | None = None,
        inputs: Iterable[Dataset] | None = None,
        facets: Facets | None = None,
        output_facets: Facets | None = None,
        fields: Mapping[str, Iterable[tuple[Dataset, str]]] | None = None,
        appends: bool = False,
        is_open: bool = False,
        late: bool = False,
        stat: Stat | None = None,
    ) -> None:
        """Record that the current run wrote a dataset.

        Args:
            dataset: what was written.
            flow: what flowed in, as `flow_of` tells; a bound is recorded as such.
            inputs: the same as datasets; with neither, anything read so far may have.
            facets: dataset facets, without `_producer` and `_schemaURL`.
            output_facets: output facets, likewise.
            fields: which input fields each output field was made of.
            appends: earlier contents stayed.
            is_open: the file is not closed yet; it is looked at when the run is told.
            late: where `flow` is a bound, what other processes of the run read until now counts,
                too: they may have handed it to this one.
            stat: how the file looked when it was closed; looked up now when missing.
        """
        run = self.run
        if run is None:
            return
        if flow is None:
            flow = self.flow.unknown() | BOUND if inputs is None else 0
        facets = self._with_version(dataset, facets, is_open=is_open)
        sources = [tuple(source) for source in inputs or ()]
        sources += [tuple(source) for source in self.flow.datasets(flow)]
        run.wrote.add(dataset)
        facets = self._shown(dataset, facets)
        output_facets = self._shown(dataset, output_facets)
        fields = self._shown_fields(dataset, fields)
        run.say(
            (
                "write",
                now_us(),
                *dataset,
                {
                    "inputs": sources,
                    "bound": bool(flow & BOUND),
                    "fields": _fields(fields),
                    "appends": appends,
                    "is_open": is_open,
                    "late": late,
                },
                _copy(facets),
                _copy(output_facets),
                None if is_open else _or_none(stat or find_stat(dataset)),
            )
        )

    def put(
        self,
        dataset: Dataset,
        *,
        version: Facets | None = None,
        flow: int | None = None,
        inputs: Iterable[Dataset] | None = None,
    ) -> None:
        """Record that a store took an object.

        A frame's writer may stand behind it, and know more: what it told of the open object
        stays, and what it tells when it has ended gets the version.

        Args:
            dataset: the object.
            version: its `version` facet, as the store states it.
            flow: what flowed in, where that is known.
            inputs: the same as datasets.
        """
        run = self.run
        if run is None:
            return
        if dataset in self._unstored:
            self._unstored.discard(dataset)
            run.say(("put", now_us(), *dataset, _copy(version)))
            return
        self.write(dataset, flow=flow, inputs=inputs, facets=version)
        self.stored += 1
        if version is not None:
            if len(self._stored) >= STORED_OBJECTS_MAX:
                self._stored.clear()
            self._stored[dataset] = (self.stored, version)

    def put_file(self, dataset: Dataset, source: Dataset) -> None:
        """Record that the object which was put last is a file, and nothing else."""
        self.read(source)
        self.local.stored = 0
        self.write(dataset, inputs=[source])

    def _with_version(
        self, dataset: Dataset, facets: Facets | None, *, is_open: bool
    ) -> Facets | None:
        """Add the version of an object that was put while the call ran which tells of it now."""
        if is_open and dataset.namespace != FILE:
            self._unstored.add(dataset)
        if dataset not in self._stored:
            return facets
        number, version = self._stored.pop(dataset)
        return {**version, **(facets or {})} if number > self.local.stored else facets

    def opened(self, path: str, mode: str) -> None:
        """Record that a plain file was opened.

        Args:
            path: absolute.
            mode: `r` reads, `w` truncates and writes, `a` writes, `u` reads and writes.
        """
        run = self.run
        if run is None:
            return
        before = run.opened.get(path, "")
        if mode in before:
            return
        if len(run.opened) >= RUN_FILES_MAX and not before:
            self.gap(
                "run", "size", f"more than {RUN_FILES_MAX} files opened; the rest is not named"
            )
            return
        # Of a file that is written, too: that it was there before, a removal will ask.
        stat = find_path_stat(path)
        if mode in "ru":
            if stat is None and mode == "r":
                return
            self.flow.note_read(self._grouped(Dataset(FILE, path)))
        run.opened[path] = before + mode
        run.say(("open", now_us(), path, mode, _or_none(stat)))

    def named(self, path: str) -> None:
        """Record that a program which is not observed was given a file's name.

        Whether it read or wrote the file is told by how the file looks in the end.

        Args:
            path: absolute; of a file that need not exist yet.
        """
        run = self.run
        if run is None or len(run.opened) >= RUN_FILES_MAX:
            return
        stat = find_path_stat(path)
        if stat is None and os.path.lexists(path):
            return
        if stat is not None:
            self.flow.note_read(Dataset("file", path))
        run.opened.setdefault(path, "")
        run.say_once(("named", now_us(), path, _or_none(stat)), ("named", path, stat))

    def moved(self, source: str, target: str, *, copied: bool = False) -> None:
        """Record that a file got another name, or a copy. Paths are absolute."""
        run = self.run
        if run is None:
            return
        run.opened.pop(target, None)
        if not copied:
            run.opened.pop(source, None)
            run.said = {key for key in run.said if key[:1] != ("read",)}
        if copied:
            run.say(("copy", now_us(), source, target))
            return
        stat = find_path_stat(source)
        there = None if stat is None else tuple(stat._replace(path=target))
        run.say(("rename", now_us(), source, target, there))

    def removed(self, dataset: Dataset, changed_us: int | None = None) -> None:
        """Record that a dataset was removed.

        Args:
            dataset: a file or an object.
            changed_us: when the file was last changed, which tells whether it was there before.
        """
        run = self.run
        if run is None or run.removed > REMOVALS_MAX * 10:
            return
        run.removed += 1
        if dataset.namespace == FILE:
            run.opened.pop(dataset.name, None)
        run.say(("remove", now_us(), *dataset, changed_us))

    def renamed(self, source: Dataset, target: Dataset) -> None:
        """Record that an object which was copied and then removed has another name by that."""
        run = self.run
        if run is not None:
            run.say(("move", now_us(), *source, *target))

    # What a run says about itself

    def gap(self, at: str, reason: str, detail: str) -> None:
        """Record what could not be observed."""
        run = self.run
        if run is None or run.gaps >= RUN_GAPS_MAX:
            return
        at, detail = redact_text(at), self.privacy.conceal_words(redact_text(detail))
        if ("gap", at, reason, detail) in run.said:
            return
        run.gaps += 1
        run.say_once(("gap", now_us(), at, reason, detail), ("gap", at, reason, detail))

    def param(self, name: str, value: object) -> None:
        """Record a parameter."""
        self._note("param", name, value)

    def metric(self, name: str, value: object) -> None:
        """Record a metric."""
        self._note("metric", name, value)

    def seed(self, name: str, value: object) -> None:
        """Record the seed of a source of randomness."""
        self._note("seed", name, value)

    def sql(self, text: str, dialect: str) -> None:
        """Record the text of a statement that ran, its literals masked."""
        run = self.run
        if run is not None:
            run.say_once(("sql", now_us(), text, dialect), ("sql", text))

    def note_sql_read(self, flow: int) -> None:
        """Remember what a statement read, for the call that it is part of."""
        self.local.sql_flow = (self.local.sql_flow or 0) | flow

    def features(self, dataset: Dataset, columns: Mapping[str, str]) -> None:
        """Record that columns of a dataset reached a fit: each is a feature.

        Args:
            dataset: the only source of the table that was fitted.
            columns: name -> type.
        """
        run = self.run
        if run is not None:
            owner = f"{dataset.namespace}:{dataset.name}"
            pairs = {
                name: kind
                for name, kind in columns.items()
                if not self.privacy.is_hidden(owner, name)
            }
            run.say_once(
                ("features", now_us(), *dataset, pairs), ("features", dataset, repr(pairs))
            )

    def _note(self, kind: str, name: str, value: object) -> None:
        run = self.run
        if run is not None:
            value = self.privacy.parameter(str(name), redact_value(str(name), plain(value)))
            run.say_once((kind, now_us(), str(name), value), (kind, name, repr(value)))

    def _shown(self, dataset: Dataset, facets: Facets | None) -> Facets | None:
        """Facets without the columns that may not be named; that some are missing is a gap."""
        if facets is None or not self.privacy.rules:
            return facets
        owner = f"{dataset.namespace}:{dataset.name}"
        shown: Facets = self.privacy.conceal_facets(owner, facets)
        if self.privacy.hides and shown != facets:
            self.gap(dataset.name, "capture", "the names of some columns are withheld")
        return shown

    def _shown_fields(
        self, dataset: Dataset, fields: Mapping[str, Iterable[tuple[Dataset, str]]] | None
    ) -> Mapping[str, Iterable[tuple[Dataset, str]]] | None:
        if fields is None or not self.privacy.hides:
            return fields

        def shown(one: tuple[Dataset, str]) -> bool:
            return not self.privacy.is_hidden(f"{one[0].namespace}:{one[0].name}", one[1])

        return {
            name: [one for one in sources if shown(one)]
            for name, sources in fields.items()
            if shown((dataset, name))
        }

    def trouble(self, where: str, error: BaseException) -> None:
        """Count a fault of our own, and report it once as a gap. Never raises."""
        try:
            count = self.troubles[where] = self.troubles.get(where, 0) + 1
            if count == 1:
                self.gap(where, "capture", f"{type(error).__name__}: {error}"[:500])
        except Exception:  # the last door: there is nothing left to tell it to
            self.troubles[where] = self.troubles.get(where, 0) + 1

    # Objects in memory

    def tag(self, thing: object, flow: int) -> None:
        """Remember which datasets an object came from."""
        self.flow.tag(thing, flow)

    def flow_of(self, *things: object, data: bool = False) -> int:
        """The union of the flows of objects."""
        flow = 0
        for thing in things:
            flow |= self.flow.of(thing, data=data)
        return flow


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


def _or_none(stat: Stat | None) -> tuple[object, ...] | None:
    return None if stat is None else tuple(stat)


def _copy(facets: Facets | None) -> dict[str, Any] | None:
    return None if facets is None else {name: dict(facet) for name, facet in facets.items()}


def _fields(
    fields: Mapping[str, Iterable[tuple[Dataset, str]]] | None,
) -> dict[str, list[tuple[str, str, str]]] | None:
    if fields is None:
        return None
    return {
        name: [(source.namespace, source.name, field) for source, field in sources]
        for name, sources in fields.items()
    }


RECORDER: Final = Recorder()

__all__ = ["RECORDER", "Dataset", "Recorder", "RunContext", "local_path", "now_us"]
