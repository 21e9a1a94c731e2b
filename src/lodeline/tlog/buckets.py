"""A tiled log in an S3-compatible bucket. Needs the extra `s3`.

Endpoint and credentials come from the environment, as every S3 client reads it: `AWS_ENDPOINT_URL`,
`AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`. A bucket has no lock: of two writers
the later one refuses to put its checkpoint over another that came meanwhile.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from lodeline.errors import FolderUnreachableError, MissingExtraError, UsageError
from lodeline.limits import BUCKET_WRITES_MAX, LOG_FILE_BYTES_MAX


class Bucket:
    """A log below a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        """Take `s3://bucket/prefix`.

        Raises:
            UsageError: no bucket is named.
            MissingExtraError: the extra `s3` is not installed.
        """
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise MissingExtraError("s3", "obstore") from error
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not bucket:
            raise UsageError(f"{url} names no bucket: s3://bucket/prefix")
        self.url = url.rstrip("/")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix.strip("/") or None,
                client_options={"allow_http": endpoint.startswith("http://")},
                config={"endpoint": endpoint} if endpoint else {},
            )
        except Exception as error:
            # The library's errors have no common root below Exception.
            raise UsageError(f"{url}: {error}") from error
        self._pool: ThreadPoolExecutor | None = None
        self._writes: deque[Future[object]] = deque()

    @property
    def name(self) -> str:
        """Its URL."""
        return self.url

    def _unreachable(self, error: Exception, path: str = "") -> FolderUnreachableError:
        where = f"{self.url}/{path}" if path else self.url
        return FolderUnreachableError(where, str(error).split("\n")[0][:500])

    def read(self, path: str) -> bytes | None:
        """Read an object; `None` where there is none."""
        try:
            found = self._store.get(path)
            if found.meta["size"] > LOG_FILE_BYTES_MAX:
                return bytes(self._store.get_range(path, start=0, length=LOG_FILE_BYTES_MAX + 1))
            return bytes(found.bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unreachable(error, path) from error

    def paths(self) -> Iterator[str]:
        """List every object below the prefix."""
        try:
            for page in self._store.list():
                for meta in page:
                    yield meta["path"]
        except Exception as error:
            raise self._unreachable(error) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write with several requests at a time."""
        with ThreadPoolExecutor(BUCKET_WRITES_MAX, thread_name_prefix="lodeline-bucket") as pool:
            self._pool = pool
            try:
                yield
            finally:
                self._pool = None
                self._writes.clear()

    def write(self, path: str, data: bytes) -> None:
        """Put an object; tiles and bundles side by side, what names them when they are there."""
        if self._pool is None or not path.startswith("tile/"):
            self.settle()
            self._put(path, data)
            return
        while len(self._writes) >= 2 * BUCKET_WRITES_MAX:
            self._writes.popleft().result()
        self._writes.append(self._pool.submit(self._put, path, data))

    def _put(self, path: str, data: bytes) -> None:
        try:
            self._store.put(path, data)
        except Exception as error:
            raise self._unreachable(error, path) from error

    def settle(self) -> None:
        """Wait until every object is there."""
        while self._writes:
            self._writes.popleft().result()

    def remove(self, path: str) -> None:
        """Remove an object, if it is there."""
        try:
            self._store.delete(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unreachable(error, path) from error

    def remove_below(self, prefix: str) -> int:
        """Remove the objects below a prefix."""
        try:
            paths = [meta["path"] for page in self._store.list(prefix) for meta in page]
        except Exception as error:
            raise self._unreachable(error, prefix) from error
        for path in paths:
            self.remove(path)
        return len(paths)
