"""/metrics: what this process counts, and what the database says at this moment.

Anybody may ask, as scrapers do, and however many ask at once, the database and the engine are asked once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.responses import Response

from app.errors import DatabaseUnavailable
from app.metrics.state import families
from app.metrics.store import read_state
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric
    from starlette.requests import Request

    from app.api.services import Services
    from app.metrics.state import State
    from app.settings import Settings

DATABASE_S: Final = 2.0
ENGINE_S: Final = 2.0


class Found(NamedTuple):
    """What this process was told when it asked around; ``state`` is None when the database did not answer in time."""

    state: State | None
    engine_up: bool


class Scrapes:
    """Answers scrapes over these services."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asking: asyncio.Task[Found] | None = None

    async def answer(self, request: Request) -> Response:
        """200 within some three seconds whatever is away; in OpenMetrics or Prometheus's own text, as asked."""
        found = await self._found()
        encode, content_type = format_for(request.headers.get("accept", ""))
        # In a thread: it takes some milliseconds, in which others have their turns.
        body = await asyncio.to_thread(encode, _All(self._services, found))
        return Response(body, headers={"Content-Type": content_type})

    async def _found(self) -> Found:
        """Ask, or wait for the answer that another scrape waits for already."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Found:
        state, engine_up = await asyncio.gather(self._state(), self._engine_up())
        return Found(state, engine_up)

    async def _state(self) -> State | None:
        try:
            async with asyncio.timeout(DATABASE_S), transaction(self._services.pool) as conn:
                return await read_state(conn)
        except (DatabaseUnavailable, TimeoutError):
            return None

    async def _engine_up(self) -> bool:
        try:
            async with asyncio.timeout(ENGINE_S):
                return await self._services.engine.answers()
        except TimeoutError:
            return False


def format_for(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """How to write it for who accepts this, and the content type of that; Prometheus's text for what makes no sense."""
    try:
        return choose_encoder(accept)
    except TypeError:  # prometheus-client 0.26 compares a version that is no number with one that is
        return choose_encoder("")


class _All(Collector):
    """Everything that one scrape shows."""

    def __init__(self, services: Services, found: Found) -> None:
        self._services, self._found = services, found

    def collect(self) -> Iterator[Metric]:
        services, (state, engine_up) = self._services, self._found
        yield from services.metrics.registry.collect()
        rate = services.github.watching.rate
        yield from families(state, stages=queues_of(services.settings), engine_up=engine_up, rate=rate)


def queues_of(settings: Settings) -> list[str]:
    """The stages whose queues are worked on, by these settings; one that nobody works on would seem to be late."""
    looks = ["look"] if settings.tagship_reconcile_interval_s else []
    reports = ["report"] if settings.reports_to_github else []
    return ["build", "rollout", "notice", *reports, *looks]
