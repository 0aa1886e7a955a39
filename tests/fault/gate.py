"""What the engine's work waits for: the step of a build, or a push on its way to a registry."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.fault.private_engine import BRIDGE
from tests.registry import SlowWay

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from tests.fault.private_engine import PrivateEngine
    from tests.registry import LocalRegistry


class Gate:
    """What the step of a build waits for; steps that wait when it opens, or begin later, go on."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port = listener.getsockname()[1]
        self._server: asyncio.Server | None = None

    @property
    def step(self) -> str:
        return f'RUN echo be""gun; until wget -q -O- http://{BRIDGE}:{self.port}/; do sleep 0.2; done; echo pas""sed\n'

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._answer, sock=self._listener)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._listener.close()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nopen\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def gate(engine: PrivateEngine) -> AsyncIterator[Gate]:
    made = Gate(engine.listener())
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def slow_way_from(engine: PrivateEngine, registry: LocalRegistry) -> AsyncIterator[SlowWay]:
    """The slow way to a registry, beginning in the engine's own network."""
    listener = engine.listener()
    way = SlowWay(registry, f"127.0.0.1:{listener.getsockname()[1]}")
    async with await asyncio.start_server(way.enter, sock=listener):
        yield way
        for traveller in set(way.travellers):
            traveller.cancel()
        await asyncio.gather(*way.travellers, return_exceptions=True)


def noise(size: int) -> str:
    """Text that does not compress to nothing, the same every time."""
    value, parts = 1, []
    for _ in range(size // 10):
        value = value * 1103515245 % 2**31 + 12345
        parts.append(f"{value:010d}")
    return "".join(parts)
