"""Credentials are found by their form, by their name, and by looking drawn at random."""

from __future__ import annotations

import json

import pytest

from lodeline.credentials import (
    MARK,
    is_secret_name,
    redact_arguments,
    redact_text,
    redact_value,
    scrub,
    scrub_bytes,
)
from secret_shapes import CORPUS, NAMED, TRACES

# Only their name or their place tells what they are.
GUESSED = {"aws secret key", "high entropy", "odbc", "libpq"}


@pytest.mark.parametrize("name", CORPUS)
def test_no_part_of_a_secret_is_left_in_free_text(name: str) -> None:
    text = f"it failed: {CORPUS[name]} was refused"
    redacted = redact_text(text)
    assert not any(trace in redacted for trace in TRACES[name]), redacted
    assert redacted.startswith("it failed: ")
    assert redact_text(redacted) == redacted


@pytest.mark.parametrize("name", sorted(CORPUS.keys() - GUESSED))
def test_what_has_a_form_is_taken_out_of_json_and_leaves_json(name: str) -> None:
    line = json.dumps({"a": CORPUS[name], "b": [f"x {CORPUS[name]} y", 1]})
    scrubbed = scrub_bytes(line.encode()).decode()
    assert not any(trace in scrubbed for trace in TRACES[name]), scrubbed
    assert json.loads(scrubbed)["b"][1] == 1
    assert scrub(repr(CORPUS[name])).count("'") == 2


@pytest.mark.parametrize(
    "text",
    [
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "019ac5a0-7c1d-7def-8123-456789abcdef",
        "/home/Ann/Projects/Churn2026/src/FeatureStore/build_features.py",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "max_tokens=512 pad_token=x tokenizer=bert key=amount",
        "postgresql://db.example:5432/orders",
        "wrong password for ann",
        "git@github.com:team/project.git",
        "mail ann@example.com, see https://example.com/a?b=c",
        "2026-11-27T12:27:17.123456Z",
        "def tokenize(text: str) -> list[str]:",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text


def test_a_name_tells_whether_its_value_is_secret() -> None:
    for name in ("password", "DB_PASSWORD", "--api-key", "accessToken", "aws.secret", "ssh_key"):
        assert is_secret_name(name), name
    for name in ("tokens", "max_tokens", "pad_token", "keyboard", "passenger", "author", "key"):
        assert not is_secret_name(name), name


def test_values_go_with_their_names() -> None:
    value = {"depth": 6, "db": {"password": NAMED, "host": "db"}, "retry": [True, None, 0.5]}
    assert redact_value("settings", value) == {
        "depth": 6,
        "db": {"password": MARK, "host": "db"},
        "retry": [True, None, 0.5],
    }
    assert redact_value("api_key", [NAMED, 7]) == MARK


def test_arguments_lose_their_secrets_and_keep_the_rest() -> None:
    words = ["etl.py", "--password", NAMED, f"--db-token={NAMED}", f"API_KEY={NAMED}", "-u",
             f"ann:{NAMED}", "-u", "script.py", "--rows", "3", CORPUS["url with password"]]  # fmt: skip
    assert redact_arguments(words) == [
        "etl.py", "--password", MARK, f"--db-token={MARK}", f"API_KEY={MARK}", "-u", MARK,
        "-u", "script.py", "--rows", "3", f"postgresql://{MARK}@db.example/orders",
    ]  # fmt: skip


def test_binary_hunks_of_a_patch_stay_as_they_are() -> None:
    hunk = "GIT binary patch\nliteral 30\nzcmaFAfAR7Xq7R8s9T0u1V2w3X4y5Z6a7B8c9D0\n\n"
    patch = f"{hunk}diff --git a/x b/x\n+PASSWORD = '{NAMED}'\n"
    assert redact_text(patch) == f"{hunk}diff --git a/x b/x\n+PASSWORD = '{MARK}'\n"


@pytest.mark.parametrize("name", sorted(CORPUS.keys() - GUESSED))
def test_short_and_long_texts_are_scrubbed_alike(name: str) -> None:
    # Short ones are searched once for what any form begins with.
    short = f"a {CORPUS[name]} b"
    assert scrub(short + " " * 5_000).rstrip() == scrub(short).rstrip() != short


@pytest.mark.parametrize("name", sorted(CORPUS.keys() - GUESSED))
def test_a_credential_in_one_row_of_a_batch_is_taken_out(name: str) -> None:
    rows = [{"id": f"id-{i}", "name": "ann", "score": i / 7} for i in range(200)]
    whole = json.dumps({"rows": rows}).encode()
    assert scrub_bytes(whole) == whole
    rows[120]["name"] = f"x {CORPUS[name]} y"
    scrubbed = scrub_bytes(json.dumps({"rows": rows}).encode()).decode()
    assert not any(trace in scrubbed for trace in TRACES[name])
    kept = json.loads(scrubbed)["rows"]
    assert [row for i, row in enumerate(kept) if i != 120] == [
        row for i, row in enumerate(rows) if i != 120
    ]
