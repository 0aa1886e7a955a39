"""The webhook endpoint on a database that misbehaves, and under many large bodies."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from app.deliveries.http import LARGE_AT_ONCE, WebhookEndpoint
from app.deliveries.reading import LARGE_BYTES
from app.errors import DatabaseUnavailable
from app.github.signature import sign
from app.postgres.pool import create_pool, transaction
from app.problems import Problem
from tests.fakes.bad_wire import bad_wire
from tests.fakes.serving import serve
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.responses import Response
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


async def test_bodies_that_do_not_arrive_keep_no_other_waiting(pool: Pool) -> None:
    endpoint, gate = WebhookEndpoint(pool, [SECRET]), asyncio.Event()
    large = [Delivery(ping(LARGE_BYTES), f"large-{number}", gate=gate) for number in range(LARGE_AT_ONCE + 2)]
    answers = [asyncio.create_task(answered(endpoint, delivery)) for delivery in large]

    async def all_are_asked_for() -> bool:
        return all(delivery.asked for delivery in large)

    await until(all_are_asked_for, "large bodies are being read", 5)
    assert (await answered(endpoint, Delivery(ping(), "small")))[0] == 200
    assert (await answered(endpoint, Delivery(ping(LARGE_BYTES), "another")))[0] == 200
    gate.set()
    assert [status for status, _ in await asyncio.gather(*answers)] == [200] * len(large)
    assert await stored(pool) == len(large) + 2


FORGERS = 64
REAL_BYTES = 2 * 1024 * 1024


@asynccontextmanager
async def listening(endpoint: WebhookEndpoint) -> AsyncIterator[str]:
    """The endpoint behind a real socket."""

    async def refused(_request: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)
        return problem.response()

    route = Route("/webhooks/github", endpoint.answer, methods=["POST"])
    async with serve(Starlette(routes=[route], exception_handlers={Problem: refused})) as url:
        yield url


class Forger:
    """Whoever sends the beginning of a large body under a signature that looks like one, and then keeps waiting."""

    @classmethod
    async def begin(cls, url: str, sent: int) -> Forger:
        forger = cls()
        port = urlsplit(url).port
        forger.reader, forger.writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: {REAL_BYTES}\r\n"
        forger.writer.write(f"{head}X-Hub-Signature-256: sha256={'0' * 64}\r\n\r\n".encode() + b"x" * sent)
        await forger.writer.drain()
        forger.answer = asyncio.create_task(forger.reader.readuntil(b"\r\n\r\n"))
        return forger

    def __init__(self) -> None:
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.answer: asyncio.Task[bytes]

    async def end(self) -> None:
        self.answer.cancel()
        self.writer.close()
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            await self.answer


async def send(url: str, delivery: Delivery) -> int:
    headers = {name.decode(): value.decode() for name, value in delivery.request.scope["headers"]}
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        answer = await client.post(f"{url}/webhooks/github", content=delivery.body, headers=headers)
    return answer.status_code


async def test_sixty_four_slow_forgers_keep_no_real_delivery_waiting(pool: Pool) -> None:
    async with listening(WebhookEndpoint(pool, [SECRET], answer_s=PATIENCE_S)) as url:
        forgers = [await Forger.begin(url, LARGE_BYTES + 64 * 1024) for _ in range(FORGERS)]
        assert await send(url, Delivery(ping(REAL_BYTES), "real")) == 200
        assert [forger for forger in forgers if forger.answer.done()] == [], "it was answered while they still send"
        await asyncio.gather(*(forger.end() for forger in forgers))
    assert await stored(pool) == 1


async def test_forgers_who_take_all_the_memory_lose_it_to_a_real_delivery(pool: Pool) -> None:
    most = 8 * LARGE_BYTES
    async with listening(WebhookEndpoint(pool, [SECRET], answer_s=PATIENCE_S, most_arriving=most)) as url:
        forgers = [await Forger.begin(url, LARGE_BYTES) for _ in range(FORGERS)]
        real = most // 2
        assert await send(url, Delivery(ping(real), "real")) == 200
        for forger in forgers:
            forger.writer.write(b"x" * 1024)
        done, _ = await asyncio.wait([forger.answer for forger in forgers], return_when=asyncio.FIRST_COMPLETED)
        assert b" 503 " in done.pop().result().partition(b"\r\n")[0]
        await asyncio.gather(*(forger.end() for forger in forgers))
    assert await stored(pool) == 1


@pytest.mark.parametrize("size", [10, LARGE_BYTES + 1])
async def test_what_is_forged_is_refused_before_anybody_sees_that_it_is_no_json(pool: Pool, size: int) -> None:
    for secret, status in (("another", 401), (SECRET, 400)):
        with pytest.raises(Problem) as refused:
            await WebhookEndpoint(pool, [SECRET]).answer(Delivery(b"{" * size, secret, secret=secret).request)
        assert refused.value.status == status
    assert await stored(pool) == 1, "only what is signed is kept"


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
