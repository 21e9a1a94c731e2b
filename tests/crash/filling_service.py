"""Fill the file system under a running service, make room again, and tell what became of it all.

    python filling_service.py FOLDER

Prints a JSON object: what was acknowledged and how each other request was answered, while the disk
was full, once there was room, and what the log holds in the end.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from running_services import RunningService, event, serving

from lodeline.store import open_segment

SENDERS = 4


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


def send(service: RunningService, moment: str, count: int, told: list[dict[str, Any]]) -> None:
    """Send events one by one and in batches, from several clients."""

    def work(sender: int) -> None:
        for number in range(count):
            names = [f"{moment}_{sender}_{number}_{i}" for i in range(1 + 20 * (number % 2))]
            padding = {"padding": "x" * 2000}
            stated = [event(name, **padding) for name in names]
            many = len(stated) > 1
            path = "/api/v1/lineage/batch" if many else "/api/v1/lineage"
            reply = service.post(stated if many else stated[0], path)
            retry = reply.headers.get("retry-after")
            code = reply.json["code"] if reply.status >= 400 else None
            told.append({"names": names, "status": reply.status, "code": code, "retry": retry})

    threads = [threading.Thread(target=work, args=(sender,)) for sender in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Run the course."""
    folder = Path(sys.argv[1])
    store = folder / "lodeline.db"
    told: dict[str, list[dict[str, Any]]] = {"before": [], "full": [], "room": []}
    with serving(store) as service:
        send(service, "before", 4, told["before"])
        ballast = fill(folder)
        send(service, "full", 12, told["full"])
        alive = service.send("GET", "/healthz").status
        os.truncate(ballast, 0)
        ballast.unlink()
        send(service, "room", 4, told["room"])
        answered = service.post(event("last"), "/api/v1/lineage?wait=folded").status
        found = service.ask("show?id=dataset:n:last").get("name")
    with open_segment(f"sqlite:///{store}") as segment:
        kept = [
            json.loads(entry.payload)["outputs"][0]["name"]
            for entry in segment.iter_entries(kinds={"event"})
            if entry.payload is not None
        ]
    print(json.dumps({**told, "alive": alive, "last": [answered, found], "kept": kept}))


if __name__ == "__main__":
    main()
