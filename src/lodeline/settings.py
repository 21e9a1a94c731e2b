"""Settings and where they come from: argument, environment, configuration file, default.

The configuration file is the one that `LODELINE_CONFIG` names, else `lodeline.toml`, or the
`[tool.lodeline]` table of `pyproject.toml`, whichever is found first going up from the working
directory. Every setting stands in `SETTINGS` and in `docs/reference/settings.md`; those of the
service alone stand in `server/configuration.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from lodeline.errors import UsageError
from lodeline.records import value

_SECRET_PARAMETERS: Final = ("password", "sslpassword")
# Where the tables lie in a PostgreSQL database whose URL names no other schema.
POSTGRES_SCHEMA: Final = "lodeline"
STORE_FILE: Final = Path(".lodeline") / "lodeline.db"


@value
class Setting:
    """One setting.

    Attributes:
        name: key in the configuration file.
        variables: environment variables, the first that is set wins.
        summary: one line for the documentation.
    """

    name: str
    variables: tuple[str, ...]
    summary: str


SETTINGS: Final = (
    Setting(
        "config",
        ("LODELINE_CONFIG",),
        "Path of the configuration file, in place of the one that is found; not in a file itself.",
    ),
    Setting(
        "store",
        ("LODELINE_STORE",),
        "URL of the store: `sqlite:///path/lodeline.db` or `postgresql://host/database`.",
    ),
    Setting(
        "store_folder",
        ("LODELINE_STORE_FOLDER",),
        "Folder of what a PostgreSQL store keeps in files: keys, spool, declarations.",
    ),
    Setting("url", ("LODELINE_URL", "OPENLINEAGE_URL"), "URL of a Lodeline server to ask."),
    Setting(
        "deliver",
        ("LODELINE_DELIVER",),
        "URL that captured records are delivered to, where it is not `url` or `store`: a server, a"
        " store, `kafka://host:port/topic` or `nats://host:port/STREAM`.",
    ),
    Setting(
        "delivery",
        ("LODELINE_DELIVERY",),
        "`later` has what a short `lodeline run` spooled beside a local store wait, durably, for"
        " the next command that opens the store. By default each run delivers at its end.",
    ),
    Setting(
        "api_key",
        ("LODELINE_API_KEY", "OPENLINEAGE_API_KEY"),
        "Key that is sent to the server, as `lodeline key create` gave it.",
    ),
    Setting(
        "spool_bytes",
        ("LODELINE_SPOOL_BYTES",),
        "Bound on a spool's bytes; beyond it the oldest records are dropped first. Default 1 GiB.",
    ),
    Setting(
        "spool_days",
        ("LODELINE_SPOOL_DAYS",),
        "Days that records wait for a receiver that is away; then they are dropped. Default 30.",
    ),
    Setting(
        "build",
        ("LODELINE_BUILD",),
        "What is deployed here, as `lodeline ci --build-file` wrote it: commit, build, image, run.",
    ),
    Setting(
        "digest_bytes",
        ("LODELINE_DIGEST_BYTES",),
        "Files larger than so many bytes get no digest, and a gap that says so. Default: none is"
        " too large.",
    ),
    Setting(
        "logical_digests",
        ("LODELINE_LOGICAL_DIGESTS",),
        "`now` has the end of a run wait for the logical digests of its tables. By default those"
        " that take more than a small share of the run's own time are left to the next command that"
        " opens the local store.",
    ),
    Setting(
        "folder_files",
        ("LODELINE_FOLDER_FILES",),
        "So many files of one ending in one folder are recorded one by one; with more, the folder"
        " is one dataset with a manifest. Default 100; 0 for never.",
    ),
    Setting("namespace", ("LODELINE_NAMESPACE", "OPENLINEAGE_NAMESPACE"), "Namespace of jobs."),
    Setting("autocapture", ("LODELINE_AUTOCAPTURE",), "`1` starts capture in a Python program."),
    Setting("rows", ("LODELINE_ROWS",), "`1` records row provenance too."),
    Setting(
        "rows_where",
        ("LODELINE_ROWS_WHERE",),
        "With `1` a group of SQL that only takes values from rows (`min`, `max`, `arg_min`,"
        " `arg_max`, `first`, `last`) is linked to those, not to all rows of the group.",
    ),
    Setting(
        "personal",
        ("LODELINE_PERSONAL",),
        "TOML file that declares personal fields; in a configuration file the table `[personal]`.",
    ),
    Setting(
        "privacy",
        ("LODELINE_PRIVACY",),
        "TOML file that says which values and columns may leave an observed process; in a"
        " configuration file the table `[privacy]`.",
    ),
    Setting(
        "sampling",
        ("LODELINE_SAMPLING",),
        "TOML file that says of which predictions and runs the details are kept; in a configuration"
        " file the table `[sampling]`.",
    ),
    Setting(
        "streams",
        ("LODELINE_STREAMS",),
        "Of `lodeline serve`: sources of streams, separated by spaces; in a configuration file the"
        " list `sources` of the table `[streams]`.",
    ),
    Setting(
        "witness_policy",
        ("LODELINE_WITNESS_POLICY",),
        "Path of a C2SP tlog-policy file, whose witnesses `serve` asks to cosign each checkpoint.",
    ),
    Setting(
        "timestamp_roots",
        ("LODELINE_TIMESTAMP_ROOTS",),
        "Path of a PEM file: the root certificates by which `verify` judges RFC 3161 timestamps.",
    ),
    Setting(
        "signing_key",
        ("LODELINE_SIGNING_KEY",),
        "Key that `sign` and `attest` use: a path, `env:NAME`, or a `pkcs11:` URI.",
    ),
    Setting("disabled", ("LODELINE_DISABLED", "OPENLINEAGE_DISABLED"), "`1` turns capture off."),
)
# How the parts of one captured program find each other. Not for people; `run` sets them.
INTERNAL_VARIABLES: Final = {
    "LODELINE_DEBUG": "`1` prints what goes wrong inside capture to stderr.",
    "LODELINE_DETERMINISTIC": "`1` in a program that runs under `--deterministic`.",
    "LODELINE_INTEGRATIONS": "The integrations that the observed program may load.",
    "LODELINE_JOB": "Name of the job.",
    "LODELINE_JOURNALS": "Folder in which observed processes keep their journals.",
    "LODELINE_PRIVACY_RULES": "The rules of `[privacy]`, as JSON.",
    "LODELINE_PARENT": "The run that started this process.",
    "LODELINE_RUN": "Identifier of the run.",
    "LODELINE_RUNNER": "Process of the runner that waits for the program.",
    "LODELINE_SPOOL": "Folder of the spool.",
}
_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


@value
class ConfigurationFile:
    """A configuration file as it was read.

    Attributes:
        path: of the file.
        prefix: tables around ours: `("tool", "lodeline")` in `pyproject.toml`.
        table: what it says.
    """

    path: Path
    prefix: tuple[str, ...]
    table: Mapping[str, object]


def find_setting(
    name: str, *, argument: str | None = None, environment: Mapping[str, str] | None = None
) -> str | None:
    """Look a setting up by precedence; `None` where nothing sets it.

    Args:
        name: a name of `SETTINGS`.
        argument: the value given by the caller; wins when not `None`.
        environment: defaults to the process environment.
    """
    if argument is not None:
        return argument
    environment = os.environ if environment is None else environment
    for variable in _BY_NAME[name].variables:
        if environment.get(variable):
            return environment[variable]
    value = _configured(name)
    return None if value is None else str(value)


def find_configuration() -> ConfigurationFile | None:
    """Find and read the configuration file that counts here.

    Raises:
        UsageError: the file cannot be read, or is no TOML.
    """
    return _configuration(str(Path.cwd()), os.environ.get("LODELINE_CONFIG", ""))


def find_in_table(table: str, name: str, *, variable: str) -> object:
    """Look up a setting that stands in a table of the configuration file; `None` for nothing.

    Args:
        table: of the file.
        name: key in it.
        variable: of the environment; it wins.

    Raises:
        UsageError: the file cannot be read, or is no TOML, or the table is none.
    """
    if os.environ.get(variable):
        return os.environ[variable]
    found = _configured(table)
    if found is None:
        return None
    if not isinstance(found, dict):
        raise UsageError(f"{table} is no table")
    return found.get(name)


def read_whole(value: object, *, least: int, most: int) -> int:
    """Read a whole number of a range, or text that writes one.

    Raises:
        ValueError: something else.
    """
    # No sign, no underscore, no digits of other scripts; the length keeps int() cheap.
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdecimal() and len(text) <= 18:
            value = int(text)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")  # noqa: TRY004  # a fault of the file
    if not least <= value <= most:
        raise ValueError(f"{value} is not between {least} and {most}")
    return value


def personal_tables(store: Path) -> list[tuple[Path, Mapping[str, object]]]:
    """Find the declarations of personal fields for a store.

    Args:
        store: path of the embedded store; `<store>.personal.toml` counts wherever one works.

    Returns:
        Tables, each with the folder that its relative paths start at.

    Raises:
        UsageError: a file cannot be read, or is no TOML.
    """
    found: list[tuple[Path, Mapping[str, object]]] = []
    beside = store.with_name(store.name + ".personal.toml")
    if beside.is_file():
        found.append((beside.parent, _read(beside)))
    named = os.environ.get("LODELINE_PERSONAL")
    if named:
        found.append((Path(named).absolute().parent, _read(Path(named))))
    else:
        table = _configured("personal")
        if table is not None:
            # Passed over, it would let into the log what should be sealed.
            if not isinstance(table, dict):
                raise UsageError(f"personal: {table!r} is no table")
            found.append((Path.cwd(), table))
    return found


def privacy_table() -> tuple[Path, Mapping[str, object]] | None:
    """Find what may leave an observed process, with the folder that relative paths start at.

    Raises:
        UsageError: the file cannot be read, or is no TOML, or the table is none.
    """
    return _table_of("privacy", os.environ.get("LODELINE_PRIVACY"))


def sampling_table() -> Mapping[str, object] | None:
    """Find of what the details are kept. Errors as `privacy_table`'s."""
    found = _table_of("sampling", os.environ.get("LODELINE_SAMPLING"))
    return None if found is None else found[1]


def _table_of(name: str, named: str | None) -> tuple[Path, Mapping[str, object]] | None:
    """A table with the folder it lies in: of a file of its own, whole, or of the configuration."""
    if named:
        table = _read(Path(named))
        own = table.get(name)
        return Path(named).absolute().parent, own if isinstance(own, dict) else table
    found = find_configuration()
    value = None if found is None else found.table.get(name)
    if found is None or value is None:
        return None
    if not isinstance(value, dict):
        raise UsageError(
            f"{name}: write the rules as a table, or name a file in LODELINE_{name.upper()}"
        )
    return found.path.parent, value


def bearer_header() -> dict[str, str]:
    """The header by which a client says who it is, if a key is set."""
    key = find_setting("api_key")
    return {} if key is None else {"Authorization": f"Bearer {key.strip()}"}


def number_setting(name: str, *, otherwise: float) -> float:
    """A setting that is a number; the default where it is missing, or is none."""
    try:
        return float(find_setting(name) or otherwise)
    except (ValueError, UsageError):
        return otherwise


def is_on(value: str | None) -> bool:
    """Whether a switch's text means on."""
    return (value or "").strip().lower() in {"1", "true", "yes", "on"}


def store_url(argument: str | None = None) -> str:
    """URL of the store to use.

    Without a setting it is the nearest `.lodeline/lodeline.db` going up from the working
    directory, as git finds its repository, else the one that would be made right here.
    """
    url = find_setting("store", argument=argument)
    if url is not None:
        return url if "://" in url else f"sqlite:///{Path(url).absolute()}"
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / STORE_FILE).is_file():
            return f"sqlite:///{folder / STORE_FILE}"
    return f"sqlite:///{here / STORE_FILE}"


def receiver_url(
    argument: str | None = None, *, store: str | None = None, server: str | None = None
) -> str:
    """URL that captured records go to: a server, a broker, or a store.

    Args:
        argument: as given for just this; wins.
        store: as given on the command line; wins over settings.
        server: likewise.
    """
    if argument is None and store is None and server is None:
        argument = find_setting("deliver")
    if argument is None and store is None:
        argument = find_setting("url", argument=server)
    return store_url(store) if argument is None else argument


def is_postgres(url: str) -> bool:
    """Whether a store's URL names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


def shown_store(url: str) -> str:
    """Give a store's URL as it may be printed: without its password."""
    if not is_postgres(url):
        return url
    # Only here: observed programs load as little as they can.
    from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    options = [one for one in parse_qsl(parts.query) if one[0] not in _SECRET_PARAMETERS]
    netloc = f"{user}{':***' if colon else ''}{at}{host}"
    query = urlencode(options, quote_via=quote, safe="/")
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def store_path(url: str) -> Path:
    """Path of a store, beside which everything lies that it keeps in files.

    `sqlite:///a.db` is relative to the working directory, `sqlite:////a.db` is absolute. What
    belongs to a PostgreSQL store lies in a folder: `folder` of its URL, the setting
    `store_folder`, or `.lodeline`; the name there stands for server, database and schema.

    Raises:
        UsageError: not such a URL.
    """
    if is_postgres(url):
        return _postgres_path(url)
    prefix = "sqlite:///"
    if not url.startswith(prefix) or len(url) == len(prefix):
        raise UsageError(
            f"unsupported store {url!r}; write sqlite:///path/lodeline.db or "
            "postgresql://user@host/database"
        )
    path = Path(url.removeprefix(prefix))
    return path if path.is_absolute() else Path.cwd() / path


def _configured(name: str) -> object:
    found = find_configuration()
    return None if found is None else found.table.get(name)


def _postgres_path(url: str) -> Path:
    # Only here: observed programs load as little as they can.
    from urllib.parse import parse_qsl, quote, urlsplit

    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    folder = options.get("folder") or find_setting("store_folder") or STORE_FILE.parent
    database = parts.path.strip("/") or "postgres"
    schema = options.get("schema", POSTGRES_SCHEMA)
    # Not the host: it has many names, and the spool must be found again under each of them.
    return Path.cwd() / folder / f"postgresql.{quote(database, safe='')}.{quote(schema, safe='')}"


@lru_cache(maxsize=8)
def _configuration(folder: str, named: str) -> ConfigurationFile | None:
    if named:
        path = Path(folder) / named
        if path.name != "pyproject.toml":
            return ConfigurationFile(path, (), _read(path))
        return ConfigurationFile(path, ("tool", "lodeline"), _tool_table(path) or {})
    for parent in (Path(folder), *Path(folder).parents):
        own, shared = parent / "lodeline.toml", parent / "pyproject.toml"
        if own.is_file():
            return ConfigurationFile(own, (), _read(own))
        if shared.is_file() and (found := _tool_table(shared)) is not None:
            return ConfigurationFile(shared, ("tool", "lodeline"), found)
    return None


def _tool_table(path: Path) -> dict[str, object] | None:
    table = _read(path).get("tool")
    found = table.get("lodeline") if isinstance(table, dict) else None
    return found if isinstance(found, dict) else None


def _read(path: Path) -> dict[str, object]:
    # Only here: most runs have no file to read.
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
