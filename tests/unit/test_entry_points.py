"""Entry points found without `importlib.metadata`, and what that module finds."""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

from lodeline.entry_points import find_entry_points


def _add(folder: Path, distribution: str, text: str) -> None:
    information = folder / f"{distribution}.dist-info"
    information.mkdir(parents=True)
    name, _, version = distribution.partition("-")
    (information / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (information / "entry_points.txt").write_text(text)


def test_it_finds_what_the_standard_library_finds_in_this_environment() -> None:
    groups = ("lodeline.integrations", "lodeline.transports", "console_scripts", "pytest11", "none")
    for group in groups:
        assert find_entry_points(group) == {
            entry.name: entry.value for entry in entry_points(group=group)
        }
    assert find_entry_points("console_scripts")


def test_of_two_distributions_with_one_name_the_first_on_the_path_counts(tmp_path: Path) -> None:
    _add(tmp_path / "a", "My.Plug_in-2.0", "[g]\nx = new:X\n# y = no:Y\n\n[h]\nx = other:X\n")
    _add(tmp_path / "b", "my_plug.in-1.0", "[g]\nx = old:X\nz = old:Z\n")
    _add(tmp_path / "b", "second-1.0", "[h]\nx = no:X\n[g]\nq=second:Q [extra]\n")
    folders = [str(tmp_path / "a"), str(tmp_path / "missing"), str(tmp_path / "b")]
    assert find_entry_points("g", folders) == {"x": "new:X", "q": "second:Q [extra]"}


def test_where_a_distribution_lies_in_an_archive_the_standard_library_is_asked(
    tmp_path: Path,
) -> None:
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("packed-1.0.dist-info/METADATA", "Name: packed\nVersion: 1.0\n")
        archive.writestr("packed-1.0.dist-info/entry_points.txt", "[g]\nx = packed:X\n")
    assert find_entry_points("g", [str(tmp_path / "packed.zip")]) == {"x": "packed:X"}


def test_a_finder_that_knows_distributions_of_its_own_is_asked() -> None:
    class Finder:
        asked = False

        @classmethod
        def find_spec(cls, *_: object) -> None:
            return None

        @classmethod
        def find_distributions(cls, *_: object) -> list[object]:
            cls.asked = True
            return []

    sys.meta_path.append(Finder)
    try:
        find_entry_points("g")
    finally:
        sys.meta_path.remove(Finder)
    assert Finder.asked
