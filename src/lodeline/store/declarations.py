"""Which fields a store's operator declares personal: rules and annotated schemas, from files."""

from __future__ import annotations

import json
from pathlib import Path

from lodeline.errors import UsageError
from lodeline.settings import personal_tables
from lodeline.wire.personal import Rule, read_rules, rules_of_schema


def read_declarations(store: Path) -> list[Rule]:
    """Read every declaration that holds for a store.

    Args:
        store: path of the database.

    Raises:
        UsageError: one is malformed. Whoever appends must stop then: what should be sealed would
            go into the log as it is.
    """
    rules: list[Rule] = []
    for folder, table in personal_tables(store):
        rules += read_rules(table)
        schemas = table.get("schemas", [])
        if not isinstance(schemas, list):
            raise UsageError("personal fields: `schemas` is an array of paths")
        for name in schemas:
            rules += _read_schema(folder / str(name))
    return rules


def _read_schema(path: Path) -> list[Rule]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the schema {path}: {error}") from error
    rules = rules_of_schema(schema) if isinstance(schema, dict) else []
    if not rules:
        raise UsageError(f"{path}: no `$id`, or no property marked `x-personal`")
    return rules
