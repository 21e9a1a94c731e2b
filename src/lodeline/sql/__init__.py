"""What SQL says about lineage: column flow, and queries rewritten to carry row identities. Pure."""

from lodeline.sql.columns import ColumnLineage, InputField, OutputField, trace_columns
from lodeline.sql.rewriting import Identity, Rewriting, rewrite_rows
from lodeline.sql.sources import Catalog, OperatorGap, Source
from lodeline.sql.statements import Statement, parse_statements

__all__ = [
    "Catalog",
    "ColumnLineage",
    "Identity",
    "InputField",
    "OperatorGap",
    "OutputField",
    "Rewriting",
    "Source",
    "Statement",
    "parse_statements",
    "rewrite_rows",
    "trace_columns",
]
