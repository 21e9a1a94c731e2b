"""The tools over the Model Context Protocol, by the protocol's own SDK: stdio, and HTTP at /mcp.

Loaded only where it is asked for: the SDK is heavier than the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response

from lodeline.server.agent_tools import INSTRUCTIONS, TOOLS, Ask, ToolAnswer, call_tool
from lodeline.server.endpoints import Caller, Endpoint, Permission

_CALLER: Final = "lodeline.caller"
# A page of another origin that a browser resolves to loopback must not ask with the reader's reach.
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


def serve_stdio(ask: Ask) -> None:
    """Serve one client over standard input and output, until it closes them."""
    server = _build_server(lambda _: ask)

    async def serve() -> None:
        async with stdio_server() as (received, sent):
            await server.run(received, sent, server.create_initialization_options())

    anyio.run(serve)


class AgentsEndpoint:
    """The tools at POST /mcp, each call under the permission of the caller that sent it.

    Args:
        ask: answers a caller's question.
        open_to_all: whether callers need not say who they are; then only loopback names are
            served, which keeps pages of other origins out.
    """

    def __init__(
        self,
        ask: Callable[[Caller, str, Mapping[str, object]], dict[str, Any]],
        *,
        open_to_all: bool,
    ) -> None:
        hosts = [one for name in _LOOPBACK for one in (name, f"{name}:*")]
        security = TransportSecuritySettings(
            enable_dns_rebinding_protection=open_to_all,
            allowed_hosts=hosts,
            allowed_origins=[
                f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts
            ],
        )

        def ask_for(request: Request | None) -> Ask:
            assert request is not None, "HTTP requests come with theirs"
            return partial(ask, request.scope[_CALLER])

        self._manager = StreamableHTTPSessionManager(
            _build_server(ask_for), json_response=True, stateless=True, security_settings=security
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Run while the service does."""
        running: AbstractAsyncContextManager[None] = self._manager.run()
        return running

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the one endpoint."""
        summary = "Tools for agents: Model Context Protocol, streamable HTTP without sessions"
        return [Endpoint("POST", "/mcp", Permission.READ, self._serve, summary)]

    async def _serve(self, request: Request, caller: Caller) -> Response:
        request.scope[_CALLER] = caller
        # A response is whatever is called with the request; here the SDK writes it.
        return self._manager.handle_request


def _build_server(ask_for: Callable[[Request | None], Ask]) -> Server[Any]:
    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=_TOOLS)

    async def call(context: Any, parameters: Any) -> types.CallToolResult:
        ask, arguments = ask_for(context.request), parameters.arguments or {}
        answer = await asyncio.to_thread(call_tool, ask, parameters.name, arguments)
        return _result(answer)

    from lodeline import __version__

    return Server(
        "lodeline",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call,
    )


def _result(answer: ToolAnswer) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(text=answer.text)],
        structured_content=answer.structured,
        is_error=answer.is_error,
    )


_TOOLS: Final = [
    types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.schema,
        annotations=types.ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )
    for tool in TOOLS
]
