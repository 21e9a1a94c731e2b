"""Write the JSON Schemas of a schema version that is not released yet.

    PYTHONPATH=src python tests/golden/write_schemas.py

A released version's files are never edited; a change of a facet's type then needs a new version.
"""

import json
from pathlib import Path

from lodeline.wire.facets import LODELINE_FACETS, SCHEMA_VERSION
from lodeline.wire.facets.schemas import schema_of

FOLDER = Path(__file__).parents[2] / "schema" / SCHEMA_VERSION

if __name__ == "__main__":
    for facet in LODELINE_FACETS:
        text = json.dumps(schema_of(facet), indent=2, ensure_ascii=False)
        (FOLDER / f"{facet.__name__}.json").write_text(text + "\n")
