"""Print what an environment needs so that every Python program in it is captured by itself.

    eval "$(lodeline autocapture)"     # a shell, from here on
    lodeline autocapture --plain       # NAME=value lines: Docker's --env-file, systemd, .env

Nothing is installed and no file of an interpreter changes: a folder of Lodeline's stands first on
PYTHONPATH, and Python itself runs the `sitecustomize` in it at its start. To undo it, unset the
variables; LODELINE_DISABLED=1 turns it off for one program.
"""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentParser, Namespace

from lodeline.capture import adapters, process
from lodeline.capture.journal import journal_directory
from lodeline.cli.answers import print_json
from lodeline.settings import find_setting, store_url
from lodeline.spool import spool_directory


def configure(parser: ArgumentParser) -> None:
    """Add the forms."""
    parser.add_argument(
        "--plain", action="store_true", help="lines NAME=value, in place of shell commands"
    )


def execute(arguments: Namespace) -> int:
    """Print the variables."""
    variables = _variables(arguments)
    if arguments.json:
        print_json(variables)
        return 0
    for name, value in variables.items():
        if arguments.plain:
            sys.stdout.write(f"{name}={value}\n")
        else:
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


def _variables(arguments: Namespace) -> dict[str, str]:
    spool = spool_directory(store_url(arguments.store))
    folder = process.bootstrap_folder()
    inherited = [
        entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry != folder
    ]
    pairs = adapters.read_entry_points().items()
    return {
        "PYTHONPATH": os.pathsep.join([folder, *filter(None, inherited)]),
        "LODELINE_AUTOCAPTURE": "1",
        process.JOURNALS: journal_directory(str(spool)),
        process.NAMESPACE: find_setting("namespace") or "default",
        adapters.VARIABLE: ",".join(f"{trigger}={target}" for trigger, target in pairs),
    }
