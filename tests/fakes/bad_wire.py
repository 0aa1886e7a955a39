"""A wire to the real PostgreSQL that breaks when a test says so: in front of a transaction, or between a COMMIT and its
answer, when nobody knows whether it took place.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator

CHUNK = 2**16
TURNS = 10  # until a connection that asyncio has just accepted is with us


@dataclass
class BadWire:
    """``dsn`` leads over the wire. Of the next commits so many take place without an answer, and so many of the next
    transactions do not even begin.
    """

    dsn: str
    unanswered_commits: int = 0
    broken_beginnings: int = 0
    writers: list[StreamWriter] = field(default_factory=list)

    async def carry(self, reader: StreamReader, writer: StreamWriter, upstream: str) -> None:
        up_reader, up_writer = await _connect(upstream)
        self.writers.append(up_writer)
        answering = asyncio.Event()
        answering.set()
        back = asyncio.create_task(_answers(up_reader, writer, answering))
        try:
            while data := await reader.read(CHUNK):
                if b"BEGIN;\0" in data and self.broken_beginnings:
                    self.broken_beginnings -= 1
                    break
                if b"COMMIT;\0" in data and self.unanswered_commits:
                    self.unanswered_commits -= 1
                    answering.clear()
                    up_writer.write(data)
                    await back
                    break
                up_writer.write(data)
                await up_writer.drain()
        except OSError:
            pass
        finally:
            back.cancel()
            writer.close()
            up_writer.close()

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def bad_wire(dsn: str) -> AsyncIterator[BadWire]:
    """A wire that works until told otherwise."""
    wire = BadWire("")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        wire.writers.append(writer)
        tasks.add(asyncio.create_task(wire.carry(reader, writer, dsn)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    parts = urlsplit(dsn)
    account = f"{quote(parts.username or '')}:{quote(parts.password or '')}".rstrip(":")
    port = server.sockets[0].getsockname()[1]
    wire.dsn = f"postgresql://{account}@127.0.0.1:{port}{parts.path}?sslmode=disable"
    try:
        yield wire
    finally:
        server.close()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await wire.close()


async def _answers(reader: StreamReader, writer: StreamWriter, answering: asyncio.Event) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            if not answering.is_set():
                return
            writer.write(data)
            await writer.drain()
    writer.close()


async def _connect(dsn: str) -> tuple[StreamReader, StreamWriter]:
    parts = urlsplit(dsn)
    folder = parse_qs(parts.query).get("host", [""])[0]
    port = parts.port or 5432
    if folder.startswith("/"):
        return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
    return await asyncio.open_connection(folder or parts.hostname, port)
