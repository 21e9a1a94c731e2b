"""What readers and writers are given is named as OpenLineage names it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lodeline.capture.datasets import Dataset, find_dataset, in_filesystem


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("s3://lake/a/b.csv", ("s3://lake", "a/b.csv")),
        ("s3a://lake/a/b.csv?versionId=x1", ("s3://lake", "a/b.csv")),
        ("https://user:pw@example.org/a.csv?token=1", ("https://example.org", "/a.csv")),
        ("file:///data/a.csv", ("file", "/data/a.csv")),
        ("zip://inner.csv::/data/a.zip", ("file", "/data/a.zip")),
        ("simplecache::s3://lake/a.csv", ("s3://lake", "a.csv")),
        ("zip://inner.csv::simplecache::gs://lake/a.zip", ("gs://lake", "a.zip")),
        ("memory://kept/x.csv", ("memory", "/kept/x.csv")),
        ("memory:///kept/x.csv", ("memory", "/kept/x.csv")),
        ("/data/a::b.csv", ("file", "/data/a::b.csv")),
    ],
)
def test_paths_and_urls_are_named_by_where_the_bytes_lie(
    target: str, expected: tuple[str, str]
) -> None:
    assert find_dataset(target) == Dataset(*expected)


class Lent:
    """Of fsspec."""

    def unstrip_protocol(self, path: str) -> str:
        return f"abfs://{path}"


@pytest.mark.parametrize(
    ("filesystem", "expected"),
    [
        (None, "lake/a"),
        ("s3", "lake/a"),
        (Lent(), "abfs://lake/a"),
        (
            SimpleNamespace(type_name="py::fsspec", handler=SimpleNamespace(fs=Lent())),
            "abfs://lake/a",
        ),
        (SimpleNamespace(type_name="s3"), "s3://lake/a"),
        (SimpleNamespace(type_name="gcs"), "gs://lake/a"),
        (SimpleNamespace(type_name="local"), "lake/a"),
        (
            SimpleNamespace(base_path="top/", base_fs=SimpleNamespace(type_name="s3")),
            "s3://top/lake/a",
        ),
    ],
)
def test_paths_in_a_filesystem_become_urls(filesystem: Any, expected: str) -> None:
    assert in_filesystem("lake/a", filesystem) == expected
    assert in_filesystem(["lake/a"], filesystem) in ([expected], ["lake/a"])
    assert in_filesystem(7, filesystem) == 7
