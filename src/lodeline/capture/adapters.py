"""Which integrations there are, and installing each when its framework appears.

Integrations enter by the entry points `lodeline.integrations`; an entry's name is the module whose
import installs it. The `lodeline run` parent reads the entry points once and hands them down in
`LODELINE_INTEGRATIONS`, since reading them costs an observed program more than all else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Final, Protocol

from lodeline.capture.imports import ImportWatch
from lodeline.capture.recorder import RECORDER, Recorder

GROUP: Final = "lodeline.integrations"
VARIABLE: Final = "LODELINE_INTEGRATIONS"

# The built-in ones, for a source tree that was never installed and so has no entry points.
BUILT_IN: Final = {
    "PIL": "lodeline.integrations.pillow:PillowIntegration",
    "aiokafka": "lodeline.integrations.aiokafka:AiokafkaIntegration",
    "botocore": "lodeline.integrations.botocore:BotocoreIntegration",
    "builtins": "lodeline.integrations.files:FilesIntegration",
    "dagster": "lodeline.integrations.dagster:DagsterIntegration",
    "duckdb": "lodeline.integrations.duckdb:DuckdbIntegration",
    "feast": "lodeline.integrations.feast:FeastIntegration",
    "fsspec": "lodeline.integrations.fsspec:FsspecIntegration",
    "great_expectations": "lodeline.integrations.great_expectations:GreatExpectationsIntegration",
    "joblib": "lodeline.integrations.joblib:JoblibIntegration",
    "lightgbm": "lodeline.integrations.lightgbm:LightgbmIntegration",
    "mlflow": "lodeline.integrations.mlflow:MlflowIntegration",
    "nats": "lodeline.integrations.nats:NatsIntegration",
    "numpy": "lodeline.integrations.numpy:NumpyIntegration",
    "pandas": "lodeline.integrations.pandas:PandasIntegration",
    "pandera": "lodeline.integrations.pandera:PanderaIntegration",
    "pickle": "lodeline.integrations.pickle:PickleIntegration",
    "polars": "lodeline.integrations.polars:PolarsIntegration",
    "psycopg": "lodeline.integrations.psycopg:PsycopgIntegration",
    "psycopg2": "lodeline.integrations.psycopg2:Psycopg2Integration",
    "pyarrow": "lodeline.integrations.pyarrow:PyarrowIntegration",
    "pyspark": "lodeline.integrations.spark:SparkIntegration",
    "random": "lodeline.integrations.random:RandomIntegration",
    "s3fs": "lodeline.integrations.s3fs:S3fsIntegration",
    "sklearn": "lodeline.integrations.sklearn:SklearnIntegration",
    "sqlalchemy": "lodeline.integrations.sqlalchemy:SqlalchemyIntegration",
    "sqlite3": "lodeline.integrations.sqlite3:Sqlite3Integration",
    "torch": "lodeline.integrations.torch:TorchIntegration",
    "uvicorn": "lodeline.integrations.uvicorn:UvicornIntegration",
    "xgboost": "lodeline.integrations.xgboost:XgboostIntegration",
}

# Frameworks that read or write without Python's knowing, for which no integration exists yet:
# a program that imports one gets a gap instead of a silent hole.
UNOBSERVED: Final = (
    *("catboost", "confluent_kafka", "cv2", "dask", "datasets", "fastparquet", "fiona", "h5py"),
    *("kafka", "lance", "lmdb", "netCDF4", "onnxruntime", "pymongo", "pymysql", "pyogrio"),
    *("rasterio", "safetensors", "soundfile", "tables", "tensorflow", "tokenizers"),
)


class Integration(Protocol):
    """One adapter to one framework.

    Attributes:
        name: of the framework.
        supports: version range, such as `polars>=1.0,<3`.
    """

    name: str
    supports: str

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Start capturing; the returned function undoes every change."""
        ...


def find_adapters() -> dict[str, str]:
    """Trigger module -> `module:class`, from the environment, else the entry points."""
    handed_down = os.environ.get(VARIABLE)
    if handed_down:
        pairs = (pair.partition("=") for pair in handed_down.split(","))
        return {name: target for name, _, target in pairs if target}
    return read_entry_points()


def read_entry_points() -> dict[str, str]:
    """The installed integrations, and the built-in ones that are not installed as such."""
    # Only here: an observed program is handed them down.
    from lodeline.entry_points import find_entry_points

    return BUILT_IN | find_entry_points(GROUP)


class Adapters:
    """The integrations of this process.

    Attributes:
        installed: names of those that are in effect.
    """

    def __init__(self) -> None:
        self.installed: dict[str, Callable[[], None]] = {}
        self._watch = ImportWatch()

    def start(self) -> None:
        """Watch for each integration's framework; install at once where it is imported."""
        self._watch.install()
        for trigger, target in find_adapters().items():
            self.add(trigger, target)
        for name in UNOBSERVED:
            self._watch.when_imported(name, _tell_unobserved)

    def add(self, trigger: str, target: str) -> None:
        """Add one integration: `module:class`, installed when `trigger` is imported."""
        self._watch.when_imported(trigger, self._installer(trigger, target))

    def when_imported(self, name: str, act: Callable[[ModuleType], None]) -> None:
        """Have an integration act on a further module of its framework, once imported."""
        self._watch.when_imported(name, act)

    def stop(self) -> None:
        """Undo every integration and stop watching."""
        self._watch.remove()
        while self.installed:
            _, undo = self.installed.popitem()
            undo()

    def _installer(self, trigger: str, target: str) -> Callable[[ModuleType], None]:
        def install(module: ModuleType) -> None:
            if trigger in self.installed:
                return
            home, _, name = target.partition(":")
            try:
                adapter_module = import_module(home)
            except ModuleNotFoundError as error:
                if error.name == home:
                    return
                raise
            integration: Integration = getattr(adapter_module, name)()
            version = getattr(module, "__version__", "")
            if version and not is_supported(version, integration.supports):
                RECORDER.gap(
                    trigger,
                    "capture",
                    f"version {version} is outside the tested range {integration.supports}",
                )
            self.installed[trigger] = integration.install(RECORDER)

        return install


def _tell_unobserved(module: ModuleType) -> None:
    name = module.__name__
    RECORDER.gap(name, "capture", f"what {name} reads and writes by itself is not observed")


def is_supported(version: str, supports: str) -> bool:
    """Whether a version lies in a range such as `pandas>=2.0,<4`; only numbers are compared."""
    mine = _numbers(version)
    ranges = supports.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_ ")
    for clause in filter(None, ranges.split(",")):
        bound = _numbers(clause.strip("<>= "))
        width = max(len(mine), len(bound))
        left = mine + (0,) * (width - len(mine))
        right = bound + (0,) * (width - len(bound))
        if clause.strip().startswith(">=") and left < right:
            return False
        if clause.strip().startswith("<") and left >= right:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for piece in version.split("."):
        digits = ""
        for character in piece:
            if not character.isdigit():
                break
            digits += character
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def python_path() -> list[str]:
    """The import path, for the environment's list of packages."""
    return [entry for entry in sys.path if entry]
