"""How soon is a page of the interface there, and a graph of 500 to 5,000 nodes at hand?

Workload: layered graphs of 500, 2,000 and 5,000 datasets, each made of two of the layer before, in
stores of their own behind `lodeline serve`; Debian's Chromium without a GPU at 1440x900, a fresh
context for each load, of several the median. *Ready* is from the start of the navigation until the
graph is drawn and answers, the service's answer included. Frames are counted while the graph is
dragged across the window and zoomed. The peer draws the same nodes and edges in plain @xyflow/react
laid out by elkjs, from a file on the same machine (`bench/peers/flow`, which needs npm once), so
that no service's time is in its figures. Pages are bounded by their own bars: bytes as sent, first
contentful paint, longest task.

    python bench/interface.py --out bench/results/interface.json
"""

from __future__ import annotations

import argparse
import functools
import gzip
import http.server
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import Watched, browser, watched  # noqa: E402  # after the path to them
from drawn_graphs import layered_events, make_store  # noqa: E402
from services import serving  # noqa: E402

PEER = ROOT / "bench" / "peers" / "flow"
SIZES = (500, 2_000, 5_000)
TASKS = """
window.longest = 0;
new PerformanceObserver(list => {
  for (const one of list.getEntries()) window.longest = Math.max(window.longest, one.duration);
}).observe({type: 'longtask', buffered: true});
"""
FRAMES = """() => {
  window.frames_seen = [];
  const count = now => {
    window.frames_seen.push(now);
    window.counting = requestAnimationFrame(count);
  };
  requestAnimationFrame(count);
}"""


def load(one: Watched, url: str, ready: str | None) -> dict[str, float]:
    """Load a page, wait for what tells that it is ready, and give its times in milliseconds."""
    one.page.add_init_script(TASKS)
    one.page.goto(url)
    if ready is not None:
        one.page.wait_for_selector(ready, state="attached", timeout=180_000)
    one.page.wait_for_timeout(300)
    found = one.page.evaluate(
        """() => ({
          ready_ms: performance.getEntriesByName('lodeline:graph-ready')[0]?.startTime ?? null,
          painted_ms: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null,
          interactive_ms: performance.getEntriesByType('navigation')[0].domInteractive,
          answered_ms: performance.getEntriesByType('navigation')[0].responseStart,
          longest_task_ms: window.longest,
          elements: document.querySelectorAll('*').length,
        })"""
    )
    return {name: round(value, 1) for name, value in found.items() if value is not None}


def frames(one: Watched, selector: str) -> dict[str, float]:
    """Drag and zoom, and give how many frames a second were drawn meanwhile."""
    page = one.page
    box = page.locator(selector).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.evaluate(FRAMES)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(50):
        page.mouse.move(x + 6 * (step if step < 25 else 50 - step), y + 3 * (step % 20))
    page.mouse.up()
    page.keyboard.down("Control")
    for step in range(24):
        page.mouse.wheel(0, 120 if step < 12 else -120)
    page.keyboard.up("Control")
    seen = page.evaluate(
        "() => { cancelAnimationFrame(window.counting); return window.frames_seen; }"
    )
    gaps = [after - before for before, after in itertools.pairwise(seen)]
    return {
        "frames_per_second": round(1000 * len(gaps) / max(1.0, sum(gaps)), 1),
        "slowest_frame_ms": round(max(gaps, default=0.0), 1),
    }


def median(loads: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: round(statistics.median(one[name] for one in loads), 1) for name in loads[0]}


def ours(started: Any, folder: Path, count: int, times: int) -> dict[str, float]:
    """Measure the lineage page over a graph."""
    store = make_store(folder / str(count) / "s.db", layered_events(count))
    loads = []
    with serving(store) as service:
        url = f"{service.url}/lineage/dataset:made:d0?depth=all"
        for _ in range(times):
            with watched(started) as one:
                found = load(one, url, "#graph[data-ready]")
                found["bytes"] = one.bytes_sent()
                loads.append(found | frames(one, "[data-canvas]"))
        service.stop()
    return median(loads)


@contextmanager
def files(folder: Path) -> Iterator[str]:
    """Serve a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def peer(started: Any, folder: Path, count: int, times: int) -> dict[str, float]:
    """Measure the same graph in the peer."""
    names: dict[str, int] = {}
    edges = []
    for event in layered_events(count):
        [target] = event["outputs"]
        for source in event["inputs"]:
            ends = [names.setdefault(one["name"], len(names)) for one in (source, target)]
            edges.append(ends)
    (folder / "graph.json").write_text(json.dumps({"nodes": list(names), "edges": edges}))
    sent = sum(len(gzip.compress(path.read_bytes())) for path in folder.iterdir())
    loads = []
    with files(folder) as url:
        for _ in range(times):
            with watched(started) as one:
                loads.append(
                    load(one, f"{url}/index.html", "#root[data-ready]") | frames(one, "#root")
                )
    return median(loads) | {"bytes": sent}


def build_peer(folder: Path) -> bool:
    """Build the peer's page; whether that could be done here."""
    if shutil.which("npm") is None:
        print("no npm: measured without the peer")
        return False
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=PEER, check=True)
    subprocess.run(["node", "build.mjs", str(folder)], cwd=PEER, check=True)
    return True


def pages(started: Any, folder: Path, times: int) -> dict[str, dict[str, float]]:
    """Measure pages without a large graph."""
    store = make_store(folder / "pages" / "s.db", layered_events(60))
    found = {}
    with serving(store) as service:
        addresses = {"home": "/", "search": "/?q=d1", "lineage": "/lineage/dataset:made:d0"}
        for name, path in addresses.items():
            loads = []
            for _ in range(times):
                with watched(started) as one:
                    told = load(one, service.url + path, None)
                    loads.append({"bytes": one.bytes_sent(), **told})
            shared = set.intersection(*(set(one) for one in loads))
            found[name] = median([{k: v for k, v in one.items() if k in shared} for one in loads])
        service.stop()
    return found


def main() -> int:
    """Measure, and write the findings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--peer-most", type=int, default=2_000, help="largest graph of the peer")
    arguments = parser.parse_args()
    times = arguments.times
    with tempfile.TemporaryDirectory() as name, browser() as started:
        folder = Path(name)
        flow = folder / "flow"
        flow.mkdir()
        result: dict[str, Any] = {
            "question": __doc__.splitlines()[0],
            "command": f"python bench/interface.py --times {times}",
            "machine": {
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "chromium": started.version,
                "load_before": [round(one, 1) for one in os.getloadavg()],
            },
            "pages": pages(started, folder, times),
            "graphs": {f"{n} nodes": ours(started, folder, n, times) for n in SIZES},
        }
        if build_peer(flow):
            some = [n for n in SIZES if n <= arguments.peer_most]
            result["xyflow_and_elkjs"] = {f"{n} nodes": peer(started, flow, n, 1) for n in some}
        result["machine"]["load_after"] = [round(one, 1) for one in os.getloadavg()]
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
