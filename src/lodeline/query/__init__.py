"""Questions over the graph: trace, path, impact, show, search, diff, stats; one door, `ask`."""

from lodeline.query.door import ask

__all__ = ["ask"]
