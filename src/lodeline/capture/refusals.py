"""What a client gets in place of a prediction that operators decided against."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from lodeline.capture.deployment_state import DeploymentState
from lodeline.model import NodeId

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_STATE_HEADER: Final = b"lodeline-deployment-state"
# WebSocket close code "try again later".
_TRY_LATER: Final = 1013
_WORDS: Final = {
    "killed": "was killed",
    "constrained": "is constrained and does not answer this request",
    "rolled_back": "was rolled back to a model that does not run here",
    "state_unknown": "refuses, since the record does not tell what was decided of it",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no prediction.

    Attributes:
        code: `killed`, `constrained`, `rolled_back` or `state_unknown`.
        deployment: namespace and name.
        state: as decided.
    """

    code: str
    deployment: tuple[str, str]
    state: DeploymentState

    def body(self) -> bytes:
        """Give the JSON that the client reads."""
        node = str(NodeId("deployment", *self.deployment))
        said = f"{node} {_WORDS[self.code]}"
        state = self.state
        members = {
            "code": f"deployment.{self.code}",
            "message": f"{said}: {state.reason}" if state.reason else said,
            "deployment": node,
            "state": state.state,
            "reason": state.reason or None,
            "since": state.since or None,
            "model": None if state.model is None else str(state.model),
        }
        return json.dumps(members).encode()


async def refuse(refusal: Refusal, send: Send) -> None:
    """Answer with 503 and why."""
    await _answer(send, 503, refusal.body(), refusal.code)


def answer_fallback(body: bytes) -> Callable[..., Awaitable[None]]:
    """Make the application that gives the operator's answer in place of the model's."""

    async def answer(_: object, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        await _answer(send, 200, body, "constrained")

    return answer


async def refuse_websocket(receive: Receive, send: Send) -> None:
    """Close a WebSocket before it opens."""
    await receive()
    await send({"type": "websocket.close", "code": _TRY_LATER})


async def _answer(send: Send, status: int, body: bytes, state: str) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (_STATE_HEADER, state.encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
