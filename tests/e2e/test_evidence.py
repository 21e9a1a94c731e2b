"""A pack as its reader meets it: on another machine, with other tools, in an unkind form."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from black_box import Shell
from going import Verify, pack_proofs

VERSION = {
    "_producer": "https://example.org/p",
    "_schemaURL": "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json",
    "datasetVersion": "sha256:" + "5a" * 32,
}
FIXTURES = Path(__file__).parents[1] / "fixtures" / "events"
SOURCE = Path(__file__).parents[2] / "src" / "lodeline"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, Path, str]:
    shell = Shell(tmp_path_factory.mktemp("evidence"))
    files = sorted(str(path) for path in FIXTURES.rglob("*.jsonl"))
    assert shell.run("import", *files).returncode == 0
    found = shell.json("search", "customers")["results"]
    root = next(one["id"] for one in found if one["kind"] == "dataset")
    pack = shell.folder / "pack.zip"
    told = shell.json("evidence", root, "--both", "-o", pack)
    assert told["entries"] > 3
    assert told["bytes"] == pack.stat().st_size
    return shell, pack, root


def test_a_pack_verifies_where_there_is_no_store(packed: Any, tmp_path: Path) -> None:
    _, pack, _ = packed
    elsewhere = Shell(tmp_path)
    shutil.copy(pack, tmp_path / "given.zip")
    verdict = elsewhere.json("verify", tmp_path / "given.zip")
    assert (verdict["ok"], verdict["trust"], verdict["failures"]) == (True, "self", [])
    assert all(
        verdict["checked"][name] > 0 for name in ("entries", "proofs", "signatures", "payloads")
    )
    assert not (tmp_path / ".lodeline").exists()


def test_an_answer_verifies_by_its_identifier(packed: Any) -> None:
    shell, _, root = packed
    verdict = shell.json("verify", root)
    assert verdict["ok"]
    unknown = shell.run("verify", "dataset:nowhere:nothing")
    assert unknown.returncode == 1
    assert "unknown" in unknown.stderr


def test_the_policy_of_the_reader_decides(packed: Any, tmp_path: Path) -> None:
    shell, pack, _ = packed
    known = shell.json("log", "checkpoint")
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"keys": known["vkeys"], "origin": known["origin"]}))
    assert shell.json("verify", pack, "--policy", policy)["trust"] == "policy"
    policy.write_text(json.dumps({"keys": known["vkeys"], "origin": "another"}))
    assert shell.json("verify", pack, "--policy", policy, status=1)["ok"] is False
    policy.write_text(json.dumps({"keys": []}))
    assert shell.run("verify", pack, "--policy", policy).returncode == 2
    assert shell.run("verify", pack, "--policy", tmp_path / "none.json").returncode == 3
    assert shell.run("verify", tmp_path / "none.zip").returncode == 3


def test_the_verifier_in_the_pack_needs_no_installation(packed: Any, tmp_path: Path) -> None:
    _, pack, _ = packed
    with ZipFile(pack) as archive:
        archive.extractall(tmp_path / "unpacked")
    verifier = tmp_path / "unpacked" / "verifier"
    # In a process where the installed package cannot be found: only the copy beside the script.
    code = (
        "import sys, runpy; sys.path = [p for p in sys.path if 'src' not in p]; "
        f"sys.path.insert(0, {str(verifier)!r}); import lodeline; "
        f"assert lodeline.__file__.startswith({str(verifier)!r}), lodeline.__file__; "
        "sys.argv = ['verify.py', *sys.argv[1:]]; "
        f"runpy.run_path({str(verifier / 'verify.py')!r}, run_name='__main__')"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for subject in (pack, tmp_path / "unpacked"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(subject), "--json"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["ok"]


def test_a_pack_zipped_anew_is_refused_and_its_folder_verified(packed: Any, tmp_path: Path) -> None:
    shell, pack, _ = packed
    with ZipFile(pack) as archive, ZipFile(tmp_path / "anew.zip", "w", ZIP_DEFLATED) as anew:
        archive.extractall(tmp_path / "folder")
        for name in archive.namelist():
            anew.writestr(name, archive.read(name))
    refused = shell.json("verify", tmp_path / "anew.zip", status=1)
    assert refused["failures"][0]["code"] == "proof.malformed_pack"
    assert "folder" in refused["failures"][0]["found"]
    assert shell.json("verify", tmp_path / "folder")["ok"]


def test_a_pipe_in_an_unpacked_folder_is_refused_and_not_read(packed: Any, tmp_path: Path) -> None:
    shell, pack, _ = packed
    with ZipFile(pack) as archive:
        archive.extractall(tmp_path / "folder")
    os.mkfifo(tmp_path / "folder" / "more.json")
    verdict = shell.json("verify", tmp_path / "folder", status=1, timeout=60)
    assert "not a plain file" in verdict["failures"][0]["found"]


def test_proof_copied_under_another_name_needs_only_cryptography(
    packed: Any, tmp_path: Path
) -> None:
    _, pack, _ = packed
    shutil.copytree(
        SOURCE / "proof", tmp_path / "auditing", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(pack, tmp_path / "pack.zip")
    script = tmp_path / "check.py"
    script.write_text(
        "import sys\n"
        "sys.modules.update(lodeline=None, msgspec=None)\n"
        "from pathlib import Path\n"
        "from auditing import packs\n"
        "files = packs.decode_pack(Path('pack.zip').read_bytes())\n"
        "note, head = packs.find_head(files)\n"
        "entries = [packs.verify_entry(line, head) for line in packs.iter_lines(files, 'entries.ndjson')]\n"
        "keys = packs.certified_keys(entries)\n"
        "assert packs.verify_head(note, head, packs.Trust(), keys)\n"
        "packs.verify_manifest(files, keys.receipt)\n"
        "print(len(entries), 'entries in the tree of', head.size)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "entries in the tree of" in done.stdout


@pytest.mark.parametrize(
    "bytes_of",
    [
        lambda _: b"",
        lambda _: b"PK\5\6" + bytes(18),
        lambda _: os.urandom(1 << 16),
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\n",
        lambda data: data.replace(b'"index"', b'"Index"'),
    ],
)
def test_bytes_that_are_no_pack_are_a_verdict_not_a_fault(
    packed: Any, tmp_path: Path, bytes_of: Callable[[bytes], bytes]
) -> None:
    shell, pack, _ = packed
    (tmp_path / "bad.zip").write_bytes(bytes_of(pack.read_bytes()))
    done = shell.run("verify", tmp_path / "bad.zip")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_names_that_need_escaping_stand_harmless_in_the_pages(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    name = "<script>alert(1)</script>://%2F ü #" + "x" * 300
    event = {
        "eventTime": "2026-01-01T00:00:00Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "0198f000-0000-7000-8000-000000000001"},
        "job": {"namespace": "n", "name": name},
        "inputs": [{"namespace": "a://b", "name": name}],
        "outputs": [{"namespace": "a://b", "name": "out"}],
    }
    assert shell.run("import", "-", stdin=json.dumps(event)).returncode == 0
    pack = tmp_path / "odd.zip"
    shell.json("evidence", "dataset:a://b:out", "-o", pack)
    assert shell.json("verify", pack)["ok"]
    with ZipFile(pack) as archive:
        page = archive.read("summary.html").decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_statements_about_the_answer_travel_and_the_policy_may_ask_for_them(
    tmp_path: Path,
) -> None:
    shell = Shell(tmp_path)
    event = {
        "eventTime": "2026-01-01T00:00:00Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "0198f000-0000-7000-8000-000000000001"},
        "job": {"namespace": "n", "name": "j"},
        "outputs": [{"namespace": "n", "name": "out", "facets": {"version": VERSION}}],
    }
    assert shell.run("import", "-", stdin=json.dumps(event)).returncode == 0
    root = "dataset:n:out"
    made = shell.run("sign", "key", "ada.key", "--name", "ada", "--json")
    assert made.returncode == 0, made.stderr
    vkey = json.loads(made.stdout)["public_key"]
    assert shell.run("sign", "approval", root, "--by", "Ada", "--key", "ada.key").returncode == 0
    pack = tmp_path / "attested.zip"
    shell.json("evidence", root, "-o", pack)
    with ZipFile(pack) as archive:
        [name] = [one for one in archive.namelist() if one.startswith("attestations/")]
        (tmp_path / "statement.json").write_bytes(archive.read(name))
    known = shell.json("log", "checkpoint")
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"keys": known["vkeys"], "attesters": [vkey]}))
    assert shell.json("verify", pack, "--policy", policy)["ok"]
    assert shell.run("attest", "--verify", "statement.json", "--key", vkey).returncode == 0
    other = json.loads(shell.run("sign", "key", "b.key", "--name", "bob", "--json").stdout)[
        "public_key"
    ]
    policy.write_text(json.dumps({"keys": known["vkeys"], "attesters": [other]}))
    verdict = shell.json("verify", pack, "--policy", policy, status=1)
    assert [one["code"] for one in verdict["failures"]] == ["statement"]


def test_go_verifies_the_proofs_of_a_pack_as_far_as_it_reaches(
    packed: Any, go_verify: Verify, tmp_path: Path
) -> None:
    _, pack, _ = packed
    file, vkey, count = pack_proofs(pack, tmp_path / "proofs")
    done = go_verify("proofs", file, vkey)
    assert (done.returncode, done.stdout) == (0, f"{count} proofs\n")
    text = file.read_text()
    file.write_text(text[:-3] + ("0" if text[-3] != "0" else "1") + text[-2:])
    assert go_verify("proofs", file, vkey).returncode == 1
