"""Write a pack that proves a trace answer to someone without store, network or account.

It holds the answer, every entry of the log about every node that the answer visits, the proofs
that they are in the log and that none was left out, the signed checkpoint, keys by fingerprint, a
summary and a draft certificate to read, and the verifier. `lodeline verify PACK` checks it. With
`--server` the pack is made there; where several segments know the node, `--segment` names one.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.asking import add_moment_options
from lodeline.cli.progress import counting
from lodeline.cli.served import download, find_server
from lodeline.errors import UsageError
from lodeline.proof.packs import decode_pack, encode_pack, read_json


def configure(parser: ArgumentParser) -> None:
    """Add the options of `evidence`."""
    parser.add_argument("id", metavar="ID", help="kind:namespace:name[#version]")
    parser.add_argument("-o", "--output", metavar="PACK", required=True, help="the zip to write")
    add_question_options(parser)


def add_question_options(parser: ArgumentParser) -> None:
    """Add what a provable question takes."""
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--up", action="store_true", help="sources (default)")
    direction.add_argument("--down", action="store_true", help="what depends on it")
    direction.add_argument("--both", action="store_true", help="both closures")
    parser.add_argument("--depth", type=int, metavar="N", help="derivations to walk (default: all)")
    parser.add_argument("--columns", action="store_true", help="walk columns, not datasets")
    add_moment_options(parser)


def question_of(arguments: Namespace) -> dict[str, Any]:
    """Give the parameters that the options say."""
    names = ("id", "up", "down", "both", "depth", "columns", "as_of", "valid_at")
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value not in (None, False)}


def execute(arguments: Namespace) -> int:
    """Collect, verify once, and write."""
    # Only here: commands that write no pack do not load what collects one.
    from lodeline.evidence import build_pack

    output = Path(arguments.output)
    if output.is_dir() or not output.parent.is_dir():
        raise UsageError(f"{output}: not a file that can be written")
    server = find_server(arguments)
    if server is not None:
        asked = question_of(arguments) | (
            {"segment": arguments.segment} if arguments.segment else {}
        )
        path = f"/api/v2/evidence?{urlencode(asked)}"
        download(server, path, output)
        data = output.read_bytes()
        _tell(arguments, output, decode_pack(data), len(data))
        return 0
    if arguments.segment is not None:
        raise UsageError("--segment is of a service: name it with --server")
    segment = open_segment(arguments)
    try:
        with counting("evidence", quiet=arguments.json) as progress:
            files = build_pack(
                segment,
                question_of(arguments),
                progress=lambda done, total: progress(done, total, f"{done} entries"),
            )
    finally:
        segment.close()
    data = encode_pack(files)
    # A pack that a crash cut short would look like one that somebody cut short.
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(output)
    _tell(arguments, output, files, len(data))
    return 0


def _tell(arguments: Namespace, output: Path, files: Mapping[str, bytes], byte_count: int) -> None:
    answer = read_json(files["answer.json"], "answer.json")
    written = {
        "pack": str(output),
        "bytes": byte_count,
        "root": answer["root"],
        "tree_size": read_json(files["manifest.json"], "manifest.json")["tree_size"],
        "entries": files["entries.ndjson"].count(b"\n"),
        "nodes": len(answer["nodes"]),
        "edges": len(answer["edges"]),
        "complete": answer["complete"],
    }
    if arguments.json:
        print_json(written)
        return
    state = "complete" if answer["complete"] else f"{len(answer['gaps'])} known gaps"
    print(
        f"{output}: {written['nodes']} nodes, {written['edges']} edges, {state}; "
        f"{written['entries']} entries under tree size {written['tree_size']}, {byte_count} bytes"
    )
    print(f"  next: lodeline verify {output}")
