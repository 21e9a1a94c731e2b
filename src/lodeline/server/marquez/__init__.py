"""The API of Marquez, version 1, over this record: the same paths, parameters and shapes."""

from lodeline.server.marquez.group import Marquez

__all__ = ["Marquez"]
