"""What `sign` and `attest` share: the key, the signature, the log, and what is printed."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lodeline.cli.answers import print_json
from lodeline.errors import UsageError
from lodeline.settings import find_setting

if TYPE_CHECKING:
    from lodeline.query.attesting import Draft
    from lodeline.signing import SigningKey
    from lodeline.store import Segment


def add_signing_options(parser: ArgumentParser) -> None:
    """Add the options of whatever signs a statement."""
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="the key: a path, env:NAME, or a pkcs11: URI (LODELINE_SIGNING_KEY)",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the envelope there, not to standard output"
    )
    parser.add_argument(
        "--no-log", action="store_true", help="do not append the statement to the log"
    )


def find_key(arguments: Namespace) -> SigningKey:
    """Load the key that the options or the settings name.

    Raises:
        UsageError: none is named.
        SigningKeyError: it is not there, exposed, or not a key.
    """
    from lodeline.signing import load_key

    reference = find_setting("signing_key", argument=arguments.key)
    if reference is None:
        raise UsageError("name a key: --key KEY; `lodeline sign key FILE --name NAME` makes one")
    return load_key(reference)


def sign_draft(arguments: Namespace, segment: Segment, draft: Draft) -> int:
    """Sign a draft, log it unless told otherwise, and print or write the envelope."""
    from lodeline.proof.dsse import envelope_to_json, format_envelope, key_hint, sign_envelope
    from lodeline.proof.statements import PAYLOAD_TYPE, statement_of
    from lodeline.store.statements import append_statement

    key = find_key(arguments)
    envelope = sign_envelope(draft.payload, PAYLOAD_TYPE, [key])
    position = None
    # Written before it is logged: what fails here leaves no entry behind that nobody holds.
    if arguments.output:
        write_text(arguments.output, format_envelope(envelope))
    if not arguments.no_log:
        position = append_statement(segment, envelope, draft.subjects).position
    statement = statement_of(envelope)
    if arguments.json:
        print_json(
            {
                "predicate_type": statement.predicate_type,
                "subjects": [one.name for one in statement.subjects],
                "signer": key_hint(key.verifier),
                "position": position,
                "file": arguments.output,
                "envelope": envelope_to_json(envelope),
            }
        )
        return 0
    if not arguments.output:
        print(format_envelope(envelope), end="")
    told = sys.stdout if arguments.output else sys.stderr
    print(f"signed by {key.verifier.name}: {statement.predicate_type}", file=told)
    for subject in statement.subjects:
        print(f"  about {subject.name}", file=told)
    print(f"  logged as entry {position}" if position is not None else "  not logged", file=told)
    return 0


def write_text(path: str, text: str) -> None:
    """Write an answer to a file.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def read_text(path: str) -> str:
    """Read a file that a reader was handed.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
