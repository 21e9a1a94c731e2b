"""Folders of many files are one dataset, and images lead to the files that they came from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from lodeline.capture.datasets import Dataset
from lodeline.capture.drafts import RunDraft
from lodeline.capture.folders import Folders
from observing import Observed, python, run_plain

RUN = {"run_id": "019ac5a0-7c1d-7def-8123-456789abcdef", "namespace": "default", "job": "j"}


def folder_of(done: Observed, side: str, path: Path) -> dict[str, Any]:
    found = [d for d in done.last[side] if d["name"] == str(path)]
    assert len(found) == 1, sorted(d["name"] for d in done.last[side])[:5]
    return found[0]


def total(done: Observed) -> int:
    return len({(s, d["name"]) for e in done.events for s in ("inputs", "outputs") for d in e[s]})


IMAGES = """
import glob, os
import numpy as np
from PIL import Image, ImageOps
os.makedirs('in', exist_ok=True); os.makedirs('out', exist_ok=True)
if not os.path.exists('in/0.png'):
    for i in range(150):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(f'in/{i}.png')
else:
    mean = 0.0
    for path in glob.glob('in/*.png'):
        image = ImageOps.grayscale(Image.open(path)).resize((2, 2))
        mean += np.asarray(image).mean()
        image.save(path.replace('in/', 'out/'))
    one = Image.open('single.png')
    one.rotate(90).save('rotated.png')
    Image.blend(one, one.convert('RGB'), 0.5).save('blended.png')
    print(round(mean, 3), open('labels.csv').read().strip())
"""


def test_images_of_a_folder_are_one_dataset_and_single_images_stay_single(
    tmp_path: Path, interpreter: str
) -> None:
    (tmp_path / "labels.csv").write_text("a,b")
    (tmp_path / "made").mkdir()
    made = python(tmp_path / "made", IMAGES, interpreter)
    assert made.status == 0, made.stderr
    folder = tmp_path / "made" / "in"
    written = folder_of(made, "outputs", folder)["facets"]["lodeline_digest"]
    folder.rename(tmp_path / "in")
    os.link(tmp_path / "in" / "7.png", tmp_path / "single.png")
    done = python(tmp_path, IMAGES, interpreter)
    assert done.status == 0, done.stderr
    read = folder_of(done, "inputs", tmp_path / "in")
    digest = read["facets"]["lodeline_digest"]
    assert digest["source"] == "manifest"
    assert digest["value"] == written["value"] is not None
    assert len(digest["manifest"]) == 150
    (seven,) = [one for one in digest["manifest"] if one["key"] == "7.png"]
    assert seven["digest"] == hashlib.sha256((tmp_path / "in/7.png").read_bytes()).hexdigest()
    assert read["inputFacets"]["lodeline_sampling"]["count"] == 150
    out = folder_of(done, "outputs", tmp_path / "out")
    assert out["outputFacets"]["lodeline_observed"] == {
        **out["outputFacets"]["lodeline_observed"],
        "inputs": [{"namespace": "file", "name": str(tmp_path / "in")}],
    }
    assert "bound" not in out["outputFacets"]["lodeline_observed"]
    assert done.flowed("rotated.png") == {"single.png"}
    assert done.flowed("blended.png") == {"single.png"}
    # Beside the two folders: the single image, its two children, the labels.
    assert total(done) == 6
    assert not [gap for gap in done.gaps if "digest" in gap["detail"]], done.gaps
    assert run_plain(tmp_path, interpreter, "script.py").stdout == done.stdout


TEXTS = """
import os, sys
names = sorted(os.listdir('texts'))
if sys.argv[1:] == ['shuffled']:
    names.reverse()
words = 0
for name in names:
    with open(os.path.join('texts', name)) as file:
        words += len(file.read().split())
with open('count.txt', 'w') as out:
    out.write(str(words))
print(words)
"""


def texts(folder: Path, count: int) -> None:
    (folder / "texts").mkdir()
    for number in range(count):
        (folder / "texts" / f"{number:05}.txt").write_text(f"the text of {number}")


def test_ten_thousand_texts_are_one_dataset_with_all_their_digests(tmp_path: Path) -> None:
    texts(tmp_path, 10_000)
    done = python(tmp_path, TEXTS)
    assert done.stdout == "40000\n"
    assert total(done) == 2
    read = folder_of(done, "inputs", tmp_path / "texts")
    digest = read["facets"]["lodeline_digest"]
    assert len(digest["manifest"]) == 10_000
    assert digest["value"] is not None
    assert (
        read["inputFacets"]["lodeline_sampling"]["criteria"] == "read in the order of their names"
    )
    assert done.flowed("count.txt") == {"texts", "?"}


def test_the_order_of_files_and_the_setting_are_told(tmp_path: Path) -> None:
    texts(tmp_path, 12)
    (tmp_path / "script.py").write_text(TEXTS)
    done = python(
        tmp_path, TEXTS.replace("sys.argv[1:] == ['shuffled']", "True"), LODELINE_FOLDER_FILES="10"
    )
    read = folder_of(done, "inputs", tmp_path / "texts")
    order = read["inputFacets"]["lodeline_sampling"]["criteria"]
    assert order.startswith("read in another order than that of their names: sha256:")
    (tmp_path / "single").mkdir()
    texts(tmp_path / "single", 12)
    single = python(tmp_path / "single", TEXTS, LODELINE_FOLDER_FILES="0")
    assert len(single.names("inputs")) == 12


def draft() -> RunDraft:
    return RunDraft(dict(RUN), 1)


def read_line(path: str, time: int = 2) -> tuple[Any, ...]:
    return ("open", time, path, "r", (path, 1, 2, 3))


def test_a_draft_of_many_files_stays_small() -> None:
    one = draft()
    for number in range(10_000):
        one.apply(read_line(f"/d/{number}.png", number))
        one.apply(("write", number, "file", f"/o/{number}.png",
                   {"inputs": [("file", f"/d/{number}.png")], "bound": False}, None, None,
                   (f"/o/{number}.png", 1, 2, 3)))  # fmt: skip
    assert set(one.inputs) == {Dataset("file", "/d")}
    assert set(one.outputs) == {Dataset("file", "/o")}
    assert one.outputs[Dataset("file", "/o")].inputs == {Dataset("file", "/d")}
    assert len(one.inputs[Dataset("file", "/d")].files or ()) == 10_000


def test_a_folder_for_each_class_is_one_dataset_with_the_folder_around_them() -> None:
    one = draft()
    for number in range(3_000):
        one.apply(read_line(f"/d/train/{number % 300}/{number}.png", number))
    one.apply(read_line("/d/train/labels.csv"))
    assert set(one.inputs) == {Dataset("file", "/d/train"), Dataset("file", "/d/train/labels.csv")}
    many = draft()
    for number in range(4_000):
        many.apply(read_line(f"/d/train/{number % 20}/{number}.png", number))
    assert set(many.inputs) == {Dataset("file", "/d/train")}
    assert len(many.inputs[Dataset("file", "/d/train")].files or ()) == 4_000


def test_files_that_got_their_name_by_renaming_are_in_the_folder_under_that() -> None:
    one = draft()
    for number in range(300):
        one.apply(("open", number, f"/o/{number}.part", "w", None))
        one.apply(("rename", number, f"/o/{number}.part", f"/o/{number}.txt"))
    assert set(one.outputs) == {Dataset("file", "/o")}
    assert set(one.outputs[Dataset("file", "/o")].files or ()) == {
        f"/o/{n}.txt" for n in range(300)
    }


@pytest.mark.parametrize(("count", "whole"), [(100, False), (101, True)])
def test_the_threshold_is_what_the_documentation_says(count: int, whole: bool) -> None:
    folders = Folders(100)
    for number in range(count):
        folders.add(Dataset("file", f"/d/{number}.txt"))
    assert (folders.find(Dataset("file", "/d/0.txt")) is not None) is whole
    assert folders.find(Dataset("file", "/d/labels.csv")) is None
    assert folders.find(Dataset("s3://b", "d/0.txt")) is None
