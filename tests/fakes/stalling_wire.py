"""A wire to a PostgreSQL that falls silent: what a vanished host, or a firewall that forgets, does to connections."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from app.postgres.folder import SUPERUSER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class StallingWire:
    """A TCP address before a server's socket. While it stalls nothing passes and nobody is told: no data, no end."""

    def __init__(self, target: Path) -> None:
        self.port = 0
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def start(cls, target: Path) -> AsyncIterator[StallingWire]:
        wire = cls(target)
        listener = await asyncio.start_server(wire._serve, "127.0.0.1", 0)
        wire.port = listener.sockets[0].getsockname()[1]
        try:
            yield wire
        finally:
            listener.close()
            wire.cut()
            await asyncio.gather(*wire._serving, return_exceptions=True)

    def dsn(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def stall(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        """Close every connection there is; new ones get through again."""
        for end in self._ends:
            end.transport.abort()
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._ends.add(writer)
        with suppress(OSError):
            await self._flowing.wait()
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._target))
            self._ends.add(up_writer)
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        self._serving.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
            await self._flowing.wait()
        writer.close()
