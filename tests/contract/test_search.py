"""Searches find nodes by what they are called and what is said of them, indexed or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lodeline.errors import UsageError
from lodeline.ingest import accept, rebuild
from lodeline.limits import SEARCH_MATCHES_MAX
from lodeline.model import NodeId
from lodeline.query import ask
from lodeline.query.consulting import consult
from lodeline.query.permission import OPEN
from lodeline.query.search_index import catch_up, index_state
from lodeline.query.search_matches import Matches
from lodeline.query.search_terms import mark
from lodeline.store import Segment, SqlSegment, open_segment
from lodeline.store.connections import Connection
from lodeline.store.erasing import erase
from lodeline.store.postgres_database import PostgresConnection
from lodeline.store.search_tables import search_tables
from postgres_servers import Server
from stores import Place

FACET = {"_producer": "https://example.org", "_schemaURL": "https://example.org/f.json"}


def tagged(*labels: str) -> dict[str, Any]:
    tags = [dict(zip(("key", "value"), label.split("="), strict=False)) for label in labels]
    return {"tags": FACET | {"tags": [{"value": "true"} | tag for tag in tags]}}


def owned(*names: str) -> dict[str, Any]:
    return {"ownership": FACET | {"owners": [{"name": name} for name in names]}}


def documented(text: str) -> dict[str, Any]:
    return {"documentation": FACET | {"description": text}}


def columns(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"schema": FACET | {"fields": list(fields)}}


def dataset(name: str, *facets: dict[str, Any], namespace: str = "db") -> dict[str, Any]:
    together = {key: body for facet in facets for key, body in facet.items()}
    return {"namespace": namespace, "name": name, "facets": together}


def event(
    *outputs: dict[str, Any], job: str = "load", time: str = "2026-01-01T00:00:00Z", **facets: Any
) -> bytes:
    return json.dumps(
        {
            "eventTime": time,
            "eventType": "COMPLETE",
            "producer": "https://example.org",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": f"00000000-0000-4000-8000-{abs(hash((job, time))) % 10**12:012d}"},
            "job": {"namespace": "etl", "name": job, "facets": facets},
            "outputs": list(outputs),
        }
    ).encode()


WAREHOUSE = [
    event(
        dataset("public.orders", owned("team:sales"), documented("What customers bought")),
        dataset("public.orders_archive", tagged("retired")),
        dataset(
            "public.late_orders",
            columns(
                {"name": "days_late", "type": "DECIMAL(9,2)", "description": "Gross of weekends"}
            ),
        ),
        dataset("public.preorders"),
        dataset("public.customerProfile", tagged("pii", "domain=crm"), owned("team:crm")),
        dataset("lake/events/clicks.parquet", namespace="bucket"),
        job="load_orders",
        jobType=FACET | {"processingType": "BATCH", "integration": "SPARK", "jobType": "JOB"},
    ),
    event(dataset("public.país", documented("Ländercodes")), job="reference"),
]


STORES = ("sqlite", "postgres15")


def place_of(kind: str, folder: Path, postgres_of: Callable[[str], Server]) -> Place:
    server = postgres_of(kind.removeprefix("postgres")) if kind != "sqlite" else None
    return Place(kind, folder, server)


@pytest.fixture(params=STORES)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_of: Callable[[str], Server]
) -> Iterator[Place]:
    made = place_of(request.param, tmp_path, postgres_of)
    yield made
    made.drop()


@pytest.fixture(params=[("sqlite", "indexed"), ("sqlite", "scanned"), ("postgres15", "indexed")])
def segment(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_of: Callable[[str], Server]
) -> Iterator[SqlSegment]:
    kind, how = request.param
    made = place_of(kind, tmp_path, postgres_of)
    opened = made.open()
    accept(opened, WAREHOUSE)
    if how == "indexed":
        assert catch_up(opened, seconds=60)
    yield opened
    opened.close()
    made.drop()


@pytest.fixture
def indexed(place: Place) -> Iterator[SqlSegment]:
    opened = place.open()
    accept(opened, WAREHOUSE)
    assert catch_up(opened, seconds=60)
    yield opened
    opened.close()


def ids(segment: Segment, q: str, **more: object) -> list[str]:
    found = [one["id"] for one in ask(segment, "search", {"q": q, **more})["results"]]
    return [one.rpartition(":")[2] for one in found]


def matched(segment: Segment, q: str) -> dict[str, list[str]]:
    results = ask(segment, "search", {"q": q})["results"]
    return {one["name"]: one["matched"] for one in results}


def test_whole_names_come_before_beginnings_words_and_pieces(segment: Segment) -> None:
    assert ids(segment, "orders") == [
        "public.orders",
        "public.orders_archive",
        "public.late_orders",
        "load_orders",
        "public.preorders",
        # A column of something that matches.
        "days_late",
    ]
    assert ids(segment, "PUBLIC.Orders")[0] == "public.orders"


def test_every_word_must_match_somewhere(segment: Segment) -> None:
    assert ids(segment, "orders late") == ["public.late_orders", "days_late"]
    assert ids(segment, "customers bought") == ["public.orders"]
    assert ids(segment, "orders clicks") == []


@pytest.mark.parametrize(
    ("q", "name", "field"),
    [
        ("crm", "public.customerProfile", ["owner", "tag"]),
        ("sales", "public.orders", ["owner"]),
        ("bought", "public.orders", ["description"]),
        ("gross", "public.late_orders", ["description"]),
        ("decimal", "public.late_orders", ["type"]),
        ("spark", "load_orders", ["type"]),
        ("bucket", "lake/events/clicks.parquet", ["namespace"]),
        ("profile", "public.customerProfile", ["name"]),
        ("pais", "public.país", ["name"]),
        ("PAÍS", "public.país", ["name"]),
        ("landercodes", "public.país", ["description"]),
    ],
)
def test_an_answer_says_which_fields_matched(
    segment: Segment, q: str, name: str, field: list[str]
) -> None:
    assert matched(segment, q) == {name: field}


def test_a_file_is_found_by_its_name_without_suffix_and_folder(segment: Segment) -> None:
    assert ids(segment, "clicks") == ["lake/events/clicks.parquet"]
    assert ids(segment, "events clicks") == ["lake/events/clicks.parquet"]


def test_an_identifier_finds_its_node_alone(segment: Segment) -> None:
    answer = ask(segment, "search", {"q": "dataset:db:public.orders"})
    assert [one["id"] for one in answer["results"]] == ["dataset:db:public.orders"]
    assert ids(segment, "job:etl:load_orders") == ["load_orders"]
    assert ids(segment, "dataset:db:nowhere") == []


@pytest.mark.parametrize(
    "typo", ["ordres", "orderss", "oders", "arcive", "custommer", "profle", "customrepofile"]
)
def test_a_mistyped_word_finds_what_was_meant_and_says_so(indexed: SqlSegment, typo: str) -> None:
    answer = ask(indexed, "search", {"q": typo})
    meant = {"or": "orders", "od": "orders", "ar": "archive"}.get(typo[:2])
    assert answer["corrected"][typo]
    assert meant is None or meant in answer["corrected"][typo]
    assert answer["results"]


def test_digits_and_short_words_are_not_taken_for_others(indexed: SqlSegment) -> None:
    accept(indexed, [event(dataset("v2025"), dataset("tax"))])
    catch_up(indexed, seconds=60)
    assert ids(indexed, "v2026") == []
    assert ids(indexed, "tux") == []


def test_words_that_are_there_are_not_corrected(indexed: SqlSegment) -> None:
    accept(indexed, [event(dataset("boarders"))])
    catch_up(indexed, seconds=60)
    answer = ask(indexed, "search", {"q": "boarders"})
    assert (answer["total"], answer["corrected"]) == (1, {})


def test_filters_and_counts_go_by_kind_namespace_tag_and_owner(segment: Segment) -> None:
    answer = ask(segment, "search", {"q": "public"})
    assert answer["facets"]["kind"] == {"dataset": 6, "datasetField": 1}
    assert answer["facets"]["namespace"] == {"db": 7}
    assert answer["facets"]["tag"] == {"domain=crm": 1, "pii": 1, "retired": 1}
    assert answer["facets"]["owner"] == {"team:crm": 1, "team:sales": 1}
    assert ids(segment, "orders", kind="job") == ["load_orders"]
    assert ids(segment, "orders", namespace="etl") == ["load_orders"]
    assert ids(segment, "public", tag="domain") == ["public.customerProfile"]
    assert ids(segment, "public", tag="domain=crm") == ["public.customerProfile"]
    assert ids(segment, "public", tag="domain=sales") == []
    assert ids(segment, "public", owner="Team:Sales") == ["public.orders"]
    assert ids(segment, "public", owner="sales") == []


def test_what_a_reader_may_not_see_is_not_counted(segment: Segment) -> None:
    class Sales:
        sees_all = False

        def may_see(self, node: NodeId) -> bool:
            return node.name != "public.customerProfile"

    answer = ask(segment, "search", {"q": "public"}, authoriser=Sales())
    assert answer["total"] == 6
    assert answer["facets"]["tag"] == {"retired": 1}
    named = {"q": "dataset:db:public.customerProfile"}
    assert ask(segment, "search", named, authoriser=Sales())["total"] == 0


def test_a_reader_finds_what_lies_behind_much_that_is_hidden(indexed: SqlSegment) -> None:
    class Last:
        sees_all = False

        def may_see(self, node: NodeId) -> bool:
            return node.namespace == "mine"

    many = [dataset(f"many_{number}") for number in range(SEARCH_MATCHES_MAX + 50)]
    accept(indexed, [event(*many), event(dataset("many_mine", namespace="mine"), job="last")])
    catch_up(indexed, seconds=60)
    answer = ask(indexed, "search", {"q": "many"}, authoriser=Last())
    assert [one["name"] for one in answer["results"]] == ["many_mine"]
    assert (answer["total"], answer["total_exact"]) == (1, True)


def test_the_last_statement_in_event_time_counts_whatever_came_last(indexed: SqlSegment) -> None:
    accept(indexed, [event(dataset("t", documented("newest words")), time="2026-03-01T00:00:00Z")])
    catch_up(indexed, seconds=60)
    accept(indexed, [event(dataset("t", documented("older words")), time="2026-02-01T00:00:00Z")])
    catch_up(indexed, seconds=60)
    assert ids(indexed, "newest words") == ["t"]
    assert ids(indexed, "older words") == []
    accept(indexed, [event(dataset("t", documented("later words")), time="2026-04-01T00:00:00Z")])
    # Before the index has it, too.
    assert ids(indexed, "later words") == ["t"]
    assert ids(indexed, "newest words") == []
    catch_up(indexed, seconds=60)
    assert ids(indexed, "later words") == ["t"]
    assert ids(indexed, "newest words") == []


def test_an_earlier_moment_is_searched_as_it_was(segment: Segment) -> None:
    size = segment.size()
    accept(
        segment,
        [
            event(
                dataset("public.orders", documented("Now of another kind")),
                time="2026-02-01T00:00:00Z",
            )
        ],
    )
    accept(segment, [event(dataset("public.orders_new"))])
    catch_up(segment, seconds=60)
    assert ids(segment, "bought") == []
    assert ids(segment, "bought", as_of=size) == ["public.orders"]
    assert ids(segment, "bought", valid_at="2026-01-15") == ["public.orders"]
    assert ids(segment, "another", as_of=size) == []
    assert "public.orders_new" in ids(segment, "orders")
    assert "public.orders_new" not in ids(segment, "orders", as_of=size)


def test_names_of_one_dataset_are_one_result(segment: Segment) -> None:
    other = [{"namespace": "lake", "name": "s3/orders_table", "type": "TABLE"}]
    names = {"symlinks": FACET | {"identifiers": other}}
    accept(segment, [event(dataset("public.orders", names))])
    catch_up(segment, seconds=60)
    found = ask(segment, "search", {"q": "orders_table"})["results"]
    assert [one["id"] for one in found] == ["dataset:db:public.orders"]
    assert ids(segment, "orders").count("public.orders") == 1


def test_rebuilding_gives_the_same_answers(indexed: SqlSegment) -> None:
    asked = ("orders", "crm", "customers bought", "ordres", "bucket")
    before = [ask(indexed, "search", {"q": q}) for q in asked]
    rebuild(indexed)
    with indexed.reading() as connection:
        assert not index_state(connection).usable
    assert catch_up(indexed, seconds=60)
    assert [ask(indexed, "search", {"q": q}) for q in asked] == before


def test_pages_follow_one_another_without_overlap(segment: Segment) -> None:
    whole = ids(segment, "orders")
    pages: list[str] = []
    cursor = None
    while True:
        answer = ask(segment, "search", {"q": "orders", "limit": 2, "cursor": cursor})
        pages += [one["id"].rpartition(":")[2] for one in answer["results"]]
        cursor = answer["next"]
        if cursor is None:
            break
    assert pages == whole


def test_more_matches_than_are_ranked_are_said_to_be_more(indexed: SqlSegment) -> None:
    many = [dataset(f"many_{number}") for number in range(SEARCH_MATCHES_MAX + 50)]
    accept(indexed, [event(*many, dataset("zz.many"))])
    catch_up(indexed, seconds=60)
    answer = ask(indexed, "search", {"q": "many"})
    assert (answer["total"], answer["total_exact"]) == (SEARCH_MATCHES_MAX, False)
    # The bound cuts off the worst, never the name itself.
    assert answer["results"][0]["name"] == "zz.many"
    assert ask(indexed, "search", {"q": "orders"})["total_exact"] is True


def test_postgresql_reads_only_documents_that_have_the_words(
    tmp_path: Path, postgres_of: Callable[[str], Server]
) -> None:
    place = place_of("postgres15", tmp_path, postgres_of)
    opened = place.open()
    # The word stands in every namespace, in few names and in no column.
    others = [dataset(f"other_{number}", namespace="warehouse") for number in range(300)]
    named = [dataset(f"warehouse_{number}", columns({"name": "id"})) for number in range(5)]
    accept(opened, [event(*others, *named)])
    assert catch_up(opened, seconds=60)
    groups = [["warehouse", *(f"warehouse{number}" for number in range(60))]]
    with opened.reading() as connection:
        asked = Asked(connection)
        tables = search_tables(connection)
        with tables.searching(connection):
            # Several lists, then one.
            for marks in ([mark("n", "db")], []):
                found = tables.find(
                    cast(Connection, asked), groups, fields=["own"], marks=marks, limit=100
                )
                assert len(found) == 5
            plans = [
                node
                for sql, values in asked.statements
                for (plan,) in connection.execute(
                    f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", values
                ).fetchall()
                for node in nodes_of(plan[0]["Plan"])
            ]
        settings = "enable_seqscan", "cpu_operator_cost", "plan_cache_mode"
        kept = [
            connection.execute(f"SELECT current_setting('{name}')").fetchone()[0]
            for name in settings
        ]
    assert kept == ["on", "0.0025", "auto"], "others of the snapshot are planned as before"
    # Weights would be looked up in each of the three hundred.
    assert {one["Node Type"] for one in plans} <= {
        *("Limit", "Bitmap Heap Scan", "BitmapOr", "BitmapAnd", "Bitmap Index Scan")
    }
    # What the rarest list has is looked at, and nothing else.
    assert sum(one.get("Rows Removed by Filter", 0) for one in plans) <= 5
    assert sum(one.get("Rows Removed by Index Recheck", 0) for one in plans) == 0
    opened.close()
    place.drop()


@pytest.mark.parametrize("place", ["postgres18"], indirect=True)
def test_what_is_said_is_looked_up_for_the_nodes_that_are_ranked_alone(place: Place) -> None:
    segment = place.open()
    described = [dataset(f"d_{number}", documented("some words")) for number in range(1_500)]
    accept(segment, [event(*described)])
    assert catch_up(segment, seconds=60, batch_nodes=4_000)
    with consult(segment) as inquiry:
        connection = cast(PostgresConnection, inquiry.connection)
        numbers = [row[0] for row in connection.execute("SELECT node_id FROM node LIMIT 600")]
        matches = Matches(inquiry.view, OPEN, newest=True, changed=False)
        matches.add_indexed(numbers)
        [(seen, looked_up)] = connection.execute(
            "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'search_said'"
        ).fetchall()
    assert len(matches.found) == SEARCH_MATCHES_MAX
    # Six hundred are looked up, and the other nine hundred are not read.
    assert (seen, looked_up <= 600) == (0, True)
    assert sum("words" in match.said.get("description", "") for match in matches.found.values()) > 0
    segment.close()


@pytest.mark.parametrize("place", ["postgres18"], indirect=True)
def test_a_search_waits_for_postgresql_as_often_for_four_words_as_for_one(
    indexed: SqlSegment, tmp_path: Path
) -> None:
    counts = []
    for number, q in enumerate(("orders", "clean orders daily nightly", "zzz yyy xxx www")):
        # Statements are prepared, and their plans made, as they come again.
        for _ in range(6):
            ask(indexed, "search", {"q": q})
        with indexed.reading() as connection:
            raw = cast(PostgresConnection, connection).raw
        trace = tmp_path / str(number)
        with trace.open("wb") as file:
            raw.pgconn.trace(file.fileno())
            ask(indexed, "search", {"q": q})
            raw.pgconn.untrace()
        counts.append(trace.read_text(encoding="latin-1").count("ReadyForQuery"))
    one, four, none = counts
    assert 0 < four <= one + 2 <= 22
    # Nothing has the words: those that are near them are tried, each looked up.
    assert none <= one + 4


class Asked:
    """Passes statements on, and notes them."""

    def __init__(self, connection: Connection) -> None:
        self.statements: list[tuple[str, Any]] = []
        self._connection = connection

    def execute(self, sql: str, values: Any = ()) -> Any:
        self.statements.append((sql, values))
        return self._connection.execute(sql, values)


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)


def test_erased_words_are_in_no_file_of_the_store(tmp_path: Path) -> None:
    indexed = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    secret = "Zyxwvut"
    position = indexed.size()
    described = dataset("people", documented(f"Asked {secret} about it"))
    accept(indexed, [event(described)])
    catch_up(indexed, seconds=60)
    # Merged and written anew meanwhile, as a busy index is.
    for number in range(40):
        accept(indexed, [event(dataset(f"filler_{number}", documented(f"word{number}")))])
        catch_up(indexed, seconds=60)
    assert ids(indexed, secret) == ["people"]
    rebuild(indexed)
    catch_up(indexed, seconds=60)

    def files() -> list[str]:
        found = [path for path in tmp_path.rglob("*") if path.is_file()]
        needle = secret.lower().encode()
        return [path.name for path in found if needle in path.read_bytes().lower()]

    assert files()
    erase(indexed, fields={position: ["/outputs/0/facets/documentation"]})
    assert files() == []
    assert ids(indexed, secret) == []
    catch_up(indexed, seconds=60)
    assert ids(indexed, secret) == []
    assert files() == []
    indexed.close()


def test_sealed_values_are_not_searched(place: Place) -> None:
    place.path.with_name(place.path.name + ".personal.toml").write_text(
        '[[rules]]\npointer = "/outputs/*/facets/ownership/owners/*/name"\n'
    )
    segment = place.open()
    accept(segment, [event(dataset("people", owned("Alice Doe")))])
    assert ids(segment, "alice") == []
    catch_up(segment, seconds=60)
    assert ids(segment, "alice") == []
    assert ask(segment, "search", {"q": "people"})["facets"]["owner"] == {}
    segment.close()


@pytest.mark.parametrize("q", ["***", "'; DROP TABLE node; --", '"', "own : x", "a" * 900, "%_"])
def test_no_question_is_taken_for_a_language(segment: Segment, q: str) -> None:
    assert ask(segment, "search", {"q": q})["total"] == 0


def test_too_many_words_are_refused(segment: Segment) -> None:
    with pytest.raises(UsageError):
        ask(segment, "search", {"q": " ".join(f"w{number}" for number in range(100))})
