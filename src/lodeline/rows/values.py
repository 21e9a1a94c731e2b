"""Values of rows: read from the very bytes that the record names, or not at all.

A file is read only if its digest still is the version's. Conditions of `--where` come from people:
they are parsed, only plain expressions over the row's own columns pass, and DuckDB may open nothing
but the one file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

from lodeline.errors import FileChangedError, UsageError
from lodeline.limits import (
    FOLDER_VALUES_FILES_MAX,
    WHERE_CHARACTERS_MAX,
    ZIPPED_ROWS_BYTES_MAX,
)
from lodeline.model import NodeId
from lodeline.wire import canonical_bytes

_DIGESTS: Final[dict[tuple[str, int, int, int], str]] = {}

_JSON: Final = "SELECT row_number() OVER () - 1 AS lodeline_row, * FROM read_json({path})"
_READERS: Final = {
    ".parquet": "SELECT file_row_number AS lodeline_row, * FROM read_parquet({path})",
    ".csv": "SELECT row_number() OVER () - 1 AS lodeline_row, * FROM read_csv({path})",
    ".json": _JSON,
    ".jsonl": _JSON,
    ".ndjson": _JSON,
}


class ValueReader:
    """Reads rows of one version of one file, or of one folder of Parquet.

    Args:
        node: the dataset, with version.

    Raises:
        FileChangedError: its bytes are not at hand.
    """

    _source: str | None = None

    def __init__(self, node: NodeId) -> None:
        if node.namespace != "file":
            raise FileChangedError(node.name, f"values of {node.namespace} are not read")
        path = Path(node.name)
        if path.is_dir():
            version, self._files = folder_of(path)
            if version != node.version:
                raise FileChangedError(node.name, "its bytes are no longer those of the version")
            return
        self._files = [path]
        endings = [ending.lower() for ending in path.suffixes]
        # DuckDB reads gzip by itself; of a ZIP the one file in it is unpacked.
        packed = endings.pop() if endings[-1:] in ([".gz"], [".zip"]) else ""
        self._source = _READERS.get(endings[-1]) if endings else None
        if self._source is None or (packed and endings[-1] == ".parquet"):
            raise FileChangedError(node.name, "not a format whose rows can be read by number")
        if digest_of(path) != node.version:
            raise FileChangedError(node.name, "its bytes are no longer those of the version")
        if packed == ".zip":
            self._files = [self._unpack(path, endings[-1])]

    def _unpack(self, path: Path, ending: str) -> Path:
        """Unpack the one file of a ZIP beside nothing else; it goes with this reader."""
        folder = Path(tempfile.mkdtemp(prefix="lodeline-rows-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        unpacked = folder / f"rows{ending}"
        try:
            with ZipFile(path) as archive:
                members = [one for one in archive.infolist() if not one.is_dir()]
                if len(members) != 1 or members[0].file_size > ZIPPED_ROWS_BYTES_MAX:
                    detail = f"not one file of at most {ZIPPED_ROWS_BYTES_MAX} bytes"
                    raise FileChangedError(str(path), detail)
                with archive.open(members[0]) as packed, unpacked.open("wb") as file:
                    shutil.copyfileobj(packed, file)
        except (BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
            raise FileChangedError(str(path), f"cannot be unpacked: {error}") from error
        return unpacked

    def read(self, rows: list[int]) -> dict[int, dict[str, Any]]:
        """Read the values of rows, by row number."""
        sql = (
            f"SELECT lodeline_row, to_json(values) FROM (SELECT t.lodeline_row, "
            f"COLUMNS(t.* EXCLUDE (lodeline_row)) FROM ({self._from()}) AS t) AS values "
            f"WHERE lodeline_row IN (SELECT unnest({json.dumps(rows)}::BIGINT[]))"
        )
        found = {}
        for number, text in self._run(sql):
            values = json.loads(text)
            values.pop("lodeline_row", None)
            found[int(number)] = values
        return found

    def select(self, where: str) -> list[int]:
        """Find the rows for which a condition holds.

        Raises:
            UsageError: not a plain condition over the row's columns.
        """
        condition = checked_condition(where)
        sql = f"SELECT lodeline_row FROM ({self._from()}) WHERE {condition} ORDER BY 1"
        return [int(number) for (number,) in self._run(sql)]

    def find_key(self, columns: tuple[str, ...], values: list[Any]) -> list[int]:
        """Find the rows that have values in columns, compared as text; two at most.

        Raises:
            UsageError: the file has no such columns.
        """
        conditions = [
            f"CAST({_quoted(column)} AS VARCHAR) = {_literal(value)}"
            for column, value in zip(columns, values, strict=True)
        ]
        sql = f"SELECT lodeline_row FROM ({self._from()}) WHERE {' AND '.join(conditions)} LIMIT 2"
        return [int(number) for (number,) in self._run(sql)]

    def count(self) -> int:
        """Count the rows."""
        ((count,),) = self._run(f"SELECT count(*) FROM ({self._from()})")
        return int(count)

    def _from(self) -> str:
        if self._source is not None:
            return self._source.format(path=_literal(str(self._files[0])))
        # Rows of a folder are numbered through its files, in the order of their names.
        parts, start = [], 0
        for file in self._files:
            path = _literal(str(file))
            number = f"file_row_number + {start} AS lodeline_row"
            parts.append(f"SELECT {number}, * FROM read_parquet({path})")
            counted = self._run(f"SELECT sum(num_rows) FROM parquet_file_metadata({path})")
            start += int(counted[0][0] or 0)
        return " UNION ALL ".join(parts)

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        import duckdb

        with duckdb.connect(":memory:") as connection:
            paths = ", ".join(_literal(str(file)) for file in self._files)
            connection.execute(f"SET allowed_paths = [{paths}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            try:
                found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            except duckdb.Error as error:
                raise UsageError(f"DuckDB: {str(error).splitlines()[0]}") from error
            return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return "'" + text.replace("'", "''") + "'"


def select_records(where: str, records: list[dict[str, Any]]) -> list[int]:
    """Find the records for which a condition holds; a column that one lacks is NULL in it.

    Raises:
        UsageError: not a plain condition over the records' columns.
    """
    import duckdb
    import pyarrow as pa

    condition = checked_condition(where)
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names}
    table = pa.table({name: _column(values) for name, values in columns.items()})
    table = table.append_column("lodeline_row", pa.array(range(len(records)), pa.int64()))
    with duckdb.connect(":memory:") as connection:
        connection.register("records", table)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            found = connection.execute(
                f"SELECT lodeline_row FROM records WHERE {condition} ORDER BY 1"
            ).fetchall()
        except duckdb.Error as error:
            raise UsageError(f"DuckDB: {str(error).splitlines()[0]}") from error
    return [int(number) for (number,) in found]


def _column(values: list[Any]) -> Any:
    """Make a column of what records hold under a name; of several types, their text."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def digest_of(path: Path) -> str | None:
    """Digest a file, once for each state of it; `None` where there is none."""
    try:
        stat = path.stat()
        key = (str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if key not in _DIGESTS:
            with path.open("rb") as file:
                _DIGESTS[key] = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    return _DIGESTS[key]


def folder_of(path: Path) -> tuple[str | None, list[Path]]:
    """Digest the manifest of a folder of Parquet; its files, in the order of their names.

    Without markers and checksums, as the deliverer does. No digest where one is not Parquet.
    """
    listed: list[tuple[str, str, Path]] = []
    for one in path.rglob("*"):
        inside = one.relative_to(path)
        if any(part.startswith((".", "_")) for part in inside.parts) or not one.is_file():
            continue
        digest = digest_of(one) if one.suffix == ".parquet" else None
        if digest is None or len(listed) >= FOLDER_VALUES_FILES_MAX:
            return None, []
        listed.append((inside.as_posix(), digest.removeprefix("sha256:"), one))
    listed.sort()
    manifest = [
        {"key": key, "digest": digest, "bytes": one.stat().st_size} for key, digest, one in listed
    ]
    version = "sha256:" + hashlib.sha256(canonical_bytes(manifest)).hexdigest()
    return version, [one for _, _, one in listed]


def checked_condition(where: str) -> str:
    """Check that a condition only looks at the row, and write it anew.

    Raises:
        UsageError: naming what is not allowed.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if len(where) > WHERE_CHARACTERS_MAX:
        raise UsageError(f"where: longer than {WHERE_CHARACTERS_MAX} characters")
    try:
        tree = sqlglot.parse_one(where, dialect="duckdb", into=exp.Condition)
    except (SqlglotError, RecursionError) as error:
        raise UsageError(f"where: {str(error).splitlines()[0]}") from error
    allowed = (
        exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Binary,
        exp.Not, exp.Neg, exp.In, exp.Between, exp.Is, exp.Cast, exp.DataType, exp.Tuple,
        exp.Lower, exp.Upper, exp.Length, exp.Abs, exp.Coalesce, exp.Interval, exp.Var,
    )  # fmt: skip
    for node in tree.walk():
        if not isinstance(node, allowed) or (isinstance(node, exp.In) and node.args.get("query")):
            raise UsageError(f"where: {node.key} is not allowed in a condition")
    return tree.sql(dialect="duckdb")
