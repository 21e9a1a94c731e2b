"""The pages for people: rendered here, readable without scripts, with their facts as JSON."""

from lodeline.server.pages.routes import Pages
from lodeline.server.pages.service import PageService

__all__ = ["PageService", "Pages"]
