"""A real Airflow DAG and a real dbt project over PostgreSQL send to a real service by HTTP.

Both run unchanged, with the providers' own transports; what the graph says is held against the SQL
that they ran, column by column, while a client reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from brokers import free_port
from lodeline.store import open_segment
from postgres_servers import Server, binaries
from service import Service, serving

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TABLES = """
CREATE TABLE orders(id int, customer int, amount int, paid bool);
CREATE TABLE customers(id int, name text);
CREATE TABLE best_customers(customer text, total bigint);
INSERT INTO orders SELECT i, i % 5, i, i % 3 = 0 FROM generate_series(1, 100) i;
INSERT INTO customers SELECT i, 'c' || i FROM generate_series(0, 4) i;
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    if binaries("15") is None:
        pytest.skip("no PostgreSQL 15 here; `make test` installs it")
    with closing(Server("15", port=free_port())) as server:
        server.sql("postgres", "CREATE DATABASE airflow")
        server.sql("postgres", "CREATE DATABASE shop")
        server.sql("shop", TABLES)
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as one:
        yield one


def program(environment: str, name: str) -> Path:
    """Find a program of an environment that `make producers` made."""
    found = ROOT / environment / "bin" / name
    if not found.exists():
        if os.environ.get("CI"):
            pytest.fail(f"no {found}; `make producers` makes it")
        pytest.skip(f"no {found}; `make producers` makes it")
    return found


def own_environment(binaries: Path, **settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PATH": f"{binaries}:/usr/bin:/bin"} | settings


def edges(answer: dict[str, Any], prefix: str) -> set[tuple[str, str]]:
    """Give the derivations of an answer, without what all names begin with."""
    return {
        (e["source"].removeprefix(prefix), e["target"].removeprefix(prefix))
        for e in answer["edges"]
        if e["kind"] == "derives"
    }


class Reader:
    """Asks all the while; an answer that is no answer fails the test."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.sizes: list[int] = []
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self.error is not None:
            raise self.error
        assert self.sizes == sorted(self.sizes)

    def _read(self) -> None:
        try:
            while not self._stopping.wait(0.05):
                answer = self._service.get("/api/v2/stats")
                self.sizes.append(answer["as_of"]["tree_size"])
        except Exception as error:
            self.error = error


def test_dbt_build_over_http_gives_the_columns_of_its_models(
    service: Service, database: Server, tmp_path: Path
) -> None:
    dbt = program(".venv-dbt", "dbt-ol")
    settings = own_environment(
        dbt.parent,
        SHOP_PORT=str(database.port),
        SHOP_USER=database.user,
        OPENLINEAGE_URL=service.url,
        OPENLINEAGE_NAMESPACE="dbt",
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
        DBT_TARGET_PATH=str(tmp_path / "target"),
        DBT_LOG_PATH=str(tmp_path / "logs"),
    )
    project = ["--profiles-dir", HERE / "dbt_shop", "--project-dir", HERE / "dbt_shop"]
    with Reader(service) as reader:
        done = subprocess.run(
            [dbt, "build", *project], cwd=tmp_path, env=settings, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert reader.sizes
    space = f"postgres://127.0.0.1:{database.port}:shop."
    root = f"datasetField:{space}reports.totals:total"
    answer = service.get("/api/v2/trace", id=root, columns="true")
    assert edges(answer, f"datasetField:{space}") == {
        ("reports.paid:cents", "reports.totals:total"),
        ("public.orders:amount", "reports.paid:cents"),
    }
    name = service.get(
        "/api/v2/trace", id=f"datasetField:{space}reports.totals:customer", columns="true"
    )
    assert edges(name, f"datasetField:{space}") == {
        ("public.customers:name", "reports.totals:customer")
    }
    tables = service.get("/api/v2/trace", id=f"dataset:{space}reports.totals")
    assert edges(tables, f"dataset:{space}") == {
        ("reports.paid", "reports.totals"),
        ("public.customers", "reports.totals"),
        ("public.orders", "reports.paid"),
    }
    assert tables["complete"] is True
    # What dbt tested is kept with the table that it tested.
    assert "dataQualityAssertions" in json.dumps(
        service.get("/api/v2/show", id=f"dataset:{space}reports.paid")
    )
    _is_told_beneath_a_run(
        service, [str(dbt), "run", "--select", "paid", *map(str, project)], settings
    )


def _is_told_beneath_a_run(service: Service, command: list[str], settings: dict[str, str]) -> None:
    """Start a producer under `lodeline run`: that run is the parent of what it tells."""
    words = [sys.executable, "-m", "lodeline", "run", "--server", service.url, "--job", "nightly"]
    done = subprocess.run(
        [*words, "--", *command],
        cwd=settings["DBT_LOG_PATH"],
        env=settings | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = "run:" + service.get("/api/v2/show", id="job:dbt:nightly")["runs"][0]["run"]
    told = service.get(f"/node/{run}.json")
    assert "job:dbt:dbt-run-shop" in {child["job"] for child in told["children"]}, told["children"]
    facets = service.get("/api/v2/show", id=run)["facets"]
    assert facets["lodeline_environment"]["packages"]["dbt-core"]


def airflow_settings(
    airflow: Path, home: Path, service: Service, database: Server
) -> dict[str, str]:
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    shop = f"postgres://{database.user}@127.0.0.1:{database.port}/shop"
    metadata = f"postgresql+psycopg2://{database.user}@127.0.0.1:{database.port}/airflow"
    return own_environment(
        airflow.parent,
        AIRFLOW_HOME=str(home),
        AIRFLOW_CONN_SHOP=shop,
        AIRFLOW__API__BASE_URL=here,
        AIRFLOW__API__HOST="127.0.0.1",
        AIRFLOW__API__PORT=str(port),
        AIRFLOW__API__WORKERS="1",
        AIRFLOW__API_AUTH__JWT_SECRET="only for this test, and long enough for its algorithm" * 2,
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="false",
        AIRFLOW__CORE__DAGS_FOLDER=str(HERE / "airflow_dags"),
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{here}/execution/",
        AIRFLOW__CORE__EXECUTOR="LocalExecutor",
        AIRFLOW__CORE__LOAD_EXAMPLES="false",
        AIRFLOW__CORE__PARALLELISM="1",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="true",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=metadata,
        AIRFLOW__OPENLINEAGE__CUSTOM_RUN_FACETS="lodeline.integrations.airflow.run_facets",
        AIRFLOW__OPENLINEAGE__NAMESPACE="airflow",
        AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps({"type": "http", "url": service.url}),
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="false",
        PYTHONDONTWRITEBYTECODE="1",
        # Where it is not installed beside Airflow.
        PYTHONPATH=str(ROOT / "src"),
    )


@contextmanager
def running(folder: Path, settings: dict[str, str], airflow: Path, name: str) -> Iterator[Path]:
    """Run one of Airflow's processes, with its children; gives its log."""
    log = folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [airflow, name], env=settings, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(done: Callable[[], bool], seconds: float, logs: Iterable[Path]) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        told = "\n".join(log.read_text()[-3000:] for log in logs)
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def run_dag(airflow: Path, settings: dict[str, str], database: Server, folder: Path) -> None:
    """Run Airflow until its one DAG, scheduled once, has ended."""

    def answers() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", int(settings["AIRFLOW__API__PORT"]))) == 0

    def ended() -> bool:
        state = database.sql("airflow", "SELECT state FROM dag_run WHERE dag_id = 'shop';")
        assert state != "failed", scheduler.read_text()[-4000:]
        return state == "success"

    subprocess.run([airflow, "db", "migrate"], env=settings, check=True, capture_output=True)
    with running(folder, settings, airflow, "api-server") as server:
        # Tasks ask the API server before they begin, and fail when it is not there.
        until(answers, 120, [server])
        with (
            running(folder, settings, airflow, "dag-processor") as processor,
            running(folder, settings, airflow, "scheduler") as scheduler,
        ):
            until(ended, 120, [processor, scheduler])


def test_an_airflow_dag_over_http_gives_the_columns_of_its_sql(
    service: Service, database: Server, tmp_path: Path
) -> None:
    airflow = program(".venv-airflow", "airflow")
    settings = airflow_settings(airflow, tmp_path, service, database)
    with Reader(service) as reader:
        run_dag(airflow, settings, database, tmp_path)
    assert reader.sizes
    space = f"postgres://127.0.0.1:{database.port}:shop.public."
    root = f"datasetField:{space}best_customers:total"
    assert edges(
        service.get("/api/v2/trace", id=root, columns="true"), f"datasetField:{space}"
    ) == {
        ("customer_totals:total", "best_customers:total"),
        ("paid_orders:cents", "customer_totals:total"),
        ("orders:amount", "paid_orders:cents"),
    }
    name = service.get(
        "/api/v2/trace", id=f"datasetField:{space}best_customers:customer", columns="true"
    )
    assert edges(name, f"datasetField:{space}") == {
        ("customer_totals:customer", "best_customers:customer"),
        ("customers:name", "customer_totals:customer"),
    }
    tables = service.get("/api/v2/trace", id=f"dataset:{space}best_customers")
    assert edges(tables, f"dataset:{space}") == {
        ("orders", "paid_orders"),
        ("paid_orders", "customer_totals"),
        ("customers", "customer_totals"),
        ("customer_totals", "best_customers"),
    }
    jobs = {e["job"] for e in tables["edges"] if e["kind"] == "derives"}
    assert jobs == {"job:airflow:shop.paid", "job:airflow:shop.totals", "job:airflow:shop.best"}
    assert tables["complete"] is True
    _has_environment_and_code(service.log.parent / "lodeline.db")


def _has_environment_and_code(store: Path) -> None:
    """The provider's events of tasks say what Lodeline's function added."""
    segment = open_segment(f"sqlite:///{store}", create=False)
    events = [json.loads(one.payload or b"") for one in segment.iter_entries(kinds=("event",))]
    segment.close()
    told = [
        event["run"]["facets"]
        for event in events
        if event.get("job", {}).get("name") == "shop.paid" and event["eventType"] == "COMPLETE"
    ]
    assert told
    for facets in told:
        assert facets["lodeline_environment"]["packages"]["apache-airflow"] == "3.3.2"
        source = (HERE / "airflow_dags" / "shop.py").read_bytes()
        digest = hashlib.sha256(source).hexdigest()
        assert facets["lodeline_code"]["sourceDigest"] == f"sha256:{digest}"
