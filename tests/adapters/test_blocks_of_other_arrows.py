"""A store opened within an observed program seals its blocks with the program's pyarrow."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lodeline.proof.row_blocks import Seals
from lodeline.store.link_blocks import Block, Links, block_root, encode_block, read_keys
from observing import environment

np = pytest.importorskip("numpy")

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from lodeline.proof.row_blocks import Seals
from lodeline.store.link_blocks import Block, Links, encode_block, encode_keys, read_keys
rows = 70_000
links = Links("permutation", np.random.default_rng(1).permutation(rows))
data, root, _ = encode_block(links, Seals(rows, b"s" * 32))
assert Block(data, "", shape="").back(np.array([3])).tolist() == [int(links.values[3])]
Path("links").write_bytes(data)
keys, _ = encode_keys(["a", None, "c"], Seals(3, b"s" * 32))
assert read_keys(keys) == ["a", None, "c"]
Path("keys").write_bytes(keys)
print(root.hex())
"""


def test_blocks_of_the_programs_pyarrow_are_read_and_proven_by_ours(
    tmp_path: Path, interpreter: str
) -> None:
    done = subprocess.run(
        [interpreter, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "links").read_bytes()
    links = Links("permutation", np.random.default_rng(1).permutation(70_000))
    assert done.stdout.split() == [block_root(data)]
    assert block_root(data) == encode_block(links, Seals(70_000, b"s" * 32))[1].hex()
    read = Block(data, "", shape="")
    assert read.back(np.array([69_999])).tolist() == [int(links.values[69_999])]
    assert read_keys((tmp_path / "keys").read_bytes()) == ["a", None, "c"]
