"""POST /webhooks/github: limit, verify, store, decide, answer. Nothing here waits for GitHub, Docker or Slack.

A delivery is answered 2xx only after its transaction has committed: GitHub never sends it again by itself. GitHub waits
ten seconds for the answer, so a database that is away for a moment is asked again, and one that stays away is a 503 in
time, which *Recent Deliveries* shows.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from app.body import declared_bytes, read_body, too_large
from app.deliveries.intake import Intake
from app.deliveries.model import Ignored
from app.deliveries.reading import LARGE_BYTES, read_event
from app.deliveries.store import Accepted, Duplicate, store_unreadable, take_in
from app.errors import BadSignature, DatabaseUnavailable, PayloadInvalid
from app.github.signature import SignatureCheck
from app.metrics.instruments import Metrics
from app.postgres.pool import transaction
from app.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from app.deliveries.intake import Body
    from app.postgres.pool import Connection, Pool

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
Answered: TypeAlias = "tuple[str, Response]"

MOST_BYTES: Final = 25 * 1024 * 1024
LARGE_AT_ONCE: Final = 4  # each is read by a process of its own, and is many times as large there, for a moment
STORED_AT_ONCE: Final = 8  # of the pool's connections; the others renew leases, which a burst must not cost
MOST_ARRIVING: Final = LARGE_AT_ONCE * MOST_BYTES
LONGEST_HEADER: Final = 200
ANSWER_S: Final = 8.5
PAUSES_S: Final = (0.5, 2.0)

# What a request came to that is answered with a problem, for those who count.
OUTCOMES: Final = {
    HTTPStatus.BAD_REQUEST: "unreadable",
    HTTPStatus.UNAUTHORIZED: "refused",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
}


class WebhookEndpoint:
    """Answers GitHub's webhook requests. Bodies are read side by side, within a memory that is bounded; of large ones
    that are signed only a few are worked on at once.
    """

    def __init__(
        self,
        pool: Pool,
        secrets: Sequence[str],
        *,
        answer_s: float = ANSWER_S,
        most_arriving: int = MOST_ARRIVING,
        metrics: Metrics | None = None,
    ) -> None:
        self._pool, self._secrets, self._answer_s = pool, tuple(secrets), answer_s
        self._counted = (metrics or Metrics()).delivery
        self._intake = Intake(most_arriving, MOST_BYTES)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._storing = asyncio.Semaphore(STORED_AT_ONCE)

    async def answer(self, request: Request) -> Response:
        """202 accepted, 200 duplicate or ignored; 401, 400, 413 and 503 as problems, all within nine seconds.

        Raises ``DatabaseUnavailable`` when the delivery could not be stored.
        """
        outcome = "failed"
        try:
            outcome, response = await self._answer_in_time(request)
        except Problem as problem:
            outcome = OUTCOMES.get(problem.status, outcome)
            raise
        except ClientDisconnect:
            outcome = "abandoned"
            raise
        else:
            return response
        finally:
            self._counted(outcome)

    async def _answer_in_time(self, request: Request) -> Answered:
        """The answer, and in a word what it is."""
        if not self._secrets:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no webhook secret is configured; set GITHUB_WEBHOOK_SECRET")
        # A task of its own: a transaction that is cancelled may take longer to end than GitHub waits.
        work = asyncio.create_task(self._read_and_answer(request))
        work.add_done_callback(_seen)
        try:
            await asyncio.wait({work}, timeout=self._answer_s)
            if work.done():
                return work.result()
        finally:
            work.cancel()
        log.warning("delivery_too_slow", delivery=request.headers.get("x-github-delivery", "")[:LONGEST_HEADER])
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the delivery could not be read and stored within {self._answer_s} s; redeliver it on GitHub",
            headers={"Retry-After": "5", "Connection": "close"},
        )

    async def _read_and_answer(self, request: Request) -> Answered:
        if (declared_bytes(request) or 0) > MOST_BYTES:
            await read_body(request, MOST_BYTES)
            raise too_large(MOST_BYTES)
        try:
            # What cannot be signed at all is refused before any of its body takes memory.
            check = SignatureCheck(self._secrets, request.headers.get("x-hub-signature-256"))
        except BadSignature as error:
            raise _unauthorized(error, {"Connection": "close"}) from None
        body = await self._intake.read(request.stream(), check)
        try:
            return await self._answer_read(request, check, body)
        finally:
            body.leave()

    async def _answer_read(self, request: Request, check: SignatureCheck, body: Body) -> Answered:
        """Nothing of the body is looked at before its signature is right."""
        try:
            secret = check.verify()
        except BadSignature as error:
            raise _unauthorized(error) from None
        guid = required_header(request, "x-github-delivery")
        event = required_header(request, "x-github-event")
        # Which of the secrets it was, counted from 0: when no delivery names the old one any more, it can go.
        with structlog.contextvars.bound_contextvars(delivery=guid, github_event=event, secret_index=secret):
            address = request.client.host if request.client else None
            content_type = request.headers.get("content-type", "")
            async with self._large if body.held > LARGE_BYTES else nullcontext():
                return await self._take_in(guid, event, content_type, body.whole(), address)

    async def _take_in(self, guid: str, event: str, content_type: str, body: bytes, address: str | None) -> Answered:
        try:
            parsed = await read_event(event, content_type, body)
        except PayloadInvalid as error:
            sentence = str(error)
            await self._stored(
                partial(store_unreadable, guid=guid, event=event, content_type=content_type, body=body, reason=sentence)
            )
            log.warning("delivery_unreadable", reason=sentence)
            raise Problem(HTTPStatus.BAD_REQUEST, sentence) from None
        outcome = await self._stored(
            partial(
                take_in, guid=guid, event=event, content_type=content_type, body=body, parsed=parsed, address=address
            )
        )
        match outcome:
            case Accepted(builds):
                log.info("delivery_accepted", repo=parsed.repo, ref=parsed.ref, builds=list(builds))
                answer = {"delivery": guid, "outcome": "accepted", "builds": list(builds)}
                return "accepted", JSONResponse(answer, HTTPStatus.ACCEPTED)
            case Duplicate():
                log.info("delivery_duplicate")
                return "duplicate", JSONResponse({"delivery": guid, "outcome": "duplicate"})
            case Ignored(reason):
                log.info("delivery_ignored", reason=reason)
                return "ignored", JSONResponse({"delivery": guid, "outcome": "ignored", "reason": reason})

    async def _stored(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Do the work in one transaction; up to three times, which the delivery's GUID makes harmless."""
        for pause in PAUSES_S:
            try:
                async with self._storing, transaction(self._pool) as conn:
                    return await work(conn)
            except DatabaseUnavailable as error:
                if _cancelled():  # a transaction that is cancelled may end like one that breaks
                    raise
                log.warning("delivery_delayed", reason=str(error), wait_s=pause)
            await asyncio.sleep(pause)
        async with self._storing, transaction(self._pool) as conn:
            return await work(conn)


def _unauthorized(error: BadSignature, headers: Mapping[str, str] | None = None) -> Problem:
    log.warning("delivery_refused", reason=str(error))
    return Problem(HTTPStatus.UNAUTHORIZED, str(error), headers=headers)


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _seen(work: asyncio.Task[Answered]) -> None:
    """Whatever became of work that nobody waits for any more, it has been logged."""
    if not work.cancelled():
        work.exception()


def required_header(request: Request, name: str) -> str:
    """A header that GitHub always sends, as printable ASCII."""
    value = request.headers.get(name, "")
    if not value or len(value) > LONGEST_HEADER or not value.isascii() or not value.isprintable():
        raise Problem(HTTPStatus.BAD_REQUEST, f"the header {name} is missing or not plain text")
    return value
