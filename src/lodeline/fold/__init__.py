"""Placeholder docstring; see ARCHITECTURE.md."""
