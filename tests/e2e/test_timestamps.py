"""Timestamps of checkpoints by a real authority (OpenSSL's), checked by us and by OpenSSL."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rfc3161_client")
if shutil.which("openssl") is None:
    pytest.skip("openssl is not installed", allow_module_level=True)

from lodeline.errors import TimestampMismatchError, TimestampUnavailableError
from lodeline.evidence import build_pack
from lodeline.fold.evidence import verify_pack
from lodeline.ingest import accept
from lodeline.proof.packs import sign_manifest
from lodeline.store import AcceptedEvent, SqliteSegment, open_segment
from lodeline.tlog.timestamps import load_roots, request_timestamp, verify_timestamp
from timestamping import Authority, openssl, serving

NOTE = "a checkpoint\n1\nAAAA\n\n— a AAAA\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "honest")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "other")


@pytest.fixture(scope="module")
def answer(authority: Authority) -> bytes:
    with serving(authority.reply) as url:
        return request_timestamp(url, NOTE, roots=load_roots(str(authority.roots)))


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    with open_segment(f"sqlite:///{tmp_path}/log/s.db") as opened:
        yield opened


def lodeline(segment: SqliteSegment, *words: str, **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lodeline", *words, "--store", segment.url],
        env=os.environ | variables,
        cwd=segment.path.parent,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_openssl_verifies_our_timestamps_and_refuses_them_for_another_checkpoint(
    segment: SqliteSegment, authority: Authority, tmp_path: Path
) -> None:
    with serving(authority.reply) as url:
        status, out = lodeline(
            segment, "log", "timestamp", "--tsa", url, "--ca", str(authority.roots), "-o", "out"
        )
    assert (status, out.startswith("the tree of 2 existed at ")) == (0, True), out
    folder = segment.path.parent / "out"
    (token,) = folder.glob("2.*.tsr")
    assert token.read_bytes() == segment.timestamps(2)[0]
    words = ("ts", "-verify", "-in", token, "-CAfile", authority.roots, "-data")
    assert "Verification: OK" in openssl(*words, folder / "2.checkpoint")
    segment.append([AcceptedEvent(b"{}", [("", b"{}")])])
    (folder / "3.checkpoint").write_text(segment.checkpoint().note)
    assert "message imprint mismatch" in openssl(*words, folder / "3.checkpoint", status=1)


def test_a_timestamp_is_over_the_note_without_cosignatures(
    segment: SqliteSegment, authority: Authority
) -> None:
    from lodeline.proof import Cosigner, keep_signatures, parse_note

    with serving(authority.reply) as url:
        stamped = request_timestamp(url, segment.checkpoint().note)
    wren = Cosigner("witness.example/wren", b"w" * 32)
    text, _ = parse_note(segment.checkpoint().note)
    segment.endorsements.add_cosignatures(2, [wren.cosign(text, time_s=1)], [wren.verifier])
    witnessed = segment.witnessed_note(2)
    with pytest.raises(TimestampMismatchError):
        verify_timestamp(stamped, witnessed)
    verify_timestamp(stamped, keep_signatures(witnessed, segment.verifiers()))


def test_a_timestamp_of_something_else_is_refused(authority: Authority, answer: bytes) -> None:
    roots = load_roots(str(authority.roots))
    assert verify_timestamp(answer, NOTE, roots=roots).trusted
    for note in (NOTE + "— b AAAA\n", NOTE[:-1], ""):
        with pytest.raises(TimestampMismatchError, match="other bytes"):
            verify_timestamp(answer, note, roots=roots)


def test_an_answer_to_an_earlier_request_is_refused(authority: Authority, answer: bytes) -> None:
    """Replayed: right note, right signature, another nonce."""
    with serving(lambda _: answer) as url, pytest.raises(TimestampMismatchError, match="nonce"):
        request_timestamp(url, NOTE, roots=load_roots(str(authority.roots)))


def test_an_authority_that_is_not_trusted_is_refused(other: Authority, answer: bytes) -> None:
    roots = load_roots(str(other.roots))
    with pytest.raises(TimestampMismatchError):
        verify_timestamp(answer, NOTE, roots=roots)
    assert not verify_timestamp(answer, NOTE).trusted


@pytest.mark.parametrize(
    ("body", "status", "content"),
    [
        (b"", 200, "application/timestamp-reply"),
        (b"garbage", 200, "application/timestamp-reply"),
        (b"0" * 300_000, 200, "application/timestamp-reply"),
        (b"<html>", 200, "text/html"),
        (b"", 500, "application/timestamp-reply"),
        (b"", 302, "application/timestamp-reply"),
        # A refusal as RFC 3161 has it: status 2, no token.
        (bytes.fromhex("30053003020102"), 200, "application/timestamp-reply"),
    ],
)
def test_what_is_no_timestamp_is_told_as_such(body: bytes, status: int, content: str) -> None:
    with (
        serving(lambda _: body, status=status, content=content) as url,
        pytest.raises(TimestampUnavailableError),
    ):
        request_timestamp(url, NOTE)


def test_flipped_bytes_of_an_answer_are_refused_with_our_errors_alone(
    authority: Authority, answer: bytes
) -> None:
    roots = load_roots(str(authority.roots))
    draw, kept = random.Random(7), 0
    for _ in range(1_500):
        changed = bytearray(answer)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        try:
            found = verify_timestamp(bytes(changed), NOTE, roots=roots)
        except TimestampMismatchError:
            continue
        # Not every byte is signed (the set of certificates, for one); what is said must be so.
        kept += 1
        assert found == verify_timestamp(answer, NOTE, roots=roots)
    assert kept < 300
    for _ in range(1_500):
        changed = bytearray(answer[: draw.randrange(len(answer))])
        changed += draw.randbytes(draw.randrange(20))
        with pytest.raises(TimestampMismatchError):
            verify_timestamp(bytes(changed), NOTE, roots=roots)


def test_verify_checks_the_timestamps_and_cosignatures_that_are_kept(
    segment: SqliteSegment, authority: Authority, other: Authority
) -> None:
    with serving(authority.reply) as url:
        assert lodeline(segment, "log", "timestamp", "--tsa", url)[0] == 0
    assert lodeline(segment, "verify")[0] == 0
    trusting = {"LODELINE_TIMESTAMP_ROOTS": str(authority.roots)}
    status, out = lodeline(segment, "verify", "--json", **trusting)
    assert (status, json.loads(out)["checked"]["signatures"]) == (0, 2)
    status, out = lodeline(segment, "verify", "--json", LODELINE_TIMESTAMP_ROOTS=str(other.roots))
    assert (status, json.loads(out)["failures"][0]["code"]) == (1, "timestamp")
    with sqlite3.connect(segment.path) as connection:
        connection.execute("DROP TRIGGER timestamp_answer_refuses_update")
        connection.execute("DROP TRIGGER timestamp_answer_refuses_replace")
        connection.execute("UPDATE timestamp_answer SET answer = X'00'")
        connection.execute("INSERT INTO cosignature VALUES (2, 'a+b+c', 1, 'no line')")
        connection.execute("INSERT INTO cosignature VALUES (9, 'a+b+c', 1, 'no line')")
    status, out = lodeline(segment, "verify", "--json")
    found = [(one["code"], one["at"].rpartition(" ")[0]) for one in json.loads(out)["failures"]]
    assert status == 1
    assert found == [
        ("cosignature", "cosignature 2"),
        ("cosignature", "cosignature 9"),
        ("timestamp", "timestamp 2"),
    ]


def test_kept_timestamps_are_listed_and_none_is_no_answer(
    segment: SqliteSegment, authority: Authority
) -> None:
    assert lodeline(segment, "log", "timestamp")[0] == 3
    with serving(authority.reply) as url:
        lodeline(segment, "log", "timestamp", "--tsa", url)
    status, out = lodeline(segment, "log", "timestamp", "2", "--json", "--ca", str(authority.roots))
    (one,) = json.loads(out)["timestamps"]
    assert (status, one["ok"], one["trust"], one["size"]) == (0, True, "roots", 2)
    assert lodeline(segment, "log", "timestamp", "--ca", "/nonexistent")[0] == 2
    status, out = lodeline(segment, "log", "timestamp", "--tsa", "http://127.0.0.1:1")
    assert (status, "127.0.0.1:1" in out) == (3, True)


def test_a_pack_carries_the_timestamps_of_its_checkpoint_for_openssl(
    segment: SqliteSegment, authority: Authority, answer: bytes, tmp_path: Path
) -> None:
    event = {
        "eventTime": "2026-01-01T00:00:00Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/p",
        "run": {"runId": "0198f000-0000-7000-8000-000000000001"},
        "job": {"namespace": "n", "name": "j"},
    }
    accept(segment, [json.dumps(event).encode()])
    build_pack(segment, {"id": "job:n:j"})
    head = segment.checkpoint()
    with serving(authority.reply) as url:
        stamped = request_timestamp(url, head.note, roots=load_roots(str(authority.roots)))
        segment.endorsements.add_timestamp(head.size, stamped, url=url)
    files = build_pack(segment, {"id": "job:n:j"})
    assert json.loads(files["manifest.json"])["tree_size"] == head.size
    assert verify_pack(files).ok
    (tmp_path / "checkpoint").write_bytes(files["timestamps/checkpoint"])
    (tmp_path / "stamp.tsr").write_bytes(files["timestamps/0.tsr"])
    words = ["-data", tmp_path / "checkpoint", "-in", tmp_path / "stamp.tsr"]
    done = subprocess.run(
        ["openssl", "ts", "-verify", *words, "-CAfile", authority.roots], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    # Whoever holds the log's keys puts the stamp of other bytes in its place.
    manifest = json.loads(files.pop("manifest.json"))
    del files["manifest.sig"]
    files["timestamps/0.tsr"] = answer
    facts = {name: manifest[name] for name in ("origin", "question", "tree_size")}
    sign_manifest(files, facts, segment.keys.receipt)
    codes = {failure.code for failure in verify_pack(files).failures}
    assert "timestamp" in codes
