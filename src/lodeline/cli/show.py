"""Show one node: its versions, facets, labels, owners, aliases. Without #version: the newest."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, ask, print_answer
from lodeline.query.renderings import render_show


def configure(parser: ArgumentParser) -> None:
    """Add the options of `show`."""
    parser.add_argument("id", metavar="ID", help="kind:namespace:name[#version]")
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print."""
    print_answer(arguments, ask(arguments, "show"), {"tree": render_show})
    return 0
