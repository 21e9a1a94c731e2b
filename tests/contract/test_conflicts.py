"""Every statement that settles a conflict finds the key that it names, in every store."""

from __future__ import annotations

import json
import re
from pathlib import Path

import lodeline
from lodeline.errors import LodelineError
from lodeline.store.connections import has_table
from service import serving
from stores import Place

SOURCE = Path(lodeline.__file__).parent
_STATEMENT = re.compile(
    r"INSERT INTO (\w+)(?:(?!INSERT INTO)[\s\S])*?ON CONFLICT ?\(([\w, ]+)\)", re.MULTILINE
)
EVENT = {
    "eventTime": "2026-01-01T00:00:00Z",
    "producer": "https://example.com/" + "\N{GRINNING FACE}" * 500,
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent",
    "job": {"namespace": "\N{GRINNING FACE}" * 500, "name": "j"},
    "outputs": [{"namespace": "n", "name": "out"}],
}


def conflicts() -> set[tuple[str, tuple[str, ...]]]:
    found = set()
    for path in SOURCE.rglob("*.py"):
        for table, columns in _STATEMENT.findall(path.read_text()):
            found.add((table, tuple(column.strip() for column in columns.split(","))))
    return found


def test_each_conflict_names_a_key_of_its_table(place: Place, tmp_path: Path) -> None:
    # Some tables are made when they are first written to: by a service that takes an event.
    with serving(tmp_path, store=place.url) as service:
        status, body, _ = service.post("/api/v1/lineage?wait=folded", json.dumps(EVENT).encode())
        assert status == 201, body
        assert service.get("/api/v2/search", q="out")["total"] > 0
    named = conflicts()
    tables, missing = 0, []
    with place.open() as segment:
        for table, columns in sorted(named):
            with segment.reading() as connection:
                if not has_table(connection, table):
                    continue
            tables += 1
            statement = (
                f"INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0 "
                f"ON CONFLICT ({', '.join(columns)}) DO NOTHING"
            )
            try:
                with segment.writing() as connection:
                    connection.execute(statement)
            except LodelineError as error:
                missing.append(f"{table} {columns}: {error}")
    assert missing == []
    assert tables > 6
