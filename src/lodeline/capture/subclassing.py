"""Connections of native code that tell: made as subclasses of the classes that a program wants.

Types of native code cannot be patched, but what opens connections takes the class to make. Each of
the program's classes has one subclass, of the same name, whose instances keep what is known of them
in `_lodeline`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodeline.capture.recorder import Recorder


class Subclasses:
    """Subclasses of the program's connections and cursors, one for each class.

    Args:
        recorder: takes the gap of a factory that is no class.
        integration: its name.
        connections: a connection's class is a subclass of it; `object` where any class will do.
        cursors: likewise of cursors.
        make_connection: makes the subclass of a connection class.
        make_cursor: makes the subclass of a cursor class.
    """

    def __init__(
        self,
        recorder: Recorder,
        integration: str,
        *,
        connections: type,
        cursors: type,
        make_connection: Callable[[Any, Subclasses, Recorder], Any],
        make_cursor: Callable[[Any], Any],
    ) -> None:
        self._recorder = recorder
        self._integration = integration
        self._kinds = connections, cursors
        self._make_connection, self._make_cursor = make_connection, make_cursor
        self._connections: dict[Any, Any] = {}
        self._cursors: dict[Any, Any] = {}

    def connection(self, base: Any) -> Any:
        """The subclass of a connection class; a function that makes connections stays."""
        if not isinstance(base, type) or not issubclass(base, self._kinds[0]):
            told = "a factory that is no class is not observed"
            self._recorder.gap(self._integration, "capture", told)
            return base
        if base not in self._connections:
            self._connections[base] = self._make_connection(base, self, self._recorder)
        return self._connections[base]

    def cursor(self, base: Any) -> Any:
        """The subclass of a cursor class."""
        if not isinstance(base, type) or not issubclass(base, self._kinds[1]):
            return base
        if base not in self._cursors:
            self._cursors[base] = self._make_cursor(base)
        return self._cursors[base]


def named_as(kind: type, base: type) -> type:
    """Give a subclass the name, module and docstring of its base."""
    kind.__name__, kind.__qualname__ = base.__name__, base.__qualname__
    kind.__module__, kind.__doc__ = base.__module__, base.__doc__
    return kind


def tell(integration: str, connection: Any, act: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of what is known of a connection; a fault of it is counted and goes no further.

    Args:
        integration: whose fault it would be.
        connection: whose `_lodeline` is asked; one without is left alone.
        act: name of the method.
        *args: of it.
        **kwargs: of it.
    """
    watched = getattr(connection, "_lodeline", None)
    if watched is None:
        return None
    try:
        return getattr(watched, act)(*args, **kwargs)
    except Exception as error:  # capture's outermost door
        watched.recorder.trouble(integration, error)
        return None
