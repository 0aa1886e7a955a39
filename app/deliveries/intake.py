"""Reading the bodies of deliveries before anybody knows whether they are GitHub's.

A forged signature costs its sender nothing, and shows only at the end of the body. So nobody waits for a place to read:
each body holds the memory of what has really arrived, all together no more than a fixed sum, and when that is reached
those that have been arriving for long are given up first. A real delivery arrives in less than a second.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from app.body import PATIENCE, too_large
from app.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.github.signature import SignatureCheck

SLOW_S: Final = 1.0


class Body:
    """What has arrived of one body; ``since`` is when it began to, in seconds of the loop's clock."""

    def __init__(self, intake: Intake, since: float) -> None:
        self.since, self.given_up, self.held = since, False, 0
        self._intake, self._data = intake, bytearray()

    def keep(self, chunk: bytes) -> None:
        """Hold one chunk more."""
        self._data += chunk
        self.held += len(chunk)

    def whole(self) -> bytes:
        """All of it, once."""
        whole, self._data = bytes(self._data), bytearray()
        return whole

    def leave(self) -> None:
        """Hold no memory any more; done with it, whether it was read to its end or not."""
        size, self.held, self._data = self.held, 0, bytearray()
        self._intake.left(size)


class Intake:
    """The bodies under way in one process, together of at most ``most_bytes``; each of at most ``most_each``."""

    def __init__(self, most_bytes: int, most_each: int) -> None:
        self._most, self._most_each, self._held = most_bytes, most_each, 0
        self._arriving: dict[Body, None] = {}  # the oldest first
        self._room = asyncio.Event()

    async def read(self, chunks: AsyncIterator[bytes], check: SignatureCheck) -> Body:
        """The body as soon as all of it is there, ``check`` fed with it on the way. Whoever gets it must ``leave`` it.

        Raises the 413 for one that is too large, of which somewhat more is read and thrown away, for most clients only
        look at the answer when they have sent everything; and a 503 for one that others had to be preferred to.
        """
        body = Body(self, asyncio.get_running_loop().time())
        self._arriving[body] = None
        try:
            await self._collect(body, chunks, check)
        except BaseException:
            body.leave()
            raise
        finally:
            self._arriving.pop(body, None)
        return body

    def left(self, size: int) -> None:
        """So many bytes are not held any more."""
        self._held -= size
        self._room.set()

    async def _collect(self, body: Body, chunks: AsyncIterator[bytes], check: SignatureCheck) -> None:
        seen = 0
        async for chunk in chunks:
            seen += len(chunk)
            if seen <= self._most_each:
                check.update(chunk)
                await self._make_room(body, len(chunk))
                body.keep(chunk)
                self._held += len(chunk)
            elif seen > PATIENCE * self._most_each:
                break
            else:
                body.leave()
        if seen > self._most_each:
            raise too_large(self._most_each)
        if body.given_up:
            raise _given_up()

    async def _make_room(self, body: Body, size: int) -> None:
        """Wait until so many bytes more may be held; whoever holds some and came long ago, is given up for that."""
        loop = asyncio.get_running_loop()
        while not body.given_up and self._held + size > self._most:
            oldest = next((other for other in self._arriving if other.held), None)
            wait_s = SLOW_S if oldest is None else oldest.since + SLOW_S - loop.time()
            if oldest is not None and wait_s <= 0:
                oldest.given_up = True
                oldest.leave()
                continue
            self._room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._room.wait()
        if body.given_up:
            raise _given_up()


def _given_up() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the body came too slowly while much else was being read; redeliver it on GitHub",
        headers={"Retry-After": "5", "Connection": "close"},
    )
