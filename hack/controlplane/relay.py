"""Carries connections from a loopback port of the machine into the cluster's network namespace.

A socket stays in the network namespace that it was made in. `hack/cluster up` makes the listening socket
in the machine's namespace and the supervisor inherits it, so accepting happens outside and connecting
inside: one open port on 127.0.0.1, no virtual link, address, route or firewall rule on the machine.
Only kubectl and the operator run outside a pod come this way; the cluster's own programs talk directly.
"""

from __future__ import annotations

import asyncio
import socket

_CHUNK = 1 << 16


async def serve(listener: socket.socket, port: int) -> asyncio.Server:
    """Accept on `listener`, connect each connection to 127.0.0.1:`port` of this process's namespace."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # the API server is down: the client sees a closed connection, as it would without us
            writer.close()
            return
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        inner_writer.close()
        writer.close()

    return await asyncio.start_server(connection, sock=listener)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of one direction, and pass the end on; the other direction may go on."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()
