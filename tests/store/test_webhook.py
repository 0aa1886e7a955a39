"""The webhook endpoint on a database that misbehaves, and under many large bodies."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from starlette.requests import Request

from app.deliveries.http import LARGE_AT_ONCE, LARGE_BYTES, WebhookEndpoint
from app.errors import DatabaseUnavailable
from app.github.signature import sign
from app.postgres.pool import create_pool, transaction
from app.problems import Problem
from tests.fakes.bad_wire import bad_wire
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message

    from app.postgres.pool import Pool

SECRET = "a secret"


def ping(size: int = 0) -> bytes:
    """A delivery that starts nothing, of at least so many bytes."""
    return json.dumps({"zen": "x" * size}).encode()


class Delivery:
    """One request as it comes over the wire: its body is there as soon as ``gate`` is open."""

    def __init__(self, body: bytes, guid: str, *, secret: str = SECRET, gate: asyncio.Event | None = None) -> None:
        self.body, self.asked, self._gate = body, False, gate
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "x-github-event": "ping",
            "x-github-delivery": guid,
            "x-hub-signature-256": sign(secret, body),
        }
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/webhooks/github",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.request = Request(scope, self.receive)

    async def receive(self) -> Message:
        self.asked = True
        if self._gate is not None:
            await self._gate.wait()
        return {"type": "http.request", "body": self.body, "more_body": False}


async def answered(endpoint: WebhookEndpoint, delivery: Delivery) -> tuple[int, dict[str, Any]]:
    response = await endpoint.answer(delivery.request)
    shown: dict[str, Any] = json.loads(bytes(response.body))
    return response.status_code, shown


async def stored(pool: Pool) -> int:
    async with transaction(pool) as conn:
        count: int = await conn.fetchval("select count(*) from deliveries")
    return count


@pytest.mark.parametrize(
    ("broken", "outcome"), [({"broken_beginnings": 2}, "ignored"), ({"unanswered_commits": 1}, "duplicate")]
)
async def test_a_database_that_is_away_for_a_moment_costs_no_delivery(
    database: str, pool: Pool, broken: dict[str, int], outcome: str
) -> None:
    async with bad_wire(database) as wire:
        wired = await create_pool(wire.dsn, size=2)
        for name, times in broken.items():
            setattr(wire, name, times)
        status, shown = await answered(WebhookEndpoint(wired, [SECRET]), Delivery(ping(), "g-1"))
        await wired.close()
    assert (status, shown["outcome"]) == (200, outcome)
    assert await stored(pool) == 1


async def test_a_database_that_stays_away_is_asked_three_times(database: str, pool: Pool) -> None:
    async with bad_wire(database) as wire:
        wired = await create_pool(wire.dsn, size=2)
        wire.broken_beginnings = 10
        with pytest.raises(DatabaseUnavailable):
            await WebhookEndpoint(wired, [SECRET]).answer(Delivery(ping(), "g-1").request)
        assert wire.broken_beginnings == 7
        await wired.close()
    assert await stored(pool) == 0


async def test_a_database_that_does_not_answer_is_a_503_before_github_hangs_up(pool: Pool) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("lock table deliveries in access exclusive mode")
        with pytest.raises(Problem, match="redeliver it on GitHub") as refused:
            await WebhookEndpoint(pool, [SECRET], answer_s=0.5).answer(Delivery(ping(), "g-1").request)
    assert refused.value.status == 503


async def test_a_body_that_does_not_arrive_is_a_503_as_well(pool: Pool) -> None:
    delivery = Delivery(ping(), "g-1", gate=asyncio.Event())
    with pytest.raises(Problem, match="could not be read"):
        await WebhookEndpoint(pool, [SECRET], answer_s=0.2).answer(delivery.request)


async def test_only_a_few_large_bodies_are_read_at_once_and_small_ones_pass_them(pool: Pool) -> None:
    endpoint, gate = WebhookEndpoint(pool, [SECRET]), asyncio.Event()
    large = [Delivery(ping(LARGE_BYTES), f"large-{number}", gate=gate) for number in range(LARGE_AT_ONCE + 2)]
    answers = [asyncio.create_task(answered(endpoint, delivery)) for delivery in large]

    async def as_many_as_may() -> bool:
        return sum(delivery.asked for delivery in large) == LARGE_AT_ONCE

    await until(as_many_as_may, "large bodies are being read", 5)
    assert (await answered(endpoint, Delivery(ping(), "small")))[0] == 200
    assert sum(delivery.asked for delivery in large) == LARGE_AT_ONCE
    gate.set()
    assert [status for status, _ in await asyncio.gather(*answers)] == [200] * len(large)
    assert await stored(pool) == len(large) + 1


async def test_large_bodies_are_worked_on_aside_and_small_ones_at_once(pool: Pool) -> None:
    endpoint, aside = WebhookEndpoint(pool, [SECRET]), CountingExecutor()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(aside)
    try:
        assert (await answered(endpoint, Delivery(ping(), "small")))[0] == 200
        assert aside.submitted == []
        assert (await answered(endpoint, Delivery(ping(LARGE_BYTES), "large")))[0] == 200
        assert len(aside.submitted) == 2
    finally:
        loop.set_default_executor(ThreadPoolExecutor())
        aside.shutdown()


class CountingExecutor(ThreadPoolExecutor):
    """Threads that remember what they were given."""

    def __init__(self) -> None:
        super().__init__(2)
        self.submitted: list[object] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.submitted.append(work)
        return super().submit(work, *args, **kwargs)


async def test_the_log_says_which_secret_signed(pool: Pool) -> None:
    endpoint = WebhookEndpoint(pool, ["new", "old"])
    merge = structlog.contextvars.merge_contextvars
    with structlog.testing.capture_logs(processors=[merge]) as events:
        await endpoint.answer(Delivery(ping(), "g-1", secret="old").request)
        await endpoint.answer(Delivery(ping(), "g-2", secret="new").request)
    assert [event["secret_index"] for event in events if event["event"] == "delivery_ignored"] == [1, 0]


@pytest.mark.parametrize("header", [None, "sha1=" + "0" * 40, "sha256=x"])
async def test_what_cannot_be_signed_is_refused_before_its_body_is_read(pool: Pool, header: str | None) -> None:
    endpoint = WebhookEndpoint(pool, [SECRET])
    delivery = Delivery(ping(LARGE_BYTES), "unsigned", gate=asyncio.Event())
    headers = [pair for pair in delivery.request.scope["headers"] if pair[0] != b"x-hub-signature-256"]
    delivery.request.scope["headers"] = headers + ([(b"x-hub-signature-256", header.encode())] if header else [])
    with pytest.raises(Problem) as refused:
        await endpoint.answer(Request(delivery.request.scope, delivery.receive))
    assert refused.value.status == 401
    assert not delivery.asked
    assert await stored(pool) == 0
