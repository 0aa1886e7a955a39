"""Whether what pages show has changed, for all who look at once.

While somebody looks, one query a second takes the pulse of every table that pages show: cheap marks of what was last
added and of what is under way. A page is told the names of those that changed and reads itself anew. Notifications
would be quicker by half a second, and lost with their connection; this is not, and a burst of events costs no more
than one.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog

from app.errors import AppError
from app.postgres.pool import transaction
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from app.postgres.pool import Pool

log = structlog.get_logger(__name__)

SQL: Final = load_queries("pulse")

BEAT_S: Final = 1.0


class Pulse:
    """Tells those who watch which topics changed. It beats only while somebody watches."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._marks: Mapping[str, str] = {}
        self._watchers: set[Watcher] = set()
        self.beating: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Somebody who is told from now on, and at once of every topic: a page may be older than its stream."""
        watcher = Watcher()
        self._watchers.add(watcher)
        if self.beating is None or self.beating.done():
            self._marks = {}
            self.beating = asyncio.create_task(self._beat())
        elif self._marks:
            watcher.tell(frozenset(self._marks))
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    async def _beat(self) -> None:
        while self._watchers:
            try:
                self._tell(await self._read())
            except AppError as error:  # whoever asks for a page is told by that page
                log.warning("pulse_missed", reason=str(error))
            await asyncio.sleep(BEAT_S)

    async def _read(self) -> Mapping[str, str]:
        async with transaction(self._pool) as conn:
            row = await conn.fetchrow(SQL.pulse)
        return {} if row is None else {name: str(mark) for name, mark in row.items()}

    def _tell(self, marks: Mapping[str, str]) -> None:
        news = changed(self._marks, marks)
        self._marks = marks
        if news:
            for watcher in self._watchers:
                watcher.tell(news)


class Watcher:
    """Collects the topics that changed until somebody asks."""

    def __init__(self) -> None:
        self._news: set[str] = set()
        self._told = asyncio.Event()

    def tell(self, topics: frozenset[str]) -> None:
        """Remember that these topics changed."""
        self._news |= topics
        self._told.set()

    async def news(self) -> list[str]:
        """The topics that changed since the last call, sorted; waits until there is one."""
        await self._told.wait()
        self._told.clear()
        news, self._news = sorted(self._news), set()
        return news


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> frozenset[str]:
    """The topics whose marks differ; at the first look all of them, since nobody knows what came before.

    >>> changed({"builds": "1", "products": "a"}, {"builds": "2", "products": "a"}), changed({}, {"builds": "1"})
    (frozenset({'builds'}), frozenset({'builds'}))
    """
    return frozenset(name for name in after if before.get(name) != after[name])
