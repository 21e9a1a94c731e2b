"""Model bundles hold what readers of OpenSSF model signing expect, and contradict nothing."""

import contextlib
import json
import os
import random
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lodeline.attest.ecdsa import EcdsaSigner
from lodeline.attest.model_bundles import (
    MEDIA_TYPE,
    Manifest,
    manifest_statement,
    public_key_hint,
    sign_model,
    verify_model,
)
from lodeline.cli.model_folders import differences, read_manifest
from lodeline.errors import (
    MalformedEnvelopeError,
    MalformedStatementError,
    ProofError,
    SignatureError,
    UnsignableFileError,
)
from lodeline.proof import Signer
from lodeline.proof.statements import parse_statement
from lodeline.store.statements import read_statement

KEY = EcdsaSigner.from_seed(b"k" * 48, name="models")
OTHER = EcdsaSigner.from_seed(b"o" * 48, name="models")
JAVASCRIPT = Path(__file__).parents[2] / "javascript"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "late"
    for name, text in {"weights.bin": "w", "a/b.txt": "b", "a.txt": "a", ".git/HEAD": "x"}.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(text)
    return model


def changed(bundle: str, change: Callable[[dict[str, Any]], object]) -> str:
    value = json.loads(bundle)
    change(value)
    return json.dumps(value)


def test_a_bundle_gives_back_the_manifest_that_was_signed(folder: Path) -> None:
    manifest = read_manifest(folder)
    # Ordered by the parts of paths, not by their characters: `a/b` comes before `a.txt`.
    assert [path for path, _ in manifest.files] == ["a/b.txt", "a.txt", "weights.bin"]
    assert verify_model(sign_model(manifest, KEY), KEY.verifier) == manifest
    value = json.loads(sign_model(manifest, KEY))
    assert value["mediaType"] == MEDIA_TYPE
    assert value["verificationMaterial"] == {
        "publicKey": {"hint": public_key_hint(KEY.verifier)},
        "tlogEntries": [],
    }


def test_a_folder_that_changed_is_told_file_by_file(folder: Path) -> None:
    signed = read_manifest(folder)
    assert differences(signed, read_manifest(folder)) == []
    (folder / "weights.bin").write_text("W")
    (folder / "a.txt").unlink()
    (folder / "c.txt").write_text("c")
    assert differences(signed, read_manifest(folder)) == [
        "missing: a.txt",
        "not signed: c.txt",
        "changed: weights.bin",
    ]


@pytest.mark.parametrize("name", ["link", "a/link", "linked folder"])
def test_a_symbolic_link_is_not_signed(folder: Path, name: str) -> None:
    target = folder / "a" if "folder" in name else folder / "a.txt"
    (folder / name).symlink_to(target)
    with pytest.raises(UnsignableFileError, match="symbolic link"):
        read_manifest(folder)


def test_what_is_neither_file_nor_folder_is_not_signed(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(UnsignableFileError):
        read_manifest(folder)
    with pytest.raises(MalformedStatementError):
        sign_model(Manifest.of("empty", {}, ()), KEY)


def test_a_bundle_by_another_key_or_of_another_kind_is_refused(folder: Path) -> None:
    bundle = sign_model(read_manifest(folder), KEY)
    with pytest.raises(SignatureError):
        verify_model(bundle, OTHER.verifier)
    without_hint = changed(bundle, lambda v: v["verificationMaterial"]["publicKey"].pop("hint"))
    verify_model(without_hint, KEY.verifier)
    with pytest.raises(SignatureError):
        verify_model(without_hint, OTHER.verifier)
    with pytest.raises(MalformedEnvelopeError):
        sign_model(read_manifest(folder), Signer("ada", b"a" * 32))


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(mediaType="application/json"),
        lambda v: v.update(verificationMaterial={"certificate": {"rawBytes": "AA=="}}),
        lambda v: v.pop("dsseEnvelope"),
        lambda v: v["dsseEnvelope"].update(payloadType="text/plain"),
        lambda v: v["dsseEnvelope"]["signatures"].clear(),
        lambda v: v["dsseEnvelope"]["signatures"][0].update(sig="AAAA"),
        lambda v: v["dsseEnvelope"].update(
            payload=b64encode(
                b64decode(v["dsseEnvelope"]["payload"]).replace(b"late", b"lake")
            ).decode()
        ),
    ],
)
def test_a_changed_bundle_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    bundle = sign_model(read_manifest(folder), KEY)
    with pytest.raises(ProofError):
        verify_model(changed(bundle, change), KEY.verifier)


def test_a_manifest_that_contradicts_its_subject_is_refused(folder: Path) -> None:
    manifest = read_manifest(folder)

    class Liar:
        verifier = KEY.verifier

        def sign(self, message: bytes) -> bytes:
            # Signs the manifest of another folder, as a careless tool would.
            return KEY.sign(message.replace(manifest.files[0][1].encode(), b"0" * 64))

    value = json.loads(sign_model(manifest, Liar()))
    payload = b64decode(value["dsseEnvelope"]["payload"])
    value["dsseEnvelope"]["payload"] = b64encode(
        payload.replace(manifest.files[0][1].encode(), b"0" * 64)
    ).decode()
    with pytest.raises(MalformedStatementError, match="not that of the listed files"):
        verify_model(json.dumps(value), KEY.verifier)


def test_mutated_bundles_raise_only_our_errors_and_none_changes_the_manifest(folder: Path) -> None:
    chance = random.Random(11)
    manifest = read_manifest(folder)
    sound = sign_model(manifest, KEY).encode()
    for _ in range(2_000):
        raw = bytearray(sound)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(raw))
            if chance.random() < 0.5:
                raw[at] = chance.randrange(256)
            else:
                del raw[at : at + chance.randrange(1, 30)]
        try:
            found = verify_model(bytes(raw), KEY.verifier)
        except ProofError:
            continue
        assert found == manifest


def test_mutated_statements_raise_only_our_errors() -> None:
    chance = random.Random(13)
    payload = manifest_statement(Manifest.of("late", {"a": "a" * 64, "b": "b" * 64}, ()))
    for _ in range(2_000):
        raw = bytearray(payload)
        for _ in range(chance.randrange(1, 4)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        with contextlib.suppress(ProofError):
            parse_statement(bytes(raw))
        record = b'{"envelope":%b,"subjects":["a"]}' % bytes(raw)
        with contextlib.suppress(ProofError):
            read_statement(record)


@pytest.fixture(scope="module")
def node() -> str:
    program = shutil.which("node")
    if program is None or not (JAVASCRIPT / "node_modules" / "@sigstore").is_dir():
        message = "no node, or no packages for it: `make javascript` installs them"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return program


def test_the_packages_of_sigstore_read_and_verify_a_bundle(
    node: str, folder: Path, tmp_path: Path
) -> None:
    bundle = sign_model(read_manifest(folder), KEY)
    (tmp_path / "model.sig").write_text(bundle)
    (tmp_path / "key.pem").write_text(KEY.verifier.pem)
    (tmp_path / "other.pem").write_text(OTHER.verifier.pem)

    def verify(key: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [node, "verify_bundle.js", tmp_path / "model.sig", tmp_path / key],
            cwd=JAVASCRIPT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = verify("key.pem")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predicateType"] == "https://model_signing/signature/v1.0"
    assert verify("other.pem").returncode == 1

    def forge(value: dict[str, Any]) -> None:
        payload = b64decode(value["dsseEnvelope"]["payload"]).replace(b"late", b"lake")
        value["dsseEnvelope"]["payload"] = b64encode(payload).decode()

    (tmp_path / "model.sig").write_text(changed(bundle, forge))
    done = verify("key.pem")
    assert (done.returncode, "signature does not verify" in done.stderr) == (1, True)
