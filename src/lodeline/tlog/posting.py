"""One POST to a service that is not ours, bounded in time and bytes, over the standard library."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final

from lodeline.errors import NoAnswerError, UsageError

# A witness's answer is a line or two, a timestamp some kilobytes with its certificates.
ANSWER_BYTES_MAX: Final = 256 * 1024
_READ_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        content: media type, lower case, without parameters.
        body: at most `ANSWER_BYTES_MAX`.
    """

    status: int
    content: str
    body: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # A redirected POST loses its body, and would carry it to whom the operator did not name.
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


def check_url(url: str) -> str:
    """Take a URL of a service.

    Raises:
        UsageError: neither http nor https.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url[:200]!r} is not an http or https URL")
    return url


def post(url: str, body: bytes, *, content: str, timeout_seconds: float) -> Answer:
    """Send one request.

    Args:
        url: as `check_url` takes it.
        body: sent whole.
        content: its media type.
        timeout_seconds: bound of each wait for the network, and of the body as a whole.

    Raises:
        NoAnswerError: there was no whole answer.
    """
    deadline = time.monotonic() + timeout_seconds
    request = urllib.request.Request(  # noqa: S310  # check_url has looked at the scheme
        check_url(url), data=body, headers={"Content-Type": content}, method="POST"
    )
    try:
        try:
            response = _OPENER.open(request, timeout=timeout_seconds)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            media = str(response.headers.get("Content-Type", "")).partition(";")[0].strip()
            return Answer(response.status, media.lower(), _read(url, response, deadline))
    except (OSError, ValueError, HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise NoAnswerError(url, reason) from error


def _read(url: str, response: Any, deadline: float) -> bytes:
    parts, count = [], 0
    # read1 gives what is there: a service that sends a byte a second meets the deadline.
    while part := response.read1(_READ_BYTES):
        parts.append(part)
        count += len(part)
        if count > ANSWER_BYTES_MAX:
            raise NoAnswerError(url, f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        if time.monotonic() > deadline:
            raise NoAnswerError(url, "the answer took too long")
    return b"".join(parts)
