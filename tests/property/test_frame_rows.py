"""Rows followed through pandas, one operation at a time.

Random programs of them, in both releases, are in `adapters/test_followed_frames.py`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")

from lodeline.capture.journal import Journal  # noqa: E402
from lodeline.capture.patches import Patches  # noqa: E402
from lodeline.capture.recorder import RECORDER, RunContext  # noqa: E402
from lodeline.capture.row_steps import Anchor  # noqa: E402
from lodeline.capture.row_tracking import TRACKING  # noqa: E402

ROWS = 40


@pytest.fixture(autouse=True, scope="module")
def followed(tmp_path_factory):
    """pandas under row capture, in this process, undone afterwards."""
    from lodeline.capture.frame_rows import follow_pandas

    journal = Journal(str(tmp_path_factory.mktemp("spool") / "journals"), "run", {"run_id": "run"})
    before = RECORDER.process_run, RECORDER.rows
    RECORDER.process_run, RECORDER.rows = RunContext("run", "default", "job", journal), True
    patches = Patches("pandas")
    follow_pandas(patches)
    yield
    patches.undo()
    RECORDER.process_run, RECORDER.rows = before


def fresh(rng: random.Random):
    """A tracked frame whose column `truth` says what its rows are."""
    frame = pd.DataFrame(
        {
            "truth": range(ROWS),
            "a": [rng.randrange(5) for _ in range(ROWS)],
            "b": [rng.choice([None, 1.5, 2.5]) for _ in range(ROWS)],
            "c": [rng.choice("xyz") for _ in range(ROWS)],
        }
    )
    TRACKING.begin(frame, Anchor("file", "/data", "sha256:0"))
    return frame


def _inplace(frame, name, *args, **kwargs):
    getattr(frame, name)(*args, inplace=True, **kwargs)
    return frame


def _set(frame, name, value):
    frame = frame.copy()
    frame[name] = value
    return frame


OPERATIONS = {
    "mask": lambda f, r: f[f["a"] > r.randrange(4)],
    "columns": lambda f, r: f[["truth", "c", "a", "b"]],
    "slice": lambda f, r: f[r.randrange(3) :: r.randrange(1, 3)],
    "iloc": lambda f, r: f.iloc[[i for i in range(len(f)) if r.random() < 0.7]],
    "iloc_mask": lambda f, r: f.iloc[np.array([r.random() < 0.8 for _ in range(len(f))], bool)],
    "iloc_columns": lambda f, r: f.iloc[:, :],
    "loc_labels": lambda f, r: f.loc[[label for label in f.index if r.random() < 0.7]],
    "loc_mask": lambda f, r: f.loc[f["a"] != r.randrange(4), :],
    "query": lambda f, r: f.query("a < 4"),
    "head": lambda f, r: f.head(r.randrange(1, 30)),
    "tail": lambda f, r: f.tail(r.randrange(1, 30)),
    "sample": lambda f, r: f.sample(frac=0.8, random_state=r.randrange(99)),
    "sample_again": lambda f, r: f.sample(n=5, replace=True, random_state=1) if len(f) else f,
    "sort": lambda f, r: f.sort_values(["a", "c"], ascending=r.random() < 0.5),
    "sort_anew": lambda f, r: f.sort_values("a", ignore_index=True),
    "sort_index": lambda f, r: f.sort_index(ascending=False),
    "drop_rows": lambda f, r: f.drop(index=f.index[: r.randrange(3)]),
    "dropna": lambda f, r: f.dropna(),
    "duplicates": lambda f, r: f.drop_duplicates(["a", "c"]),
    "reset": lambda f, r: f.reset_index(drop=True),
    "index": lambda f, r: f.set_index("c", drop=False),
    "index_truth": lambda f, r: f.set_index("truth", drop=False),
    "assign": lambda f, r: f.assign(d=1),
    "set": lambda f, r: _set(f, "a", 0),
    "fillna": lambda f, r: f.fillna({"b": 0.0}),
    "astype": lambda f, r: f.astype({"a": "float64"}),
    "copy": lambda f, r: f.copy(),
    "rename": lambda f, r: f.rename(columns={"a": "b", "b": "a"}),
    "sort_inplace": lambda f, r: _inplace(f.copy(), "sort_values", "a"),
    "sort_anew_inplace": lambda f, r: _inplace(f.copy(), "sort_values", "c", ignore_index=True),
    "reset_inplace": lambda f, r: _inplace(f.copy(), "reset_index", drop=True),
    "duplicates_inplace": lambda f, r: _inplace(f.copy(), "drop_duplicates", ["a"]),
    "drop_inplace": lambda f, r: _inplace(f.copy(), "drop", index=f.index[:1]),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *("mask", "columns", "slice", "iloc", "iloc_mask", "loc_labels", "loc_mask", "query"),
        *("head", "tail", "sample", "sort", "sort_index", "drop_rows", "dropna", "duplicates"),
        *("reset", "index", "assign", "set", "fillna", "astype", "copy", "sort_inplace"),
        *("reset_inplace", "drop_inplace", "index_truth"),
    ],
)
def test_a_plain_operation_keeps_the_track(name: str) -> None:
    rng = random.Random(7)
    frame = OPERATIONS[name](fresh(rng), rng)
    track = TRACKING.find(frame)
    assert track is not None
    assert TRACKING.verify(frame, track)


def test_values_changed_behind_the_tracks_back_are_found_and_nothing_is_claimed() -> None:
    frame = fresh(random.Random(1))
    part = frame[frame["a"] > 1]
    track = TRACKING.find(part)
    part.iloc[0, 1] = 99
    assert TRACKING.find(part) is not track or not TRACKING.verify(part, track)


def test_an_index_replaced_by_assignment_leaves_rows_in_their_places() -> None:
    frame = fresh(random.Random(1))
    frame.index = frame.index[::-1]
    picked = frame.loc[[ROWS - 1, 3]]
    track = TRACKING.find(picked)
    assert track is not None
    assert list(track.positions) == list(picked["truth"]) == [0, ROWS - 4]


def test_a_split_follows_both_sides_of_every_table() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    from lodeline.capture.frame_rows import follow_split

    patches = Patches("sklearn")
    follow_split(selection, patches)
    try:
        frame = fresh(random.Random(3))
        plain = [
            list(part["truth"]) for part in selection.train_test_split(frame.copy(), random_state=5)
        ]
        train, test, *_ = selection.train_test_split(frame, frame["a"], random_state=5)
    finally:
        patches.undo()
    assert [list(train["truth"]), list(test["truth"])] == plain
    for part in (train, test):
        track = TRACKING.find(part)
        assert track is not None
        assert list(track.positions) == list(part["truth"])


def test_a_blob_of_row_numbers_reads_back_as_written(tmp_path: Path) -> None:
    from lodeline.capture.row_steps import blob_directory
    from lodeline.capture.row_tracking import write_rows
    from lodeline.spool import open_drain

    digest = write_rows(np.array([5, 3, 9]), "input")
    directory = blob_directory()
    assert directory is not None
    assert digest is not None
    [path] = directory.glob(f"{digest.removeprefix('sha256:')}-*")
    frame = pd.read_parquet(path)
    assert list(frame["input"]) == [5, 3, 9]
    # It is delivered to the segment of the job's namespace, and a second writer has a file apart.
    assert write_rows(np.array([5, 3, 9]), "input") == digest
    with open_drain(directory.parent) as drain:
        assert drain is not None
        found = [
            json.loads(record.body)
            for segment in drain.iter_segments()
            for record in drain.iter_records(segment)
        ]
    alike = [one for one in found if one["digest"] == digest]
    assert [one["namespace"] for one in alike] == ["default", "default"]
    assert len({one["path"] for one in alike}) == 2
