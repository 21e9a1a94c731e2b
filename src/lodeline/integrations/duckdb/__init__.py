"""DuckDB: SQL on files, tables and frames, with columns and, when asked for, rows."""

from lodeline.integrations.duckdb.integration import DuckdbIntegration

__all__ = ["DuckdbIntegration"]
