"""Sign as a person: what no machine can know, under a name.

lodeline sign key FILE --name NAME        make a key, in a file that only you can read
lodeline sign evaluation ID --by WHO --metric NAME=VALUE …
                                          how well a model does, dated
lodeline sign approval ID --by WHO        that a dataset, model or deployment may be used, dated
lodeline sign model FOLDER                a model's files, as an OpenSSF model-signing bundle

Evaluations and approvals become entries of the log, unless --no-log is given.
"""

from __future__ import annotations

import math
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.signing import add_signing_options, find_key, sign_draft, write_text
from lodeline.errors import UnsignableFileError, UsageError
from lodeline.model import format_time, parse_time

if TYPE_CHECKING:
    from lodeline.attest.model_bundles import Manifest
    from lodeline.query.attesting import Draft
    from lodeline.store import Segment


def configure(parser: ArgumentParser) -> None:
    """Add the actions and what each needs."""
    parser.add_argument(
        "action", choices=["key", "evaluation", "approval", "model"], help="what to sign or make"
    )
    parser.add_argument("target", metavar="TARGET", help="an ID, a file or a folder: see above")
    add_signing_options(parser)
    parser.add_argument("--by", metavar="WHO", help="name of the person who signs")
    parser.add_argument("--date", metavar="T", help="day or time of the finding (default: now)")
    parser.add_argument(
        "--metric", action="append", metavar="NAME=VALUE", help="evaluation: repeatable"
    )
    parser.add_argument("--dataset", metavar="ID", help="evaluation: what it was made on")
    parser.add_argument(
        "--decision", choices=["approved", "rejected"], help="approval (default: approved)"
    )
    parser.add_argument(
        "--about",
        metavar="ID",
        help="model: log the bundle under this model, one of whose files the folder must hold",
    )
    parser.add_argument("--note", metavar="TEXT", help="conditions, reasons, purpose")
    parser.add_argument("--name", metavar="NAME", help="key: the name that it signs under")
    parser.add_argument(
        "--algorithm",
        choices=["ed25519", "ecdsa-p256"],
        default="ed25519",
        help="key: ecdsa-p256 for model folders (default: ed25519)",
    )


def execute(arguments: Namespace) -> int:
    """Make a key, or sign."""
    if arguments.action == "key":
        return _make_key(arguments)
    if arguments.action == "model":
        return _sign_model(arguments)
    drafting = _draft_evaluation if arguments.action == "evaluation" else _draft_approval
    # Whatever is wrong with the words is told before a store is opened.
    _who(arguments)
    segment = open_segment(arguments)
    try:
        _fold(segment)
        return sign_draft(arguments, segment, drafting(arguments, segment))
    finally:
        segment.close()


def _fold(segment: Segment) -> None:
    from lodeline.ingest.projection import fold_pending

    fold_pending(segment)


def _who(arguments: Namespace) -> str:
    if not arguments.by or not arguments.by.strip():
        raise UsageError(f"an {arguments.action} is signed by a person: --by 'Ada Lovelace'")
    return str(arguments.by.strip())


def _when(arguments: Namespace) -> str:
    if arguments.date is None:
        return format_time(time.time_ns() // 1_000)
    text = str(arguments.date)
    try:
        parse_time(text if len(text) > 10 else f"{text}T00:00:00Z")
    except ValueError as error:
        raise UsageError(
            f"--date takes 2026-11-27 or 2026-11-27T10:00:00Z, not {text!r}"
        ) from error
    return text


def _metrics(words: list[str]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not name or not math.isfinite(value):
            raise UsageError(f"--metric takes NAME=VALUE with a finite number, not {word!r}")
        if name in metrics:
            raise UsageError(f"--metric {name} is given twice")
        metrics[name] = value
    return metrics


def _draft_evaluation(arguments: Namespace, segment: Segment) -> Draft:
    from lodeline.query.attesting import draft_evaluation

    metrics = _metrics(arguments.metric or [])
    if not metrics:
        raise UsageError("an evaluation has at least one --metric NAME=VALUE")
    return draft_evaluation(
        segment,
        arguments.target,
        metrics=metrics,
        evaluator=_who(arguments),
        evaluated_on=_when(arguments),
        dataset=arguments.dataset,
        note=arguments.note,
    )


def _draft_approval(arguments: Namespace, segment: Segment) -> Draft:
    from lodeline.query.attesting import draft_approval

    return draft_approval(
        segment,
        arguments.target,
        decision=arguments.decision or "approved",
        approver=_who(arguments),
        decided_on=_when(arguments),
        note=arguments.note,
    )


def _make_key(arguments: Namespace) -> int:
    from lodeline.attest.ecdsa import EcdsaSigner
    from lodeline.signing import create_key

    if not arguments.name:
        raise UsageError("a key has a name: --name ada@example.com")
    path = Path(arguments.target)
    signer = create_key(path, arguments.name, algorithm=arguments.algorithm)
    verifier = signer.verifier
    public = verifier.pem if isinstance(signer, EcdsaSigner) else f"{signer.verifier.vkey}\n"  # type: ignore[union-attr]
    beside = Path(f"{path}.pub")
    write_text(str(beside), public)
    if arguments.json:
        answer = {"path": str(path), "public_path": str(beside), "name": arguments.name}
        print_json(answer | {"algorithm": arguments.algorithm, "public_key": public.strip()})
        return 0
    print(f"{path}: private key, mode 0600; keep a copy where only you can read it")
    print(f"{beside}: public key; give it to those who verify")
    print(public.strip())
    return 0


def _sign_model(arguments: Namespace) -> int:
    from lodeline.attest.ecdsa import EcdsaVerifier
    from lodeline.attest.model_bundles import IGNORED_PATHS, public_key_hint, sign_model
    from lodeline.cli.model_folders import read_manifest

    key = find_key(arguments)
    verifier = key.verifier
    if not isinstance(verifier, EcdsaVerifier):
        raise UsageError(
            "readers of model bundles accept P-256 keys only: "
            "`lodeline sign key FILE --name NAME --algorithm ecdsa-p256` makes one"
        )
    folder = Path(arguments.target).resolve()
    output = Path(arguments.output) if arguments.output else folder / "model.sig"
    inside = output.resolve().is_relative_to(folder)
    # The bundle is no part of what it signs.
    own = (output.resolve().relative_to(folder).as_posix(),) if inside else ()
    manifest = read_manifest(folder, ignored=(*IGNORED_PATHS, *own))
    bundle = sign_model(manifest, key)
    # Logged first: a refusal leaves an earlier bundle as it was.
    position = None if arguments.about is None else _log_bundle(arguments, bundle, manifest)
    write_text(str(output), bundle)
    if arguments.json:
        print_json(
            {
                "position": position,
                "file": str(output),
                "name": manifest.name,
                "digest": manifest.digest,
                "files": len(manifest.files),
                "key_hint": public_key_hint(verifier),
            }
        )
    else:
        print(f"{output}: {len(manifest.files)} files of {manifest.name}, {manifest.digest}")
        if position is not None:
            print(f"  logged as entry {position}")
    return 0


def _log_bundle(arguments: Namespace, bundle: str, manifest: Manifest) -> int:
    """Append a bundle's envelope under the recorded model whose bytes the folder holds."""
    from lodeline.attest.model_bundles import parse_bundle
    from lodeline.attest.statements import digest_of
    from lodeline.query.attesting import find_artifact
    from lodeline.store.statements import append_statement

    segment = open_segment(arguments)
    try:
        _fold(segment)
        about, model, _ = find_artifact(segment, arguments.about)
        if digest_of(model) not in dict(manifest.files).values():
            raise UnsignableFileError(arguments.target, f"holds no file with the bytes of {model}")
        envelope, _ = parse_bundle(bundle)
        return append_statement(segment, envelope, [about, model]).position
    finally:
        segment.close()
