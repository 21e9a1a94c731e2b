"""A real Chromium for tests of the pages, and what every page is held to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Response,
    ViewportSize,
    sync_playwright,
)

ROOT = Path(__file__).parents[1]
AXE = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
DESK: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
SIZES = {"desk": DESK, "phone": PHONE}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


def find_chromium() -> str | None:
    """Find Debian's browser; playwright's own cannot be downloaded everywhere."""
    return shutil.which("chromium")


@contextmanager
def browser() -> Iterator[Browser]:
    """Start one."""
    executable = find_chromium()
    assert executable is not None
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield started
        started.close()


class Watched:
    """A page in a context of its own, and what went over the wire and wrong in it."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.answers: list[Response] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", lambda answer: self.answers.append(answer))

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def open(self, url: str) -> Page:
        """Go there, and wait for the graph, if there is one to draw."""
        self.page.goto(url)
        self.page.wait_for_load_state("load")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait for the graph that is shown to be drawn."""
        if self.page.locator("#graph:not([hidden])").count():
            self.page.wait_for_selector("#graph[data-ready]", timeout=60_000)

    def bytes_sent(self) -> int:
        """Bytes of all answers' bodies, as they were sent."""
        return sum(size for _, size in self.sizes())

    def sizes(self) -> list[tuple[Response, int]]:
        """Give answers with the bytes of their bodies; the stream of events has no end."""
        ended = (one for one in self.answers if not one.url.endswith("/events"))
        return [(one, one.request.sizes()["responseBodySize"]) for one in ended]


@contextmanager
def watched(
    started: Browser, size: str = "desk", colours: str = "light", **options: Any
) -> Iterator[Watched]:
    """Open a fresh browser context of a size, in light or dark colours."""
    context = started.new_context(
        viewport=SIZES[size],
        color_scheme=colours,
        has_touch=size == "phone",
        reduced_motion="reduce",
        **options,
    )
    context.set_default_timeout(30_000)
    try:
        yield Watched(context)
    finally:
        context.close()


# The rules that look at colours: the only ones that other colours can break.
_COLOUR_RULES = ["color-contrast", "link-in-text-block"]


def violations(page: Page, *, colours_alone: bool = False) -> list[str]:
    """Let axe look at a page as it is now; give each rule that it breaks, with the elements."""
    if not page.evaluate("'axe' in window"):
        # By the debugger, which the page's own policy does not bind: a script tag would be refused.
        page.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
    # Without fetching style sheets again, which one rule about turned phones alone wants.
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if colours_alone:
        options["runOnly"] = {"type": "rule", "values": _COLOUR_RULES}
    found = page.evaluate(
        "async options => (await axe.run(document, options)).violations"
        ".map(one => one.id + ': ' + one.nodes.slice(0, 4).map(node => node.html.slice(0, 160)"
        " + ' ' + (node.any[0]?.message ?? '')).join(' | '))",
        options,
    )
    return list(found)


def violations_in_both_colours(page: Page) -> list[str]:
    """Let axe look at a page in light colours, and again at the colours in dark ones."""
    page.emulate_media(color_scheme="light")
    found = violations(page)
    page.emulate_media(color_scheme="dark")
    return found + [f"dark: {one}" for one in violations(page, colours_alone=True)]


def small_targets(page: Page) -> list[str]:
    """Give what can be pressed and is smaller than 24 by 24 pixels; links inside text may be."""
    return list(
        page.evaluate(
            """() => [...document.querySelectorAll(
                'a[href], button, summary, input:not([type=hidden]), select')]
              .filter(one => one.checkVisibility({visibilityProperty: true}))
              .filter(one => !one.closest('p, li, dd, td, .skip') || one.matches('button, summary'))
              .filter(one => {
                const {width, height} = one.getBoundingClientRect();
                return width > 0 && (width < 24 || height < 23.5);
              })
              .map(one => one.outerHTML.slice(0, 120))"""
        )
    )


def sideways(page: Page) -> float:
    """Give by how many pixels a page is wider than its window."""
    return float(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def tab_stops(page: Page, most: int = 60) -> list[dict[str, Any]]:
    """Walk through a page with Tab; give each stop's name and whether it has a ring."""
    # A page may have put the focus into a field: from its beginning, then.
    page.locator("a, button, input, summary").first.focus()
    # The page tells of each stop as it is reached, until they come round again: one message a stop.
    page.evaluate(
        """() => {
          window.stopped = [];
          const seen = new Set();
          const tell = one => {
            if (seen.has(one)) window.stopped.round = true;
            if (window.stopped.round || one === document.body) return;
            seen.add(one);
            const style = getComputedStyle(one);
            const labels = one.labels ? [...one.labels].map(label => label.textContent) : [];
            const name = one.getAttribute('aria-label') || labels.join(' ') || one.textContent
              || one.title || '';
            window.stopped.push({
              name: name.trim(), html: one.outerHTML.slice(0, 120),
              ringed: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
            });
          };
          document.addEventListener('focusin', event => tell(event.target));
          // The ring of the first shows once a key was pressed.
          document.addEventListener('keyup', () => tell(document.activeElement), {once: true});
        }"""
    )
    page.keyboard.press("Shift")
    for number in range(most):
        page.keyboard.press("Tab")
        if number % 12 == 11 and page.evaluate("window.stopped.round"):
            break
    return list(page.evaluate("window.stopped"))
