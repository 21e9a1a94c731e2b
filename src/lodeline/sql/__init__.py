"""What SQL says about lineage: column flow, rewriting to carry row identities, masking. Pure."""

from lodeline.sql.bitmaps import Counts
from lodeline.sql.carried import TAG, Identity, Shared
from lodeline.sql.columns import (
    ColumnLineage,
    InputField,
    OutputField,
    compose_sources,
    trace_columns,
)
from lodeline.sql.masking import mask_literals
from lodeline.sql.rewriting import Rewriting, rewrite_rows
from lodeline.sql.sources import (
    Catalog,
    OperatorGap,
    Source,
)
from lodeline.sql.statements import Statement, find_query_span, parse_statements

__all__ = [
    "TAG",
    "Catalog",
    "ColumnLineage",
    "Counts",
    "Identity",
    "InputField",
    "OperatorGap",
    "OutputField",
    "Rewriting",
    "Shared",
    "Source",
    "Statement",
    "compose_sources",
    "find_query_span",
    "mask_literals",
    "parse_statements",
    "rewrite_rows",
    "trace_columns",
]
