"""Answer agents over the Model Context Protocol, on standard input and output.

The tools are the questions: search, show, trace, impact, path, diff and rows. A service answers the
same tools by HTTP at /mcp when its setting `server.mcp` is on.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from lodeline.cli.answers import connect
from lodeline.errors import MissingExtraError


def configure(parser: ArgumentParser) -> None:
    """Add the options of `mcp`: those of every command."""


def execute(arguments: Namespace) -> int:
    """Serve until the client closes standard input."""
    try:
        from lodeline.server.agents import serve_stdio
    except ModuleNotFoundError as error:
        raise MissingExtraError("mcp", error.name or "") from error
    questions = connect(arguments)

    def ask(verb: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        return questions.ask(verb, **parameters)

    serve_stdio(ask)
    return 0
