"""The names that `proof` gives out."""

from __future__ import annotations

import subprocess
import sys

from lodeline import proof


def test_every_name_is_given_out_and_loads() -> None:
    assert set(proof.__all__) == set(proof._HOMES)
    for name in proof.__all__:
        assert getattr(proof, name) is not None


def test_whoever_imports_the_errors_alone_loads_no_mathematics() -> None:
    code = "import sys, lodeline.errors; print([m for m in sys.modules if 'lodeline.proof.' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['lodeline.proof.errors']\n"
