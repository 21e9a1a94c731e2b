"""Sign what the record says of a node, as an in-toto statement; or verify a signed statement.

lodeline attest ID [--type T]                 sign and log what is known of a dataset, model, run
                                              or deployment
lodeline attest [ID] --verify FILE --key K    check an envelope against a public key; with an ID,
                                              that it is about that node
lodeline attest FOLDER --verify BUNDLE --key K
                                              check a model bundle, and the folder's files

Evaluations and approvals are a person's to sign: `lodeline sign`.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.signing import add_signing_options, read_text, sign_draft
from lodeline.errors import ChangedModelError, MalformedStatementError, UsageError

if TYPE_CHECKING:
    from lodeline.proof import Verifier

_TYPES = ["dataset", "model", "training", "evaluation", "deployment", "approval"]


def configure(parser: ArgumentParser) -> None:
    """Add the options of `attest`."""
    parser.add_argument("id", nargs="?", metavar="ID", help="kind:namespace:name[#version]")
    parser.add_argument(
        "--type", choices=_TYPES, help="the claim (default: by the node's kind; a run's: training)"
    )
    add_signing_options(parser)
    parser.add_argument(
        "--verify", metavar="FILE", help="check this envelope or bundle; --key is the public key"
    )


def execute(arguments: Namespace) -> int:
    """Attest, or verify."""
    if arguments.verify:
        return _verify(arguments)
    if arguments.id is None:
        raise UsageError("name what to attest: lodeline attest ID")
    if arguments.type in {"evaluation", "approval"}:
        raise UsageError(
            f"an {arguments.type} is a person's to sign: lodeline sign {arguments.type} ID --by WHO"
        )
    from lodeline.ingest.projection import fold_pending
    from lodeline.query.attesting import draft_statement

    segment = open_segment(arguments)
    try:
        fold_pending(segment)
        draft = draft_statement(segment, arguments.id, arguments.type)
        return sign_draft(arguments, segment, draft)
    finally:
        segment.close()


def _verify(arguments: Namespace) -> int:
    from lodeline.attest.ecdsa import EcdsaVerifier
    from lodeline.attest.model_bundles import is_bundle
    from lodeline.proof.strict_json import parse_strictly
    from lodeline.signing import load_verifier

    if arguments.key is None:
        raise UsageError("name the public key to verify with: --key VKEY or --key FILE")
    verifier = load_verifier(arguments.key)
    raw = read_text(arguments.verify)
    try:
        bundle = is_bundle(parse_strictly(raw))
    except ValueError:
        bundle = False  # the parser of envelopes says what is wrong
    if not bundle:
        return _verify_statement(arguments, raw, verifier)
    if not isinstance(verifier, EcdsaVerifier):
        raise UsageError("a model bundle is verified with a P-256 key in PEM")
    return _verify_bundle(arguments, raw, verifier)


def _verify_statement(arguments: Namespace, raw: str, verifier: Verifier | Any) -> int:
    from lodeline.attest import check_predicate
    from lodeline.proof.dsse import key_hint, parse_envelope, verify_envelope
    from lodeline.proof.statements import PAYLOAD_TYPE, statement_of

    envelope = parse_envelope(raw)
    (signer,) = verify_envelope(envelope, [verifier], payload_types={PAYLOAD_TYPE})
    statement = statement_of(envelope)
    check_predicate(statement.predicate_type, statement.predicate)
    names = [subject.name for subject in statement.subjects]
    if arguments.id is not None and not any(
        arguments.id in {name, name.partition("#")[0]} for name in names
    ):
        raise MalformedStatementError(f"the statement is about {', '.join(names)}")
    if arguments.json:
        print_json(
            {
                "ok": True,
                "signers": [key_hint(signer)],
                "predicate_type": statement.predicate_type,
                "subjects": [
                    {"name": one.name, "digest": dict(one.digest)} for one in statement.subjects
                ],
                "predicate": statement.predicate,
            }
        )
        return 0
    print(f"verified: signed by {signer.name}: {statement.predicate_type}")
    for name in names:
        print(f"  about {name}")
    return 0


def _verify_bundle(arguments: Namespace, raw: str, verifier: Any) -> int:
    from lodeline.attest.model_bundles import verify_model
    from lodeline.cli.model_folders import differences, read_manifest

    signed = verify_model(raw, verifier)
    if arguments.id is not None:
        found = read_manifest(Path(arguments.id), ignored=signed.ignored)
        changed = differences(signed, found)
        if changed:
            raise ChangedModelError(arguments.id, tuple(changed))
    if arguments.json:
        answer = {"ok": True, "name": signed.name, "digest": signed.digest}
        print_json(answer | {"files": len(signed.files), "compared": arguments.id is not None})
        return 0
    print(f"verified: {len(signed.files)} files of {signed.name}, {signed.digest}")
    if arguments.id is None:
        print("  the files themselves were not compared; name their folder to do so")
    return 0
