"""Wake-ups from other processes: one LISTEN connection per process, and an event for everybody who waits for a topic.

A wake-up is a hint. NOTIFY is lost while the connection is down, so every event is set after every reconnect, and
whoever waits also looks from time to time. The connection is a dedicated one: LISTEN does not survive a pool.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from app.errors import DatabaseUnavailable
from app.postgres.pool import connect, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.postgres.pool import Dedicated

log = structlog.get_logger(__name__)

CHANNEL: Final = "tagship"
CHECK_S: Final = 15.0
ANSWER_S: Final = 5.0
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 10.0


class Wakeups:
    """Turns notifications into events. ``run`` does the work; ``listening`` says whether hints arrive now."""

    def __init__(self, dsn: str, *, check_s: float = CHECK_S) -> None:
        self.listening = False
        self._dsn = dsn
        self._check_s = check_s
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set by every wake-up for ``topic`` and after every reconnect; the subscriber clears it.

        Clear it *before* looking for work, so that a wake-up during the look is not lost.
        """
        event = asyncio.Event()
        self._waiting[topic].add(event)
        try:
            yield event
        finally:
            self._waiting[topic].discard(event)
            if not self._waiting[topic]:
                del self._waiting[topic]

    async def run(self) -> None:
        """Listen until cancelled, through every loss of the connection. The caller owns the task and keeps it."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                conn = await connect(self._dsn)
            except DatabaseUnavailable as error:
                log.warning("listener_not_connected", reason=str(error))
            else:
                reason = await self._listen(conn)
                log.warning("listener_disconnected", reason=reason)
                wait_s = FIRST_WAIT_S
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _listen(self, conn: Dedicated) -> str:
        """Pass notifications on until the connection is lost; why it was."""
        lost = asyncio.Event()
        conn.add_termination_listener(lambda *_: lost.set())
        try:
            await conn.add_listener(CHANNEL, self._notified)
            self.listening = True
            self._wake_all()
            while True:
                try:
                    await asyncio.wait_for(lost.wait(), self._check_s)
                except TimeoutError:  # quiet for long: a connection can be dead without anybody having been told
                    await conn.execute("select 1", timeout=ANSWER_S)
                else:
                    return "the connection was closed"
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return reason(error)
        finally:
            self.listening = False
            conn.terminate()

    def _notified(self, _conn: object, _pid: int, _channel: str, payload: object) -> None:
        for event in self._waiting.get(str(payload), ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
