"""Every code of a refusal is documented, and every documented code can occur."""

from __future__ import annotations

import re
from pathlib import Path

from lodeline import limits
from lodeline.errors import EVENT_FAULTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "events.md").read_text()


def codes_in(path: Path) -> set[str]:
    return set(re.findall(r'"(event\.[a-z_]+)"', path.read_text()))


def test_every_code_that_is_raised_is_documented_and_the_reverse() -> None:
    raised: set[str] = set()
    for path in (ROOT / "src" / "lodeline" / "wire").glob("*.py"):
        # What wraps an event is no part of it, and has a page of its own.
        if path.stem not in {"cloud_events", "otlp"}:
            raised |= codes_in(path)
    # The service has codes of its own for what goes wrong before decoding.
    assert raised <= EVENT_FAULTS.keys()
    assert set(re.findall(r"^\| `(event\.[a-z_]+)`", PAGE, re.MULTILINE)) == raised


def test_every_code_is_tested() -> None:
    documented = set(re.findall(r"^\| `(event\.[a-z_]+)`", PAGE, re.MULTILINE))
    assert codes_in(Path(__file__).parent / "test_decoding.py") >= documented


def test_the_page_names_the_bounds_in_force() -> None:
    for bound in (limits.NAME_BYTES_MAX, limits.INTEGER_DIGITS_MAX, limits.EVENT_DEPTH_MAX):
        assert f"{bound:,}" in PAGE
    for size in (limits.EVENT_BYTES_MAX, limits.DOCUMENT_BYTES_MAX):
        assert f"{size // 2**20} MiB" in PAGE
    assert limits.EXPLAIN_BYTES_MAX == 2**20
