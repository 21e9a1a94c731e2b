"""Pictures of every page over the demo's store: light, dark and on a phone.

    python docs/screenshots.py STORE FOLDER [PAGE…]

STORE is the `.lodeline` folder that `lodeline demo` made. Those in `docs/images` were taken so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import sync_playwright

MODES = {
    "light": ({"width": 1440, "height": 900}, "light"),
    "dark": ({"width": 1440, "height": 900}, "dark"),
    "phone": ({"width": 390, "height": 844}, "light"),
}


def ask(base: str, path: str) -> dict:  # type: ignore[type-arg]
    """Ask the service."""
    with urllib.request.urlopen(base + path) as answer:
        return dict(json.load(answer))


def addresses(base: str) -> dict[str, str]:
    """Give the address of each page, over what the demo recorded."""

    def node(identifier: str) -> str:
        return quote(identifier, safe=":@")

    model = "model:default:late30"
    shown = ask(base, f"/node/{model}.json")
    prediction = shown["predictions"]["predictions"][0]["id"]
    run = f"run:{shown['training']}"
    replay = f"run:{shown['replays'][0]['run']}"
    told = ask(base, f"/node/{prediction}.json")
    row, dataset = told["inputs"][0]["row"], told["data"][0]["id"].partition("#")[0]
    source = next(one["id"] for one in told["rows"]["datasets"] if "/flights.parquet" in one["id"])
    around = ask(base, f"/lineage/{node(model)}.json")
    trained = next(one for one in around["edges"] if one["kind"] == "trains")
    opened = [trained["source"]]
    opened += [one["source"] for one in around["edges"] if one["target"] == opened[0]][:1]
    return {
        "home": "/",
        "search": "/?q=late30",
        "lineage": f"/lineage/{node(model)}",
        "columns": f"/lineage/{node(model)}?open={quote(json.dumps(opened))}",
        "table": f"/lineage/{node(model)}?view=table",
        "edge": f"/edge?source={node(trained['source'])}&target={node(trained['target'])}",
        "dataset": f"/node/{node(dataset)}",
        "job": "/node/job:default:train.py",
        "run": f"/node/{run}",
        "model": f"/node/{node(model)}",
        "deployment": f"/node/{node(told['deployment'].partition('#')[0])}",
        "prediction": f"/node/{prediction}",
        "row": f"/node/{node(row)}",
        "rows": f"/rows/{prediction}?sort=-dep_delay&dataset={node(source)}",
        "diff": f"/diff?a={run}&b={replay}",
        "path": f"/path?a={node(source.partition('#')[0])}&b={model}",
        "proof": f"/proof/{prediction}",
        "log": "/log",
        "dead-letters": "/dead-letters",
        "producers": "/producers",
        "health": "/health",
    }


def main(store: str, folder: str, *wanted: str) -> None:
    """Serve a copy of the store, and take the pictures."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(store, Path(place) / "store")
        words = ["serve", "--port", "0", "--store", f"sqlite:///{place}/store/lodeline.db"]
        service = subprocess.Popen(
            [sys.executable, "-m", "lodeline", *words], stdout=subprocess.PIPE, text=True, cwd=place
        )
        try:
            assert service.stdout is not None
            base = service.stdout.readline().strip().rpartition(" ")[2]
            take(base, out, wanted)
        finally:
            service.terminate()
            service.wait(60)


def take(base: str, out: Path, wanted: tuple[str, ...]) -> None:
    """Take each page in each way."""
    pages = addresses(base)
    with sync_playwright() as driver:
        executable = shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for mode, (size, colours) in MODES.items():
            page = browser.new_page(viewport=size, color_scheme=colours)
            for name in wanted or pages:
                page.goto(base + pages[name])
                if name == "proof":
                    page.wait_for_selector("html[data-proof=done]")
                if page.locator("#graph:not([hidden])").count():
                    page.wait_for_selector("#graph[data-ready]")
                page.wait_for_timeout(400)
                page.screenshot(path=out / f"{name}-{mode}.png")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
