"""The page at `/`: what runs here and how to ask it. Readable without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def home_page(*, stats: Mapping[str, Any] | None, problem: str | None, base: str) -> str:
    """Render the page.

    Args:
        stats: the answer of `stats`, or `None` when it could not be had.
        problem: why it could not.
        base: URL of this service, without a slash at the end.
    """
    if stats is None:
        state = f"<p>The store does not answer: {escape(problem or 'unknown')}.</p>"
    else:
        state = _state(stats)
    url = escape(base)
    return _PAGE.format(state=state, url=url)


def _state(stats: Mapping[str, Any]) -> str:
    nodes = stats.get("nodes", {})
    rows = "".join(
        f"<tr><th scope=row>{escape(str(kind))}<td>{number:,}"
        for kind, number in sorted(nodes.items())
        if number
    )
    trees = "".join(
        f"<p>Log <code>{escape(tree['origin'])}</code>: {tree['size']:,} entries, root"
        f" <code>{escape(tree['root_hash'])}</code></p>"
        for tree in stats.get("trees", [])
    )
    empty = (
        "<p>Nothing is recorded yet. <code>lodeline demo</code> or"
        " <code>lodeline run -- python your.py</code> fills it.</p>"
    )
    return trees + (f"<table><caption>Known nodes</caption>{rows}</table>" if rows else empty)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Lodeline</title>
<link rel="stylesheet" href="/style.css">
<h1>Lodeline</h1>
<p>Lineage for AI pipelines. This service takes OpenLineage events and answers where a
prediction, model, table, column or row came from, and what it affects.</p>
{state}
<h2>Find</h2>
<form action="/api/v2/search"><label>Name <input name="q" required></label>
<button>Search</button></form>
<h2>Ask</h2>
<pre>lodeline trace --server {url} dataset:NAMESPACE:NAME
curl '{url}/api/v2/trace?id=dataset:NAMESPACE:NAME&amp;direction=up'</pre>
<p>Verbs under <code>/api/v2/</code>: trace, path, impact, diff, rows, cohort, show, search, stats.
They take the command line's options as query parameters and return the same JSON.</p>
<h2>Send</h2>
<pre>curl -X POST {url}/api/v1/lineage -H 'Content-Type: application/json' -d @event.json</pre>
<p><a href="/healthz">healthz</a> · <a href="/readyz">readyz</a> ·
<a href="/api/v2/stats">stats</a></p>
</html>
"""

STYLE = """:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
pre{overflow-x:auto;padding:.75rem;border:1px solid;border-radius:4px}
code{overflow-wrap:anywhere}caption{text-align:left;font-weight:600}
th{text-align:left;font-weight:400;padding-right:2rem}td{text-align:right}
"""
