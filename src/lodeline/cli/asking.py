"""The options that questions share, and the way from parsed options to a printed answer."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from typing import Any

from lodeline.cli.answers import connect, print_json

Answer = Mapping[str, Any]


def add_moment_options(parser: ArgumentParser) -> None:
    """Add the two times."""
    group = parser.add_argument_group("times")
    group.add_argument(
        "--as-of",
        metavar="T|SIZE",
        help="what was known then: a tree size, or a time (the last checkpoint at or before it)",
    )
    parser.add_argument(
        "--segment", metavar="NAME", help="of a service: ask this one of its segments alone"
    )
    group.add_argument(
        "--valid-at", metavar="T", help="what was true then: only events up to this event time"
    )


def add_page_options(parser: ArgumentParser) -> None:
    """Add the bound of a page and the way past it."""
    parser.add_argument("--limit", type=int, metavar="N", help="nodes or results of one page")
    parser.add_argument("--cursor", metavar="C", help="the `next` of the page before")


def add_graph_options(parser: ArgumentParser) -> None:
    """Add what trace, impact and path share."""
    parser.add_argument("--depth", type=int, metavar="N", help="derivations to walk (default: all)")
    parser.add_argument("--columns", action="store_true", help="walk columns, not datasets")
    parser.add_argument(
        "--format",
        choices=["tree", "json", "mermaid", "dot"],
        help="how to draw the answer (default: tree; json with --json)",
    )
    add_page_options(parser)
    add_moment_options(parser)


def add_narrowing_options(parser: ArgumentParser) -> None:
    """Add what chooses the part of a closure that is shown."""
    group = parser.add_argument_group(
        "what is shown", "The walk goes through everything; lists are separated by commas."
    )
    group.add_argument("--kinds", metavar="K,…", help="nodes of these kinds, as dataset,model")
    group.add_argument("--namespaces", metavar="NS,…", help="nodes of these namespaces")
    group.add_argument(
        "--tags", metavar="T,…", help="nodes with one of these tags, key or key=value"
    )
    group.add_argument(
        "--edge-kinds", metavar="K,…", help="edges of these kinds, as derives,trains"
    )
    group.add_argument(
        "--status",
        choices=["current", "stale", "all"],
        help="current: walk only edges that still hold; stale: show only those that do not",
    )


_NOT_PARAMETERS = frozenset({"json", "store", "server", "format"})


def ask(arguments: Namespace, verb: str) -> dict[str, Any]:
    """Ask what the options say; options not given stay out of the question."""
    parameters = {
        name: value
        for name, value in vars(arguments).items()
        if name not in _NOT_PARAMETERS and value is not None and value is not False
    }
    answer: dict[str, Any] = connect(arguments).ask(verb, **parameters)
    return answer


def print_answer(
    arguments: Namespace, answer: Answer, text: Mapping[str, Callable[[Answer], str]]
) -> None:
    """Print an answer in the form asked for.

    Args:
        arguments: with `json`, and `format` where the command has it.
        answer: JSON of the contract.
        text: renderings by format; `tree` is the default one.
    """
    form = getattr(arguments, "format", None) or ("json" if arguments.json else "tree")
    if arguments.json or form == "json":
        print_json(answer)
    else:
        print(text[form](answer))
