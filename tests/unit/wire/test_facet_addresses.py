"""The addresses of facets' schemas: what writers stamp is what readers know."""

from __future__ import annotations

import subprocess
import sys

from lodeline.wire.facets import CORE_FACETS, LODELINE_FACETS
from lodeline.wire.facets.addresses import ADDRESSES, schema_url_of


def test_addresses_are_those_of_the_types() -> None:
    typed = {
        (scope, facet.facet_name): facet.facet_schema_url
        for facet in (*CORE_FACETS, *LODELINE_FACETS)
        for scope in facet.facet_scopes
    }
    listed = {
        (scope, name): schema_url_of(scope, name)
        for scope, names in ADDRESSES.items()
        for name in names
    }
    assert listed == typed


def test_an_unknown_facet_has_no_address() -> None:
    assert schema_url_of("run", "nobody_knows") is None


def test_addresses_load_without_the_types() -> None:
    told = "import lodeline.wire.facets.addresses, sys; print('msgspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
