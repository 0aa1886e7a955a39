"""A bounded pipe of bytes between the event loop and one thread, usable in either direction.

The loop's side awaits, the thread's side blocks; each waits while the pipe is full or empty, so a slow reader slows
its writer.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

PIPE_BYTES: Final = 1024 * 1024


class PipeClosed(Exception):
    """The pipe was closed, for the other side wants no more; whoever waits at it gives up."""


class Pipe:
    """Takes another piece while it holds fewer than ``PIPE_BYTES``; an empty piece read is the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._finished = self._closed = False
        self.error: BaseException | None = None

    async def put(self, piece: bytes) -> None:
        """Add a piece, from the loop; raises ``PipeClosed``."""
        while (waiter := self._put_or_wait(piece)) is not None:
            await waiter

    async def get(self) -> bytes:
        """Take a piece, from the loop; raises the writer's error after all its pieces, or ``PipeClosed``."""
        while not isinstance(piece := self._get_or_wait(), bytes):
            await piece
        return piece

    def put_blocking(self, piece: bytes) -> None:
        """``put`` from the thread."""
        with self._changed:
            while not self._try_put(piece):
                self._changed.wait()

    def get_blocking(self) -> bytes:
        """``get`` from the thread."""
        with self._changed:
            while (piece := self._try_get()) is None:
                self._changed.wait()
            return piece

    def finish(self, error: BaseException | None) -> None:
        """Say that nothing more will be put; ``error`` is raised where the end would be read."""
        with self._changed:
            self._finished, self.error = True, error
            self._tell()

    def close(self) -> None:
        """Wake and turn away everybody at either side, now and later."""
        with self._changed:
            self._closed = True
            self._pieces.clear()
            self._tell()

    def check_open(self) -> None:
        """Raise ``PipeClosed`` when the pipe is closed."""
        if self._closed:
            raise PipeClosed

    def _try_put(self, piece: bytes) -> bool:
        with self._changed:
            self.check_open()
            if self._held >= PIPE_BYTES:
                return False
            if piece:
                self._pieces.append(piece)
                self._held += len(piece)
                self._tell()
            return True

    def _try_get(self) -> bytes | None:
        with self._changed:
            self.check_open()
            if self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                self._tell()
                return piece
            if self.error is not None:
                raise self.error
            return b"" if self._finished else None

    def _put_or_wait(self, piece: bytes) -> asyncio.Future[None] | None:
        with self._changed:
            return None if self._try_put(piece) else self._wait()

    def _get_or_wait(self) -> bytes | asyncio.Future[None]:
        with self._changed:
            piece = self._try_get()
            return self._wait() if piece is None else piece

    def _wait(self) -> asyncio.Future[None]:
        """What the loop awaits; made under the same lock as the look that found nothing, so that no change is
        missed.
        """
        self._waiter = self._loop.create_future()
        return self._waiter

    def _tell(self) -> None:
        self._changed.notify_all()
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            with suppress(RuntimeError):  # the loop is gone, and everybody with it
                self._loop.call_soon_threadsafe(_wake, waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
