"""Drop the graph and the predictions' tables and fold the log again. The log is untouched."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.progress import counting
from lodeline.ingest import graph_state, rebuild
from lodeline.ingest.predictions import rebuild_predictions
from lodeline.rows.steps import rebuild_steps


def configure(parser: ArgumentParser) -> None:
    """Add no options of its own; the common ones choose the store."""
    del parser


def execute(arguments: Namespace) -> int:
    """Rebuild the view and tell what it adds up to."""
    segment = open_segment(arguments)
    size = segment.size()
    with counting("rebuild", quiet=arguments.json) as progress:
        rebuild(segment, progress=lambda done: progress(done, size, f"{done} entries"))
    rebuild_predictions(segment)
    rebuild_steps(segment)
    state = graph_state(segment)
    segment.close()
    if arguments.json:
        print_json(state.to_json())
    else:
        print(f"rebuilt: {state.tree_size} entries under fold version {state.fold_version}")
        print(f"  graph {state.graph_digest}")
    return 0
