"""Accounts and dead letters stay within their bounds, whatever producers call themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodeline.errors import InvalidEventError
from lodeline.ingest import Submission, accept
from lodeline.limits import ACCOUNT_TEXT_MAX, ACCOUNTS_MAX, DEAD_LETTERS_MAX
from lodeline.store import Refusal, Segment, open_segment
from lodeline.store.accounts import list_accounts
from lodeline.store.senders import Sender
from stores import Place


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    opened = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    yield opened
    opened.close()


def submission(producer: str, caller: str | None = None) -> Submission:
    stated = {
        "eventTime": "2026-11-01T10:00:00Z",
        "producer": producer,
        "job": {"namespace": "n", "name": producer[:100]},
    }
    sender = None if caller is None else Sender(f"id of {caller}", caller)
    return Submission(json.dumps(stated).encode(), sender=sender)


def test_too_many_producers_are_counted_together(segment: Segment) -> None:
    sent = [submission(f"p{number}") for number in range(ACCOUNTS_MAX + 50)]
    accept(segment, sent, fold=False)
    accounts = list_accounts(segment)
    assert len(accounts) == ACCOUNTS_MAX + 1
    assert sum(account.accepted for account in accounts) == ACCOUNTS_MAX + 50
    [other] = [account for account in accounts if account.key.producer == "other"]
    assert other.accepted == 50


def test_callers_have_accounts_of_their_own(segment: Segment) -> None:
    accept(segment, [submission("p", "airflow"), submission("q", "dbt")], fold=False)
    accept(segment, [submission("p", "dbt")], fold=False)
    found = {
        account.key: (account.accepted, account.duplicates) for account in list_accounts(segment)
    }
    assert found == {
        ("p", "n", "airflow"): (1, 0),
        ("q", "n", "dbt"): (1, 0),
        ("p", "n", "dbt"): (0, 1),
    }


def test_a_long_name_is_cut(segment: Segment) -> None:
    accept(segment, [submission("x" * 10_000)], fold=False)
    assert [len(account.key.producer) for account in list_accounts(segment)] == [ACCOUNT_TEXT_MAX]


@pytest.mark.parametrize("member", [r"a\u0000b", r"a\ud800b", "\U0001f600" * 600])
def test_a_refusal_is_counted_whatever_it_claims(place: Place, member: str) -> None:
    raw = '{"producer": "PLACE", "job": {"namespace": "PLACE"}}'.replace("PLACE", member)
    with place.open() as opened:
        result = accept(opened, [Submission(raw.encode(), sender=Sender("id", "name"))], fold=False)
        assert result.refused == 1
        assert [account.refused for account in list_accounts(opened)] == [1]


def test_letters_beyond_the_bound_are_counted_and_not_kept(segment: Segment) -> None:
    with segment.writing() as connection:
        connection.execute(
            "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?) "
            "INSERT INTO dead_letter(digest, byte_count, raw, code, path, message, source, "
            "first_seen, last_seen, times) SELECT CAST(n AS BLOB), 1, NULL, 'event.json', '', '', "
            "'', 0, 0, 1 FROM number",
            (DEAD_LETTERS_MAX - 3,),
        )
    fault = InvalidEventError("event.json", "", "not JSON")
    letters = segment.add_dead_letters([Refusal(b"%d" % i, fault) for i in range(5)])
    assert [letter.letter_id > 0 for letter in letters] == [True] * 3 + [False] * 2
    assert segment.count_dead_letters() == DEAD_LETTERS_MAX
    [again] = segment.add_dead_letters([Refusal(b"0", fault)])
    assert (again.letter_id, again.times) == (letters[0].letter_id, 2)
    segment.resolve_dead_letter(again.letter_id)
    [kept] = segment.add_dead_letters([Refusal(b"4", fault)])
    assert kept.letter_id > 0
