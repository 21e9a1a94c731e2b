"""Journals to OpenLineage events: what a run's processes noted becomes what the run tells.

A `RunDraft` folds the lines of all journals of one run (its process and its workers) and gives
RunEvents. It decides what the process could not know when it wrote a line:

- A file opened for writing that is gone in the end was scratch. What flowed through it flows on
  to what was made of it.
- A file written before it was read is the run's own product, not an input.
- For a file whose contents came by unknown ways, anything read before the file's last change may
  have flowed in, and nothing read after.
- A file or object that was removed had been there before the run, or was scratch.

It leaves out what it can't know either: digests, which the deliverer computes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Any, Final

from lodeline.capture.datasets import FILE, MEMORY, Dataset, Stat, find_path_stat, stem
from lodeline.capture.folders import Folders, Whole
from lodeline.capture.journal import Line
from lodeline.capture.lifecycles import Removals, previous_name, renamed_from
from lodeline.capture.privacy import current
from lodeline.limits import (
    ASSERTIONS_MAX,
    EVENT_DATASETS_MAX,
    FOLDER_FILES,
    MANIFEST_FILES_MAX,
    RUN_SQL_MAX,
    SAMPLINGS_MAX,
)
from lodeline.model.times import format_time
from lodeline.records import fresh, record
from lodeline.wire.facets.addresses import PRODUCER, schema_url_of

SCHEMA_URL: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"

# A clock tick of the kernel: a file's times are as coarse as this.
_TICK_US: Final = 10_000


def stamp(scope: str, name: str, facet: dict[str, Any]) -> dict[str, Any]:
    """Add `_producer` and `_schemaURL` to a facet, unless it has them."""
    url = schema_url_of(scope, name) or SCHEMA_URL
    return {"_producer": PRODUCER, "_schemaURL": url, **facet}


Files = dict[str, Stat | None]


@record
class Input:
    """A dataset that the run read, as first read.

    Attributes:
        files: of a folder of many, in the order in which they were read.
    """

    time_us: int
    own: bool
    facets: dict[str, Any] = fresh(default_factory=dict)
    input_facets: dict[str, Any] = fresh(default_factory=dict)
    stat: Stat | None = None
    files: Files | None = None


@record
class Output:
    """A dataset that the run wrote, as last written.

    Attributes:
        inputs: what flowed in.
        bound: `inputs` is only an upper bound, or nothing is known.
        plain: known from its opening only.
        is_open: was not closed when it was told of.
        late: what any process of the run read until then may have flowed in.
        files: of a folder of many.
    """

    time_us: int
    inputs: set[Dataset] = fresh(default_factory=set)
    bound: bool = False
    plain: bool = True
    is_open: bool = False
    late: bool = False
    facets: dict[str, Any] = fresh(default_factory=dict)
    output_facets: dict[str, Any] = fresh(default_factory=dict)
    fields: dict[str, list[tuple[str, str, str]]] | None = None
    stat: Stat | None = None
    files: Files | None = None


# Where `tempfile` puts files, and folders under names of its own.
_SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # compared, not written to


def _is_scratch(dataset: Dataset) -> bool:
    """Whether a file stands where files live that are gone when a program has ended."""
    if dataset.namespace == MEMORY:
        return True
    if dataset.namespace != FILE:
        return False
    folder, _, _ = dataset.name.rpartition("/")
    return folder in _SCRATCH or any(dataset.name.startswith(f"{at}/tmp") for at in _SCRATCH)  # noqa: S108


FindStat = Callable[[str], Stat | None]


class RunDraft:
    """One run, as far as its journals tell.

    Args:
        header: the first line's facts of the run's main journal.
        find_stat: looks at a file now.
        folder_files: so many files of one kind in one folder stay single; 0 for any number.

    Attributes:
        failed: name of an uncaught exception, when there was one.
        changed: something came since the last event, or did not fit in it.
    """

    def __init__(
        self,
        header: dict[str, Any],
        started_us: int,
        *,
        find_stat: FindStat = find_path_stat,
        folder_files: int = FOLDER_FILES,
    ) -> None:
        self.header = header
        self.started_us = started_us
        self.failed = ""
        self.ended_us = 0
        self.changed = False
        self.inputs: dict[Dataset, Input] = {}
        self.outputs: dict[Dataset, Output] = {}
        self.notes: dict[str, dict[str, Any]] = {"param": {}, "metric": {}, "seed": {}}
        self.gaps: list[dict[str, str]] = []
        self.statements: list[str] = []
        self.dialect = ""
        self._find_stat = find_stat
        # Which folders of files that were read, and of files that were written, are one dataset.
        self._read_folders, self._written_folders = Folders(folder_files), Folders(folder_files)
        self._told: dict[tuple[str, Dataset], str] = {}
        # Files that programs which are not observed were given, as they were then.
        self._named: dict[str, tuple[int, Stat]] = {}
        self._removals = Removals(started_us)
        self._acts: dict[str, Callable[..., None]] = {
            "read": self._read,
            "write": self._write,
            "open": self._open,
            "named": self._note_named,
            "folder": self._folder,
            "put": self._put,
            "rename": self._rename,
            "copy": self._copy,
            "remove": self._remove,
            "move": self._move,
            "features": self._features,
            "sql": self._sql,
            "gap": self._gap,
            "failed": self._failed,
            "end": self._end,
        }

    @property
    def run_id(self) -> str:
        """UUID text."""
        return str(self.header["run_id"])

    # Folding lines

    def apply(self, line: Line) -> None:
        """Fold one line; an unknown or malformed one is told as a gap."""
        kind, time_us, *rest = line
        if kind in self.notes:
            self.notes[kind][rest[0]] = rest[1]
            self.changed = True
            return
        act = self._acts.get(kind)
        if act is None:
            return
        try:
            act(time_us, *rest)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            self.add_gap("journal", "capture", f"a damaged line of kind {kind}: {error}")
        self.changed = True

    def _read(
        self,
        time_us: int,
        namespace: str,
        name: str,
        facets: dict[str, Any] | None,
        input_facets: dict[str, Any] | None,
        stat: tuple[str, int, int, int] | None,
    ) -> None:
        dataset = Dataset(namespace, name)
        entry = self._add_input(dataset, time_us, _stat(stat))
        if entry.files is not None:
            facets = _common(entry.facets, facets)
        entry.facets.update(facets or {})
        self._add_sampling(dataset, entry, input_facets or {})
        _add_assertions(entry, input_facets or {})
        entry.input_facets.update(input_facets or {})

    def _add_sampling(self, dataset: Dataset, entry: Input, input_facets: dict[str, Any]) -> None:
        """Rows may be drawn more than once: a later drawing is told beside the first."""
        first = entry.input_facets.get("lodeline_sampling")
        if first is None or "lodeline_sampling" not in input_facets:
            return
        later = input_facets.pop("lodeline_sampling")
        further = first.setdefault("further", [])
        if later in further or later == {k: v for k, v in first.items() if k != "further"}:
            return
        if len(further) < SAMPLINGS_MAX:
            further.append(later)
        else:
            told = f"rows were drawn more than {SAMPLINGS_MAX} times; the rest is not told"
            self.add_gap(f"dataset:{dataset.namespace}:{dataset.name}", "size", told)

    def _write(
        self,
        time_us: int,
        namespace: str,
        name: str,
        flow: dict[str, Any],
        facets: dict[str, Any] | None,
        output_facets: dict[str, Any] | None,
        stat: tuple[str, int, int, int] | None,
    ) -> None:
        dataset = Dataset(namespace, name)
        before = self.outputs.get(dataset)
        entry = Output(time_us, self._homes(map(Dataset._make, flow["inputs"])), plain=False)
        entry.bound = bool(flow["bound"])
        entry.is_open = bool(flow.get("is_open"))
        entry.late = bool(flow.get("late"))
        entry.fields = flow.get("fields")
        # One open file may take several frames; its opening says nothing of what flowed in.
        also = entry.is_open and before is not None and not before.plain
        if before is not None and (also or flow.get("appends")):
            entry.inputs |= before.inputs
            entry.bound = entry.bound or before.bound
        entry.facets = dict(facets or {})
        entry.output_facets = dict(output_facets or {})
        entry.stat = _stat(stat)
        self._add_output(dataset, entry)

    def _put(self, time_us: int, namespace: str, name: str, facets: dict[str, Any] | None) -> None:
        """An object that a frame was written into is in its store now."""
        self._removals.forget(Dataset(namespace, name))
        entry = self.outputs.setdefault(Dataset(namespace, name), Output(time_us, bound=True))
        entry.time_us = time_us
        entry.facets.update(facets or {})

    def _open(
        self, time_us: int, path: str, mode: str, stat: tuple[str, int, int, int] | None
    ) -> None:
        dataset = Dataset(FILE, path)
        if mode in "ru" and stat is not None:
            self._add_input(dataset, time_us, _stat(stat))
        if mode == "r":
            return
        before = self.outputs.get(dataset)
        if before is None and stat is not None:
            self._removals.note_old(dataset)
        if before is None or mode == "w":
            self._add_output(dataset, Output(time_us, bound=True))
        else:
            before.bound = True

    def _note_named(self, time_us: int, path: str, stat: tuple[str, int, int, int] | None) -> None:
        dataset = Dataset(FILE, path)
        if stat is None:
            # Made by that program, if it is there in the end.
            self.outputs.setdefault(dataset, Output(time_us, bound=True))
            return
        self._named[path] = (time_us, Stat(*stat))
        self._add_input(dataset, time_us, _stat(stat))

    def _resolve_named(self) -> None:
        """Count among the outputs what is no longer as it was when a program was given it."""
        for path, (time_us, stat) in self._named.items():
            now = self._find_stat(path)
            if now is not None and now != stat:
                self.outputs.setdefault(Dataset(FILE, path), Output(time_us, bound=True))

    def _rename(
        self,
        time_us: int,
        source: str,
        target: str,
        stat: tuple[str, int, int, int] | None = None,
    ) -> None:
        old, new = Dataset(FILE, source), Dataset(FILE, target)
        self._rename_model(old, new)
        written = self._take_output(old)
        if written is not None:
            if written.stat is not None:
                written.stat = written.stat._replace(path=target)
            if written.files is not None:
                written.files = _moved(written.files, source, target)
            home = self._add_output(new, written)
            for other in self.outputs.values():
                if old in other.inputs:
                    other.inputs = other.inputs - {old} | {home}
            if old in self.inputs:
                self.inputs[new] = self.inputs.pop(old)
            return
        inside = [one for one in self.outputs if one.name.startswith(f"{source}/")]
        for one in inside if stat is None else ():
            # A folder that this run filled.
            if one.namespace == FILE:
                self._rename(time_us, one.name, target + one.name.removeprefix(source))
        if stat is None and inside:
            return
        # Not written here: an existing file got another name, under which its bytes lie now.
        self.inputs.setdefault(old, Input(time_us, own=False, stat=_stat(stat)))
        self._removals.forget(new)
        facets = renamed_from(old)
        self.outputs[new] = Output(time_us, {old}, plain=False, facets=facets, stat=_stat(stat))

    def _remove(self, time_us: int, namespace: str, name: str, changed_us: int | None) -> None:
        dataset = Dataset(namespace, name)
        entry = self.inputs.get(dataset)
        was_read = entry is not None and not entry.own
        output = self.outputs.get(dataset)
        previous = None if output is None else previous_name(output.facets)
        if previous is not None:
            # It was renamed by this run, and so was there before under that name.
            self._removals.note_gone(dataset)
            dataset, was_read = Dataset(*previous), True
        told = self._removals.add(
            dataset, time_us, changed_us, is_own=self._is_output(dataset), was_read=was_read
        )
        if told:
            self.add_gap("run", "size", told)

    def _move(self, time_us: int, *names: str) -> None:
        """An object that was copied, and then removed, has another name."""
        old, new = Dataset(names[0], names[1]), Dataset(names[2], names[3])
        target = self.outputs.get(new)
        if target is None or old in self.outputs:
            return
        self.inputs.setdefault(old, Input(time_us, own=False))
        self._removals.forget(old)
        target.facets |= renamed_from(old)

    def _rename_model(self, old: Dataset, new: Dataset) -> None:
        """A model whose file got another name is named by that: checkpoints are often renamed."""
        for dataset, output in list(self.outputs.items()):
            facet = output.facets.get("lodeline_model", {})
            if facet.get("artifact") != {"namespace": old.namespace, "name": old.name}:
                continue
            facet["artifact"] = {"namespace": new.namespace, "name": new.name}
            if output.stat is not None:
                output.stat = output.stat._replace(path=new.name)
            if dataset.name == stem(old):
                self.outputs[dataset._replace(name=stem(new))] = self.outputs.pop(dataset)

    def _copy(self, time_us: int, source: str, target: str) -> None:
        sources = self._homes([Dataset(FILE, source)])
        self._add_output(Dataset(FILE, target), Output(time_us, sources, plain=False))

    # Folders of many files

    def _home(self, dataset: Dataset) -> Dataset:
        """What a file is told as: itself, or the folder that stands for it."""
        found = self._written_folders.find(dataset)
        if found is not None and self._is_output(dataset):
            return found
        return self._read_folders.find(dataset) or dataset

    def _homes(self, datasets: Iterable[Dataset]) -> set[Dataset]:
        return {self._home(dataset) for dataset in datasets}

    def _is_output(self, dataset: Dataset) -> bool:
        if dataset in self.outputs:
            return True
        folder = self._written_folders.find(dataset)
        output = None if folder is None else self.outputs.get(folder)
        return output is not None and dataset.name in (output.files or ())

    def _add_input(self, dataset: Dataset, time_us: int, stat: Stat | None) -> Input:
        """The entry of what was read, which may be a folder's."""
        entry = self.inputs.get(dataset)
        if entry is not None:
            return entry
        own = self._is_output(dataset)
        folder = (self._written_folders if own else self._read_folders).find(dataset)
        if folder is not None:
            entry = self.inputs.setdefault(folder, Input(time_us, own, files={}))
            if entry.files is None:
                entry.files = {}
            self._list(folder, entry.files, dataset, stat)
            return entry
        entry = self.inputs[dataset] = Input(time_us, own, stat=stat)
        whole = None if own else self._read_folders.add(dataset)
        if whole is None:
            return entry
        self._gather(Dataset(FILE, whole.folder))
        return self.inputs[Dataset(FILE, whole.folder)]

    def _folder(self, time_us: int, folder: str, ending: str) -> None:
        """In one of the processes, a folder became one dataset."""
        del time_us
        self._read_folders.mark(Whole(folder, ending))
        self._gather(Dataset(FILE, folder))

    def _gather(self, folder: Dataset) -> None:
        """Have a folder's entry take the place of its files', and of its folders'."""
        gathered = {
            one: self.inputs.pop(one)
            for one, other in list(self.inputs.items())
            if not other.own and self._read_folders.find(one) == folder
        }
        if not gathered:
            return
        first = min(one.time_us for one in gathered.values())
        entry = self.inputs.setdefault(folder, Input(first, own=False, files={}))
        if entry.files is None:
            # The folder itself was read, too, as one dataset.
            entry.files = {}
        for one, other in gathered.items():
            if other.files is None:
                self._list(folder, entry.files, one, other.stat)
            for path, stat in (other.files or {}).items():
                self._list(folder, entry.files, Dataset(FILE, path), stat)
            entry.input_facets.update(other.input_facets)
        entry.facets = _common(*(other.facets for other in gathered.values()))
        self._rename_sources(gathered.keys(), folder)

    def _rename_sources(self, gone: AbstractSet[Dataset], home: Dataset) -> None:
        for output in self.outputs.values():
            if not output.inputs.isdisjoint(gone):
                output.inputs = output.inputs - gone | {home}

    def _add_output(self, dataset: Dataset, output: Output) -> Dataset:
        """Add what was written; gives what it is told as, which may be its folder."""
        self._removals.forget(dataset)
        folder = self._written_folders.find(dataset)
        if folder is not None and folder in self.outputs:
            self._merge(folder, dataset, output)
            return folder
        known = dataset in self.outputs
        self.outputs[dataset] = output
        whole = None if known else self._written_folders.add(dataset)
        if whole is None or "lodeline_model" in output.facets:
            return dataset
        folder = Dataset(FILE, whole.folder)
        gathered = {
            one: self.outputs.pop(one)
            for one in list(self.outputs)
            if self._written_folders.find(one) == folder
        }
        first = next(iter(gathered.values()))
        whole_output = Output(first.time_us, plain=False, files={}, facets=first.facets)
        self.outputs.setdefault(folder, whole_output)
        for one, other in gathered.items():
            self._merge(folder, one, other)
            if one in self.inputs:
                self.inputs.setdefault(folder, Input(other.time_us, own=True, files={}))
                del self.inputs[one]
        self._rename_sources(gathered.keys(), folder)
        return folder

    def _merge(self, folder: Dataset, dataset: Dataset, output: Output) -> None:
        whole = self.outputs[folder]
        if whole.files is None:
            whole.files = {}
        if output.files is None:
            self._list(folder, whole.files, dataset, output.stat)
        for path, stat in (output.files or {}).items():
            self._list(folder, whole.files, Dataset(FILE, path), stat)
        whole.time_us = max(whole.time_us, output.time_us)
        whole.inputs |= output.inputs
        whole.bound = whole.bound or output.bound
        whole.late = whole.late or output.late or output.plain
        whole.facets = _common(whole.facets, output.facets)

    def _list(self, folder: Dataset, files: Files, dataset: Dataset, stat: Stat | None) -> None:
        if len(files) < MANIFEST_FILES_MAX or dataset.name in files:
            files[dataset.name] = stat or files.get(dataset.name)
        else:
            told = f"more than {MANIFEST_FILES_MAX} files; the rest is not named"
            self.add_gap(f"dataset:{folder.namespace}:{folder.name}", "size", told)

    def _take_output(self, dataset: Dataset) -> Output | None:
        """Take out what was written under a name that is no longer its."""
        self._written_folders.remove(dataset)
        written = self.outputs.pop(dataset, None)
        folder = self._written_folders.find(dataset)
        if written is None and folder is not None and folder in self.outputs:
            whole = self.outputs[folder]
            if whole.files is not None and dataset.name in whole.files:
                stat = whole.files.pop(dataset.name)
                return Output(whole.time_us, set(whole.inputs), bound=whole.bound, stat=stat)
        return written

    def _may_grow(self, dataset: Dataset) -> bool:
        """Whether a file may be told as a part of its folder, once the run has ended."""
        entry: Input | Output | None = self.inputs.get(dataset) or self.outputs.get(dataset)
        if entry is not None and entry.files is not None:
            return True
        return self._read_folders.may_become_whole(
            dataset
        ) or self._written_folders.may_become_whole(dataset)

    def _features(self, time_us: int, namespace: str, name: str, columns: dict[str, str]) -> None:
        entry = self.inputs.setdefault(Dataset(namespace, name), Input(time_us, own=False))
        known = entry.facets.setdefault(
            "lodeline_features", {"view": name, "entityKeys": [], "features": []}
        )
        names = {feature["name"] for feature in known["features"]}
        for column, kind in columns.items():
            if column not in names:
                known["features"].append(_plain_feature(namespace, name, column, kind))

    def _sql(self, time_us: int, text: str, dialect: str) -> None:
        del time_us
        if sum(map(len, self.statements)) + len(text) <= RUN_SQL_MAX:
            self.statements.append(text.strip().rstrip(";"))
            self.dialect = dialect

    def _gap(self, time_us: int, at: str, reason: str, detail: str) -> None:
        del time_us
        self.add_gap(at, reason, detail)

    def add_gap(self, at: str, reason: str, detail: str) -> None:
        """Add what could not be observed."""
        gap = {"at": at, "reason": reason, "detail": detail}
        if gap not in self.gaps:
            self.gaps.append(gap)
            self.changed = True

    def _failed(self, time_us: int, error: str) -> None:
        del time_us
        self.failed = error

    def _end(self, time_us: int, failed: str = "") -> None:
        self.ended_us = time_us
        self.failed = failed or self.failed

    # Giving events

    def event(
        self,
        event_type: str,
        time_us: int,
        *,
        run_facets: dict[str, dict[str, Any]],
        job_facets: dict[str, dict[str, Any]] | None = None,
        whole: bool = False,
    ) -> dict[str, Any]:
        """Make one RunEvent.

        Args:
            event_type: START, RUNNING, COMPLETE, FAIL or ABORT.
            time_us: event time.
            run_facets: facets to add to what the journals tell.
            job_facets: job facets.
            whole: repeat what earlier events told, as long as it is bounded.
        """
        progress = event_type in {"START", "RUNNING"}
        inputs, outputs = self._resolve(progress=progress)
        if progress:
            # What is told cannot be taken back, and scratch files are gone in the end.
            inputs = {one: body for one, body in inputs.items() if self._may_tell(one)}
            outputs = {one: body for one, body in outputs.items() if self._may_tell(one)}
        repeat = whole and len(inputs) + len(outputs) <= EVENT_DATASETS_MAX
        told_inputs, left = self._untold("input", inputs, EVENT_DATASETS_MAX, repeat=repeat)
        told_outputs, left = self._untold("output", outputs, left, repeat=repeat)
        self.changed = left <= 0
        return {
            "eventType": event_type,
            "eventTime": format_time(time_us),
            "producer": PRODUCER,
            "schemaURL": SCHEMA_URL,
            "run": {
                "runId": self.run_id,
                "facets": _stamped("run", {**self._run_facets(), **run_facets}),
            },
            "job": {
                "namespace": self.header["namespace"],
                "name": self.header["job"],
                "facets": _stamped("job", {**(job_facets or {}), **self._sql_facet()}),
            },
            "inputs": told_inputs,
            "outputs": told_outputs,
        }

    def _may_tell(self, dataset: Dataset) -> bool:
        return not _is_scratch(dataset) and not self._may_grow(dataset)

    def is_long(self) -> bool:
        """Whether one event may not hold all datasets."""
        return len(self.inputs) + len(self.outputs) > EVENT_DATASETS_MAX

    def _resolve(
        self, *, progress: bool
    ) -> tuple[dict[Dataset, dict[str, Any]], dict[Dataset, dict[str, Any]]]:
        self._resolve_named()
        vanished = {
            dataset: output
            for dataset, output in self.outputs.items()
            if dataset.namespace == MEMORY
            or self._removals.is_gone(dataset)
            or (
                dataset.namespace == FILE
                and "lodeline_model" not in output.facets
                and not (progress and output.files is not None)
                and not self._exists(dataset, output)
            )
        }
        for output in self.outputs.values():
            self._settle(output)
        outputs: dict[Dataset, dict[str, Any]] = {}
        needed: set[Dataset] = set()
        for dataset, output in self.outputs.items():
            if dataset in vanished:
                continue
            sources, bound = self._through(output, vanished, {dataset})
            if not bound:
                needed |= sources
            outputs[dataset] = self._output(
                dataset, output, sources, bound=bound, progress=progress
            )
        if not progress:
            # What is told cannot be taken back, and a file may come again.
            outputs |= self._dropped(outputs.keys())
        inputs = {
            dataset: self._input(dataset, entry)
            for dataset, entry in self.inputs.items()
            if not entry.own and dataset not in vanished and dataset.namespace != MEMORY
        }
        for dataset in sorted(needed - inputs.keys()):
            if dataset not in self.outputs and dataset.namespace != MEMORY:
                inputs[dataset] = {"namespace": dataset.namespace, "name": dataset.name}
        return inputs, outputs

    def _dropped(self, outputs: AbstractSet[Dataset]) -> dict[Dataset, dict[str, Any]]:
        """What was there before the run, and is not any more."""
        gone = (
            one
            for one in self._removals.iter_dropped()
            if one not in outputs and (one.namespace != FILE or self._find_stat(one.name) is None)
        )
        facet = {"lifecycleStateChange": {"lifecycleStateChange": "DROP"}}
        return {
            one: {
                "namespace": one.namespace,
                "name": one.name,
                "facets": _stamped("dataset", facet),
                "outputFacets": {},
            }
            for one in gone
        }

    def _exists(self, dataset: Dataset, output: Output) -> bool:
        import os

        if output.files is not None:
            # Whoever wrote a file a piece at a time told of it before it was whole.
            found = {path: self._find_stat(path) for path in output.files}
            output.files = {path: stat for path, stat in found.items() if stat is not None}
            return bool(output.files)
        if output.plain or output.is_open:
            output.stat = self._find_stat(dataset.name)
            return output.stat is not None
        return os.path.exists(dataset.name)  # any kind of entry

    def _settle(self, output: Output) -> None:
        """A plain output may hold what was read before its last change."""
        if not (output.plain or output.late) or not output.bound:
            return
        stats = [output.stat, *(output.files or {}).values()]
        changed_us = max((one.mtime_ns // 1000 for one in stats if one), default=output.time_us)
        latest = max(changed_us, output.time_us) + _TICK_US
        output.inputs |= {
            dataset for dataset, entry in self.inputs.items() if entry.time_us <= latest
        }

    def _through(
        self, output: Output, vanished: dict[Dataset, Output], seen: set[Dataset]
    ) -> tuple[set[Dataset], bool]:
        """What flowed in, with scratch files replaced by what flowed into them."""
        sources: set[Dataset] = set()
        bound = output.bound
        for source in output.inputs:
            if source in vanished and source not in seen:
                seen.add(source)
                further, further_bound = self._through(vanished[source], vanished, seen)
                sources |= further
                bound = bound or further_bound
            elif source not in vanished:
                sources.add(source)
        return sources, bound

    def _input(self, dataset: Dataset, entry: Input) -> dict[str, Any]:
        facets, input_facets = dict(entry.facets), entry.input_facets
        _add_pending(dataset, facets, entry.stat)
        if entry.files is not None:
            _add_manifest(dataset, facets, entry.files)
            input_facets = {"lodeline_sampling": _order_of(entry.files), **input_facets}
        return {
            "namespace": dataset.namespace,
            "name": dataset.name,
            "facets": _stamped("dataset", facets),
            "inputFacets": _stamped("input", input_facets),
        }

    def _output(
        self,
        dataset: Dataset,
        output: Output,
        sources: set[Dataset],
        *,
        bound: bool,
        progress: bool,
    ) -> dict[str, Any]:
        facets = dict(output.facets)
        previous = previous_name(facets)
        if previous is not None and (progress or Dataset(*previous) in self.outputs):
            # Its name was given to another file since: a copy, by its effect.
            del facets["lifecycleStateChange"]
        _add_pending(dataset, facets, output.stat)
        if output.files is not None:
            _add_manifest(dataset, facets, output.files)
        output_facets = dict(output.output_facets)
        # Nothing says that a file was made of itself unless that was seen.
        sources = sources - {dataset} if bound else sources
        observed = [self._source(source, output) for source in sorted(sources)]
        output_facets["lodeline_observed"] = {"inputs": observed}
        if bound:
            output_facets["lodeline_observed"]["bound"] = True
        return {
            "namespace": dataset.namespace,
            "name": dataset.name,
            "facets": _stamped("dataset", facets),
            "outputFacets": _stamped("output", output_facets),
        }

    def _source(self, source: Dataset, output: Output) -> dict[str, Any]:
        told: dict[str, Any] = {"namespace": source.namespace, "name": source.name}
        fields = {
            name: [
                {"field": field}
                for namespace, holder, field in sources
                if self._home(Dataset(namespace, holder)) == source
            ]
            for name, sources in (output.fields or {}).items()
        }
        fields = {name: members for name, members in fields.items() if members}
        return {**told, "fields": fields} if fields else told

    def _untold(
        self, side: str, datasets: dict[Dataset, dict[str, Any]], left: int, *, repeat: bool
    ) -> tuple[list[dict[str, Any]], int]:
        """Those not told yet in this form, at most `left` of them; and how many more may be."""
        told = []
        for dataset, body in datasets.items():
            if left <= 0:
                break
            text = json.dumps(body, sort_keys=True)
            if self._told.get((side, dataset)) == text and not repeat:
                continue
            self._told[side, dataset] = text
            told.append(body)
            left -= 1
        return told, left

    def _sql_facet(self) -> dict[str, dict[str, Any]]:
        if not self.statements:
            return {}
        return {"sql": {"query": ";\n".join(self.statements), "dialect": self.dialect}}

    def _run_facets(self) -> dict[str, dict[str, Any]]:
        facets: dict[str, dict[str, Any]] = {}
        parent = self.header.get("parent")
        if parent:
            facets["parent"] = {
                "run": {"runId": parent[2]},
                "job": {"namespace": parent[0], "name": parent[1]},
            }
        if any(self.notes.values()):
            facets["lodeline_parameters"] = {
                "parameters": self.notes["param"],
                "metrics": self.notes["metric"],
                "seeds": self.notes["seed"],
            }
        return facets


def _add_assertions(entry: Input, input_facets: dict[str, Any]) -> None:
    """A table may be checked more than once: the last outcome of each check counts."""
    before = entry.input_facets.get("dataQualityAssertions")
    if before is None or "dataQualityAssertions" not in input_facets:
        return
    later = input_facets.pop("dataQualityAssertions")["assertions"]
    kept = {
        tuple(str(one.get(key)) for key in ("assertion", "column", "expected")): one
        for one in [*before["assertions"], *later]
    }
    before["assertions"] = list(kept.values())[:ASSERTIONS_MAX]


def _plain_feature(namespace: str, name: str, column: str, kind: str) -> dict[str, str]:
    """A feature that is a column as it stands."""
    definition = json.dumps(
        {"column": column, "dataset": {"name": name, "namespace": namespace}},
        sort_keys=True,
        ensure_ascii=False,
        separators=(",", ":"),
    )
    digest = hashlib.sha256(definition.encode()).hexdigest()
    return {"name": column, "definition": definition, "digest": f"sha256:{digest}", "type": kind}


def _add_pending(dataset: Dataset, facets: dict[str, Any], stat: Stat | None) -> None:
    if stat is None:
        return
    pending: dict[str, Any] = dict(stat.to_json())
    if current().hides_of(f"{dataset.namespace}:{dataset.name}"):
        pending["columnsWithheld"] = True
    for name in ("lodeline_model", "lodeline_digest"):
        if name in facets:
            facets[name] = {"pending": pending, **facets[name]}
            return
    facets["lodeline_digest"] = {
        "algorithm": "sha256",
        "value": None,
        "bytes": stat.size,
        "pending": pending,
        "source": "bytes",
    }


def _add_manifest(dataset: Dataset, facets: dict[str, Any], files: Files) -> None:
    """Leave the digests of a folder's files to the deliverer, and the one over all of them."""
    prefix = dataset.name.rstrip("/") + "/"
    pending = [
        {"key": path.removeprefix(prefix), **stat.to_json()}
        for path, stat in files.items()
        if stat is not None
    ]
    facets["lodeline_digest"] = {
        "algorithm": "sha256",
        "value": None,
        "bytes": sum(stat.size for stat in files.values() if stat is not None),
        "pending": {"files": pending},
        "source": "manifest",
    }


def _moved(files: Files, source: str, target: str) -> Files:
    """A folder's files under its new name."""
    return {
        target + path.removeprefix(source): stat
        and stat._replace(path=target + stat.path.removeprefix(source))
        for path, stat in files.items()
    }


def _order_of(files: Files) -> dict[str, Any]:
    """In which order a folder's files were read: `glob` gives that of the directory."""
    names = list(files)
    order = "read in the order of their names"
    if names != sorted(names):
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        order = f"read in another order than that of their names: sha256:{digest}"
    return {"method": "files of a folder", "count": len(names), "criteria": order}


def _common(*facets: dict[str, Any] | None) -> dict[str, Any]:
    """The facets that all of a folder's files have alike."""
    first, *others = [one or {} for one in facets]
    return {
        name: facet
        for name, facet in first.items()
        if all(one.get(name) == facet for one in others)
    }


def _stat(stat: tuple[str, int, int, int] | None) -> Stat | None:
    return None if stat is None else Stat(*stat)


def _stamped(scope: str, facets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: stamp(scope, name, facet) for name, facet in facets.items()}
