"""The embedded transport: from the spool straight into the local store.

The client side loads it by the entry point `embedded` and never imports it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from lodeline.errors import CouldNotTellError, DeliveryError, UnknownBlobError
from lodeline.ingest.acceptance import Submission, accept
from lodeline.settings import shown_store
from lodeline.store import SqlSegment, open_segment

_ROWS = b'"lodeline_rows"'


class EmbeddedTransport:
    """Delivers into one store, made if need be.

    Args:
        url: of the store, as `open_segment` takes it.
    """

    name = "embedded"

    def __init__(self, url: str) -> None:
        self.url = shown_store(url)
        try:
            self._segment = open_segment(url)
        except CouldNotTellError as error:
            raise DeliveryError(self.url, str(error)) from error

    @property
    def segment(self) -> SqlSegment:
        """The store's segment."""
        return self._segment

    def close(self) -> None:
        """Close the store."""
        self._segment.close()

    def deliver(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """Take records in; durable, and events folded, when it returns.

        Raises:
            DeliveryError: the store cannot be written now.
        """
        outcomes: list[str | None] = []
        try:
            for door, group in groupby(records, key=lambda record: _door_of(record[0])):
                payloads = [payload for _, payload in group]
                if door == "event":
                    outcomes += self._accept(payloads)
                elif door == "blob":
                    outcomes += [self._keep_blob(payload) for payload in payloads]
                else:
                    # Only here: most runs predict nothing.
                    from lodeline.ingest.predictions import accept_predictions

                    decoded = [json.loads(payload) for payload in payloads]
                    outcomes += accept_predictions(self._segment, decoded)
        except CouldNotTellError as error:
            raise DeliveryError(self.url, str(error)) from error
        return outcomes

    def _accept(self, payloads: list[bytes]) -> list[str | None]:
        """Take events in. What is refused lies in the dead letters, to be fixed and resubmitted."""
        submissions = [
            Submission(payload, f"spool:{index}") for index, payload in enumerate(payloads)
        ]
        outcomes: list[str | None] = [None] * len(payloads)
        for letter in accept(self._segment, submissions).dead_letters:
            index = int(letter.source.partition(":")[2])
            outcomes[index] = f"{letter.message} (dead letter {letter.letter_id})"
        if any(_ROWS in payload for payload in payloads):
            # Only here: whoever records no rows loads nothing of them.
            from lodeline.rows.committing import commit_blocks

            commit_blocks(self._segment)
        return outcomes

    def _keep_blob(self, payload: bytes) -> str | None:
        blob = json.loads(payload)
        try:
            data = Path(blob["path"]).read_bytes()
        except FileNotFoundError:
            return None if self._has_blob(str(blob["digest"])) else "the blob is gone"
        digest = self._segment.put_blob(data)
        return None if digest == blob["digest"] else f"the blob's digest is {digest}"

    def _has_blob(self, digest: str) -> bool:
        try:
            self._segment.get_blob(digest)
        except UnknownBlobError:
            from lodeline.rows.committing import is_superseded

            return is_superseded(self._segment, digest)
        return True


def _door_of(kind: str) -> str:
    return kind if kind in {"event", "blob"} else "predictions"
