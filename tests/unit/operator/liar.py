"""A pod that answers `GET /progress` with whatever bytes it likes: a real HTTP server on the loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Liar:
    """Its port, and the requests that it has had."""

    port: int = 0
    requests: list[str] = field(default_factory=list)


def reply(body: bytes, *headers: str, status: str = "200 OK") -> Script:
    """A complete answer."""
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""))

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body)

    return send


def endless(piece: bytes, *headers: str, pause: float = 0.0) -> Script:
    """Headers, and then the same piece again and again until the client has had enough."""
    head = "\r\n".join(("HTTP/1.1 200 OK", *headers, "", ""))

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return send


def raw(*pieces: bytes) -> Script:
    """Bytes as they are, each sent on its own."""

    async def send(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    return send


async def silence(writer: asyncio.StreamWriter) -> None:
    """Nothing, for ever."""
    await asyncio.Event().wait()


@asynccontextmanager
async def serve(script: Script) -> AsyncIterator[Liar]:
    """Until the end of the block; each connection is closed after its answer."""
    liar, tasks = Liar(), set[asyncio.Task[None]]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            liar.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            await script(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    liar.port = server.sockets[0].getsockname()[1]
    try:
        yield liar
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
