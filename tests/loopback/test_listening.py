"""The socket that requests come in by."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
from starlette.responses import PlainTextResponse

from app.main import Workers
from app.serving import MOST_BESIDES, answer_until, listen
from app.settings import load_settings
from tests.ports import free_port
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

START: Final = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED: Final = START + b"Transfer-Encoding: chunked\r\n\r\n"


def test_no_answer_waits_for_the_acknowledgement_of_its_first_part() -> None:
    settings = load_settings({"TAGSHIP_PORT": str(free_port())})
    with listen(settings) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """Say how long the body is, without keeping it."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await PlainTextResponse(str(size))(scope, receive, send)


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that counts."""
    stop = asyncio.Event()
    with listen(load_settings({"TAGSHIP_PORT": str(free_port())})) as listener:
        address = listener.getsockname()
        serving = asyncio.create_task(answer_until(stop, count, listener, Workers()))
        reader, writer = await asyncio.open_connection(*address)
        try:
            async with asyncio.timeout(PATIENCE_S):
                yield reader, writer
        finally:
            writer.close()
            stop.set()
            await serving


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (START + b"X-Much: ", b"x" * 65536),
        (START, b"X-Many: many\r\n" * 4096),
        (b"GET /", b"x" * 65536),
        (CHUNKED + b"0\r\nX-Much: ", b"x" * 65536),
    ],
    ids=["one header", "headers", "target", "trailer"],
)
async def test_a_request_whose_head_has_no_end_is_refused(start: bytes, more: bytes) -> None:
    async with answering() as (reader, writer):
        writer.write(start)
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 64 * MOST_BESIDES:
                writer.write(more)
                await writer.drain()
                sent += len(more)
        assert reader.at_eof() or reader.exception() is not None


async def test_a_body_is_no_part_of_the_head() -> None:
    async with answering() as (reader, writer):
        body = b"x" * (2 * MOST_BESIDES)
        for _ in range(2):
            writer.write(START + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        writer.write(CHUNKED + (b"%x\r\n" % len(body) + body + b"\r\n") * 2 + b"0\r\n\r\n")
        for size in (len(body), len(body), 2 * len(body)):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(len(str(size))) == str(size).encode()


async def test_a_head_that_does_not_come_in_time_ends_the_connection_and_a_body_may_take_longer() -> None:
    async with answering() as (reader, writer):
        address = writer.get_extra_info("peername")
        heads = [b"", b"POST / HTTP/1.1\r\nHost", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"]
        slow = [await asyncio.open_connection(*address) for _ in heads]
        writer.write(START + b"Content-Length: 1\r\n\r\n")
        for (_, to), head in zip(slow, heads, strict=True):
            to.write(head)
        ended = await asyncio.gather(*(of.read() for of, _ in slow))
        assert [answer[:12] for answer in ended] == [b"", b"", b"HTTP/1.1 200"]
        writer.write(b"x")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, to in slow:
            to.close()
