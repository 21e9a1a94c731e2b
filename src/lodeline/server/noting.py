"""What is known of a request under way, told by those who know it.

The gate tells who calls, the router which route it was, a refusal under which code.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

# In the request's scope.
KEY: Final = "lodeline.request"
# Of a request that no route took: paths are the client's to choose, and a label must not grow.
_NO_ROUTE: Final = "none"


class ObservedRequest:
    """What is known of one request besides its bytes."""

    __slots__ = ("caller", "code", "request_id", "route", "status")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.route = _NO_ROUTE
        self.status = 0
        self.code: str | None = None
        self.caller: str | None = None


def note(
    scope: MutableMapping[str, Any],
    *,
    route: str | None = None,
    code: str | None = None,
    caller: str | None = None,
) -> None:
    """Tell of a request under way: its route template, the code of its refusal, who calls."""
    request: ObservedRequest | None = scope.get(KEY)
    if request is None:
        return
    request.route = route or request.route
    request.code = code or request.code
    request.caller = caller or request.caller
