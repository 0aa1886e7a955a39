"""POST /webhooks/github: limit, verify, store, decide, answer. Nothing here waits for GitHub, Docker or Slack.

A delivery is answered 2xx only after its transaction has committed: GitHub never sends it again by itself.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from starlette.responses import JSONResponse

from app.body import read_body
from app.deliveries.model import Ignored
from app.deliveries.store import Accepted, Duplicate, store_unreadable, take_in
from app.errors import BadSignature, PayloadInvalid
from app.github.payload import parse_event
from app.github.signature import verify_signature
from app.postgres.pool import transaction
from app.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from app.postgres.pool import Pool

log = structlog.get_logger(__name__)

MOST_BYTES: Final = 25 * 1024 * 1024
LONGEST_HEADER: Final = 200


class WebhookEndpoint:
    """Answers GitHub's webhook requests."""

    def __init__(self, pool: Pool, secrets: Sequence[str]) -> None:
        self._pool, self._secrets = pool, tuple(secrets)

    async def answer(self, request: Request) -> Response:
        """202 accepted, 200 duplicate or ignored; 401, 400, 413 and 503 as problems."""
        if not self._secrets:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no webhook secret is configured; set GITHUB_WEBHOOK_SECRET")
        body = await read_body(request, MOST_BYTES)
        try:
            verify_signature(self._secrets, body, request.headers.get("x-hub-signature-256"))
        except BadSignature as error:
            log.warning("delivery_refused", reason=str(error))
            raise Problem(HTTPStatus.UNAUTHORIZED, str(error)) from None
        guid = required_header(request, "x-github-delivery")
        event = required_header(request, "x-github-event")
        with structlog.contextvars.bound_contextvars(delivery=guid, github_event=event):
            return await self._take_in(guid, event, request.headers.get("content-type", ""), body)

    async def _take_in(self, guid: str, event: str, content_type: str, body: bytes) -> Response:
        try:
            parsed = parse_event(event, content_type, body)
        except PayloadInvalid as error:
            async with transaction(self._pool) as conn:
                await store_unreadable(
                    conn, guid=guid, event=event, content_type=content_type, body=body, reason=str(error)
                )
            log.warning("delivery_unreadable", reason=str(error))
            raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
        async with transaction(self._pool) as conn:
            outcome = await take_in(conn, guid=guid, event=event, content_type=content_type, body=body, parsed=parsed)
        match outcome:
            case Accepted(builds):
                log.info("delivery_accepted", repo=parsed.repo, ref=parsed.ref, builds=list(builds))
                answer = {"delivery": guid, "outcome": "accepted", "builds": list(builds)}
                return JSONResponse(answer, HTTPStatus.ACCEPTED)
            case Duplicate():
                log.info("delivery_duplicate")
                return JSONResponse({"delivery": guid, "outcome": "duplicate"})
            case Ignored(reason):
                log.info("delivery_ignored", reason=reason)
                return JSONResponse({"delivery": guid, "outcome": "ignored", "reason": reason})


def required_header(request: Request, name: str) -> str:
    """A header that GitHub always sends, as printable ASCII."""
    value = request.headers.get(name, "")
    if not value or len(value) > LONGEST_HEADER or not value.isascii() or not value.isprintable():
        raise Problem(HTTPStatus.BAD_REQUEST, f"the header {name} is missing or not plain text")
    return value
