"""One browser for all tests of a module.

Playwright keeps an event loop running in the thread that drives it, and no other can run beside it:
when the module ends, it ends, so that tests of coroutines may follow in the same process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from browsing import browser as start_browser
from browsing import find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, or skip where there is none."""
    if find_chromium() is None:
        told = "no chromium here; `make test` installs it"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    with start_browser() as started:
        yield started
