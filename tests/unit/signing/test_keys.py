"""Signing keys are made tight, found by reference, and never shown."""

import logging
import os
import pickle
import stat
import subprocess
from pathlib import Path

import pytest

from lodeline.attest.ecdsa import EcdsaSigner
from lodeline.errors import LodelineError, SigningKeyError, UsageError
from lodeline.proof import Signer
from lodeline.signing import TokenKey, create_key, load_key, load_verifier
from lodeline.store.keys import create_keys


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_a_key_is_made_for_its_owner_alone_and_found_again(tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "keys" / "of" / "ada.key"
    old = os.umask(0)
    try:
        made = create_key(path, "ada", algorithm=algorithm)
    finally:
        os.umask(old)
    assert (mode(path), mode(path.parent), mode(path.parent.parent)) == (0o600, 0o700, 0o700)
    found = load_key(str(path))
    assert found.verifier.public == made.verifier.public
    found.verifier.verify(b"message", made.sign(b"message"))
    with pytest.raises(SigningKeyError, match="never overwritten"):
        create_key(path, "ada", algorithm=algorithm)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ada.key"
    create_key(path, "ada")
    path.chmod(0o640)
    with pytest.raises(SigningKeyError, match="read by others") as caught:
        load_key(str(path))
    assert caught.value.next_step == f"chmod 600 {path}"


def test_a_key_comes_from_the_environment(tmp_path: Path) -> None:
    signer = Signer("ada", b"a" * 32)
    found = load_key("env:KEY", environment={"KEY": signer.text + "\n"})
    assert found.verifier == signer.verifier
    pem = EcdsaSigner.from_seed(b"k" * 48, name="x").text
    assert isinstance(load_key("env:KEY", environment={"KEY": pem}), EcdsaSigner)
    with pytest.raises(SigningKeyError, match="is not set"):
        load_key("env:KEY", environment={})


def test_a_secret_appears_in_no_message_and_no_repr(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    signer = create_key(tmp_path / "ada.key", "ada")
    other = create_key(tmp_path / "p256.key", "p", algorithm="ecdsa-p256")
    # The secret itself may hold a "+".
    secret = signer.text.split("+", 4)[4]
    lines = "".join(other.text.splitlines()[1:-1])
    ring = create_keys(tmp_path / "ring", "lodeline.local/1", lambda count: b"\x07" * count)
    shown = [repr(signer), repr(other), str(signer), repr(ring), repr(load_key(str(tmp_path / "ada.key")))]  # fmt: skip
    damaged = {"A": signer.text[:-8], "B": other.text.replace("A", "B"), "C": "x" + signer.text}
    for reference in ["env:A", "env:B", "env:C", signer.text, other.text]:
        with pytest.raises(LodelineError) as caught:
            load_key(reference, environment=damaged)
        shown += [str(caught.value), repr(caught.value), str(pickle.dumps(caught.value))]
    for text in [*shown, caplog.text]:
        assert secret[4:20] not in text
        assert lines[40:60] not in text
        assert repr(b"\x07" * 32) not in text


def test_a_name_that_no_note_could_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        create_key(tmp_path / "a.key", "Ada Lovelace")
    assert not (tmp_path / "a.key").exists()


def test_a_public_key_is_read_as_vkey_or_file_and_a_private_one_refused(tmp_path: Path) -> None:
    signer = create_key(tmp_path / "ada.key", "ada")
    pem = create_key(tmp_path / "p.key", "p", algorithm="ecdsa-p256")
    assert isinstance(signer, Signer)
    assert isinstance(pem, EcdsaSigner)
    (tmp_path / "ada.pub").write_text(signer.verifier.vkey + "\n")
    (tmp_path / "p.pub").write_text(pem.verifier.pem)
    assert load_verifier(signer.verifier.vkey) == signer.verifier
    assert load_verifier(str(tmp_path / "ada.pub")) == signer.verifier
    assert load_verifier(str(tmp_path / "p.pub")).public == pem.verifier.public
    for private in ("ada.key", "p.key", "none"):
        with pytest.raises(SigningKeyError):
            load_verifier(str(tmp_path / private))


def test_any_token_of_the_shape_of_pkcs11_can_sign() -> None:
    signer = Signer("ada", b"a" * 32)

    class Key:
        label = "ada"
        algorithm = "ed25519"
        public = signer.verifier.public

        def sign(self, message: bytes) -> bytes:
            return signer.sign(message)

    class Session:
        def find_key(self, label: str) -> TokenKey | None:
            return Key() if label == "ada" else None

    opened = []

    def opening(uri: str) -> Session:
        opened.append(uri)
        return Session()

    uri = "pkcs11:token=t;object={}?module-path=/lib/x.so"
    found = load_key(uri.format("ada"), opening=opening)
    assert found.verifier == signer.verifier
    assert opened == [uri.format("ada")]
    with pytest.raises(SigningKeyError, match="no such key"):
        load_key(uri.format("ben"), opening=opening)


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:object=a?module-path=/x.so",
        "pkcs11:token=t;object=a",
        "pkcs11:token=t;object=a?module-path=/x.so&pin-value=1234",
        "pkcs11:token=t;object=a?module-path=/none.so",
        "pkcs11:token=t;object=a?module-path=/none.so&pin-source=env:NOBODY",
        "pkcs11:token=t;object=a?module-path=/none.so&pin-source=/none",
    ],
)
def test_an_address_that_leads_to_no_token_says_why_and_tells_no_pin(uri: str) -> None:
    pytest.importorskip("pkcs11")
    with pytest.raises(SigningKeyError) as caught:
        load_key(uri)
    assert "1234" not in str(caught.value)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token of SoftHSM with a key of each kind; gives the start of its URI."""
    libraries = [
        Path(folder) / "softhsm" / "libsofthsm2.so"
        for folder in ("/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib", "/usr/lib64")
    ]
    module = next((path for path in libraries if path.exists()), None)
    if module is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no SoftHSM: apt-get install softhsm2")
        pytest.skip("no SoftHSM: apt-get install softhsm2")
    pytest.importorskip("pkcs11")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "t", "--pin", "1234", "--so-pin", "5678"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("TOKEN_PIN", "1234")
    return str(module)


MAKE_KEYS = """
import sys, pkcs11
from pkcs11.util.ec import encode_named_curve_parameters
from pkcs11 import Attribute, KeyType, Mechanism
session = pkcs11.lib(sys.argv[1]).get_token(token_label="t").open(rw=True, user_pin="1234")
for label, kind, parameters, mechanism in (
    ("ada", KeyType.EC_EDWARDS, bytes.fromhex("130c656477617264733235353139"), Mechanism.EC_EDWARDS_KEY_PAIR_GEN),
    ("models", KeyType.EC, encode_named_curve_parameters("secp256r1"), Mechanism.EC_KEY_PAIR_GEN),
):
    domain = session.create_domain_parameters(kind, {Attribute.EC_PARAMS: parameters}, local=True)
    domain.generate_keypair(mechanism=mechanism, store=True, label=label)
"""


def test_a_key_signs_inside_softhsm_and_verifies_outside(token: str) -> None:
    import sys

    subprocess.run([sys.executable, "-c", MAKE_KEYS, token], check=True)
    # In a process of its own: a PKCS#11 module is initialised once, under the environment of then.
    script = (
        "import sys\n"
        "from lodeline.signing import load_key\n"
        "for label in ('ada', 'models'):\n"
        "    uri = f'pkcs11:token=t;object={label}?module-path={sys.argv[1]}&pin-source=env:TOKEN_PIN'\n"
        "    key = load_key(uri)\n"
        "    key.verifier.verify(b'message', key.sign(b'message'))\n"
        "    print(type(key.verifier).__name__, key.verifier.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, token], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[:2] == ["Verifier ada", "EcdsaVerifier models"], done.stderr
