"""One browser for all tests of a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from browsing import browser as start_browser
from browsing import find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium, or skip where there is none."""
    if find_chromium() is None:
        told = "no chromium here; `make test` installs it"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    with start_browser() as started:
        yield started
