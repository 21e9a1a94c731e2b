"""The socket that the service and the proxy listen on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from lodeline.server.running import open_listener


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_parts_of_an_answer_leave_at_once(host: str) -> None:
    # Else a body waits until its head is acknowledged, which clients put off by 40 ms.
    async def accept_one() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = open_listener(host, 0)
        async with await asyncio.start_server(look, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            writer.close()
            return await accepted

    assert asyncio.run(accept_one())
