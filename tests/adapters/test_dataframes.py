"""Data frames, in the oldest and the newest release that is supported.

Each program writes what an operation gave to a file of the operation's name; what flowed into the
file must be exactly what the operation was given. `?` stands for an upper bound.
"""

from __future__ import annotations

from pathlib import Path

from observing import Observed, python, run_plain

PROGRAMS = Path(__file__).with_name("programs")


def observe(folder: Path, name: str, interpreter: str) -> Observed:
    """Run one of the programs on two small tables."""
    (folder / "a.csv").write_text(
        "k,x,s,d\n1,1.5,u,2024-01-01\n2,2.5,v,2024-01-02\n3,3.5,u,2024-01-03\n"
    )
    (folder / "b.csv").write_text("k,y\n1,10\n2,20\n3,30\n")
    seen = python(folder, (PROGRAMS / f"{name}.py").read_text(), interpreter)
    assert seen.status == 0, seen.stderr
    assert not seen.gaps, seen.gaps
    return seen


def assert_unchanged(folder: Path, seen: Observed, interpreter: str) -> None:
    """The program does the same without capture; polars joins in no order, hence sorted lines."""
    made = contents(folder)
    plain = run_plain(folder, interpreter, "script.py")
    assert (plain.status, plain.stdout, plain.stderr) == (seen.status, seen.stdout, seen.stderr)
    assert contents(folder) == made


def contents(folder: Path) -> dict[str, list[bytes]]:
    return {path.name: sorted(path.read_bytes().splitlines()) for path in folder.glob("*.csv")}


def flows(seen: Observed) -> dict[str, set[str]]:
    """What flowed into each output, by the part of its name before the dot."""
    return {name.split(".")[0]: seen.flowed(name) for name in seen.names("outputs")}


def expected(found: dict[str, set[str]], other: dict[str, set[str]]) -> dict[str, set[str]]:
    """Each output from `a.csv`, but for those that are named."""
    return {name: {"a.csv"} for name in found} | other


BOTH = {"a.csv", "b.csv"}


def test_each_operation_of_pandas_names_the_files_of_its_operands(
    tmp_path: Path, interpreter: str
) -> None:
    seen = observe(tmp_path, "pandas_operations", interpreter)
    assert_unchanged(tmp_path, seen, interpreter)
    found = flows(seen)
    joins = ("merge", "join", "concat", "where", "isin", "lookup", "combine", "set_item", "set_loc")
    assert len(found) == 38
    assert found == expected(found, dict.fromkeys(joins, BOTH))


def test_readers_and_writers_of_pandas_name_the_files_that_they_are_given(
    tmp_path: Path, interpreter: str
) -> None:
    found = flows(observe(tmp_path, "pandas_files", interpreter))
    unknown = found.pop("eleven")  # Made of text in the program, which may come from anywhere.
    assert {"?", "a.csv", "b.csv"} <= unknown
    assert found == {
        "one": {"a.csv"},
        "two": {"one.csv"},
        "three": {"two.parquet"},
        "four": {"three.json"},
        "five": {"four.feather"},
        "six": {"five.pkl"},
        "seven": BOTH,
        "eight": {"a.csv"},
        "nine": {"b.csv"},
        "ten": {"b.csv"},
        "parts": {"a.csv"},
        "twelve": {"parts"},
    }


def test_each_operation_of_polars_names_the_files_of_its_operands(
    tmp_path: Path, interpreter: str
) -> None:
    seen = observe(tmp_path, "polars_operations", interpreter)
    assert_unchanged(tmp_path, seen, interpreter)
    found = flows(seen)
    joins = ("join", "concat", "hstack", "arithmetic", "semi", "series_in_expression")
    lazy = ("lazy_join", "sql", "lazy_sql")
    assert len(found) == 29
    assert found == expected(
        found, {**dict.fromkeys((*joins, *lazy), BOTH), "collected": {"b.csv"}}
    )


def test_readers_writers_and_sinks_of_polars_name_the_files_that_they_are_given(
    tmp_path: Path, interpreter: str
) -> None:
    assert flows(observe(tmp_path, "polars_files", interpreter)) == {
        "one": {"a.csv"},
        "two": {"one.parquet"},
        "three": {"two.ndjson"},
        "four": {"three.arrow"},
        "five": {"four.json"},
        "sunk": BOTH,
        "sunk_csv": {"a.csv"},
        "six": {"sunk.parquet"},
    }


def test_functions_and_datasets_of_arrow_name_what_they_are_given(
    tmp_path: Path, interpreter: str
) -> None:
    found = flows(observe(tmp_path, "arrow_files", interpreter))
    exact = {
        "one": {"a.csv"},
        "two": {"one.parquet"},
        "three": {"a.csv"},
        "four": {"a.csv"},
        "five": {"four.feather"},
        "join": BOTH,
        "group": {"a.csv"},
        "parts": {"a.csv"},
        "folder": {"b.csv"},
        "seven": {"folder"},
        "ten": {"one.parquet"},
        "copied": {"folder"},
    }
    assert {name: found[name] for name in exact} == exact
    # Methods of Arrow's own types cannot be observed: an upper bound, with the truth in it.
    bounds = {"concat": BOTH, "filter": {"a.csv"}, "sort": {"a.csv"}, "append": BOTH}
    bounds |= {"drop": {"a.csv"}, "six": {"parts"}, "eight": {"folder"}, "nine": {"a.csv"}}
    bounds |= {"pandas": {"b.csv"}, "eleven": {"copied"}}
    assert found.keys() == exact.keys() | bounds.keys()
    for name, truth in bounds.items():
        assert {"?", *truth} <= found[name], name
