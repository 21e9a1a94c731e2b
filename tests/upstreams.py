"""Model servers of no framework: raw sockets that answer as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Asked:
    """One request as the server got it."""

    line: str
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes = b""

    async def read_body(self) -> bytes:
        """Read the body, by its length or its chunks."""
        if "content-length" in self.headers:
            self.body = await self.reader.readexactly(int(self.headers["content-length"]))
        elif self.headers.get("transfer-encoding") == "chunked":
            while True:
                size = int(await self.reader.readline(), 16)
                piece = await self.reader.readexactly(size + 2)
                self.body += piece[:-2]
                if size == 0:
                    break
        return self.body

    def answer(self, body: bytes, *more: str, status: str = "200 OK") -> None:
        """Answer with a body of told length."""
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more]
        self.writer.write("\r\n".join([*head, "", ""]).encode() + body)


Handler = Callable[[Asked], Awaitable[object]]


@dataclass
class ModelServer:
    port: int
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def model_server(handle: Handler) -> Iterator[ModelServer]:
    """Serve on a free port, from a thread."""
    found = ModelServer(0)
    ready, stopping = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                headers = {}
                while (header := await reader.readline()).strip():
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                asked = Asked(line.decode().strip(), headers, reader, writer)
                found.asked.append(asked)
                await handle(asked)
                await writer.drain()
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        found.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stopping.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()
