"""Impact: what a change of a node would reach, counted by kind, and who owns that."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lodeline.query.answers import Page
from lodeline.query.asking import Inquiry
from lodeline.query.facets import Registers
from lodeline.query.parameters import ImpactQuestion
from lodeline.query.trace import find_root, walk, write

Answer = dict[str, Any]


def impact(inquiry: Inquiry, question: ImpactQuestion, page: Page) -> Answer:
    """Answer an impact question: the downward closure, its owners and counts.

    Counts and owners are of the whole closure, whichever page is shown; the root is not counted.
    """
    root = find_root(inquiry, question.id)
    graph, describe = walk(inquiry, root, question, direction="down")
    answer = write(inquiry, graph, describe, page)
    seen = [node for node in graph.shown() if inquiry.visibility.may_see(node)]
    owners = Registers(inquiry.view).owners_of(seen)
    answer["owners"] = owners
    counts = Counter(node.kind for node in seen if node != root)
    counts.update(graph.summarised)
    answer["counts"] = dict(sorted(counts.items()))
    return answer
