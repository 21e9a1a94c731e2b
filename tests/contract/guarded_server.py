"""A service whose patience is a second and whose connections are few."""

import sys

from lodeline.server.configuration import ServerConfiguration
from lodeline.server.guarding import Bounds
from lodeline.server.running import serve

if __name__ == "__main__":
    bounds = Bounds(
        connections=40, head_seconds=1, body_seconds=1, idle_seconds=3, unread_seconds=1
    )
    serve(sys.argv[1], ServerConfiguration(port=0), bounds=bounds)
