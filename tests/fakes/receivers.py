"""Receivers of notices other than Slack, each on an address of its own: they keep every message, refuse what the real
ones refuse, and answer as those answer.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.fakes.faults import Fault, Faults, FaultyApp, Kind
from tests.fakes.serving import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request

PATH: Final = "/hooks/s3cr3t-part-of-an-address"
# discord.com/developers/docs/resources/message: embeds, and "Embed Limits".
MOST_EMBEDS: Final = 10
EMBED_LIMITS: Final = {"title": 256, "description": 4096}
LONGEST_FOOTER: Final = 2048
LONGEST_EMBEDS: Final = 6000
LONGEST_CONTENT: Final = 2000
LONGEST_POST: Final = 16_383  # Mattermost, api.mattermost.com
MOST_TEAMS_BYTES: Final = 28 * 1024  # learn.microsoft.com, "Create Incoming Webhooks with Workflows"
CARD: Final = "application/vnd.microsoft.card.adaptive"
ELEMENTS: Final = {"TextBlock", "RichTextBlock", "Container", "FactSet"}


@dataclass(frozen=True, slots=True)
class Received:
    """One message that was taken."""

    payload: dict[str, Any]
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return json.dumps(self.payload, ensure_ascii=False)


class LocalReceiver:
    """One address of one kind of receiver; ``judge`` says how it answers a body, and whether it takes it."""

    def __init__(self, judge: Callable[[bytes, Mapping[str, str]], Response]) -> None:
        self.messages: list[Received] = []
        self.url = ""
        self._judge = judge
        self._faults = Faults()
        self._arrived = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def start(cls, judge: Callable[[bytes, Mapping[str, str]], Response]) -> AsyncIterator[Self]:
        """Receive messages at ``url`` for the length of the block."""
        receiver = cls(judge)
        app = Starlette(routes=[Route(PATH, receiver._receive, methods=["POST"])])
        async with serve(FaultyApp(app, receiver._faults)) as address:
            receiver.url = address + PATH
            try:
                yield receiver
            finally:
                receiver._faults.stopping.set()

    def fail_next(self, status: int, body: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next message with this instead."""
        self._faults.add(Fault("/", Kind.ANSWER, 1, status, dict(headers or {}), body.encode()))

    async def message(self, number: int = 1, timeout: float = 30) -> Received:
        """The message of this number, waiting for it if need be; raises ``TimeoutError``."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) >= number)
        return self.messages[number - 1]

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        answer = self._judge(body, request.headers)
        if answer.status_code < 300:
            self.messages.append(Received(json.loads(body), dict(request.headers)))
            async with self._arrived:
                self._arrived.notify_all()
        return answer


def mattermost(body: bytes, headers: Mapping[str, str]) -> Response:
    """Mattermost wants a text or attachments, ignores blocks, and says ``ok``."""
    payload = _object(body)
    attachments = (payload or {}).get("attachments") or []
    texts = [str(one.get("text") or one.get("fallback") or "") for one in attachments]
    if payload is None or not (payload.get("text") or any(texts)):
        return JSONResponse({"id": "web.incoming_webhook.text.app_error", "status_code": 400}, 400)
    if any(len(text) > LONGEST_POST for text in [str(payload.get("text") or ""), *texts]):
        return JSONResponse({"id": "web.incoming_webhook.split_props_length.app_error", "status_code": 400}, 400)
    return PlainTextResponse("ok")


def discord(body: bytes, headers: Mapping[str, str]) -> Response:
    """Discord names the field that is wrong, and answers nothing when nothing is."""
    payload = _object(body)
    if payload is None:
        return JSONResponse({"message": "The request body contains invalid JSON.", "code": 50109}, 400)
    embeds = payload.get("embeds") or []
    if not payload.get("content") and not embeds:
        return JSONResponse({"message": "Cannot send an empty message", "code": 50006}, 400)
    wrong = len(str(payload.get("content") or "")) > LONGEST_CONTENT or len(embeds) > MOST_EMBEDS
    wrong = wrong or any(len(str(one.get(name) or "")) > most for one in embeds for name, most in EMBED_LIMITS.items())
    footers = [str((one.get("footer") or {}).get("text") or "") for one in embeds]
    wrong = wrong or any(len(footer) > LONGEST_FOOTER for footer in footers)
    total = sum(len(str(one.get(name) or "")) for one in embeds for name in EMBED_LIMITS) + sum(map(len, footers))
    if wrong or total > LONGEST_EMBEDS:
        return JSONResponse({"message": "Invalid Form Body", "code": 50035, "errors": {"embeds": {}}}, 400)
    return Response(status_code=204)


def teams(body: bytes, headers: Mapping[str, str]) -> Response:
    """A Workflows webhook wants a message with one card, of 28 KB at most, and answers 202."""
    if len(body) > MOST_TEAMS_BYTES:
        return JSONResponse({"error": {"code": "RequestEntityTooLarge"}}, 413)
    payload = _object(body)
    attachments = (payload or {}).get("attachments")
    if (
        payload is None
        or payload.get("type") != "message"
        or not isinstance(attachments, list)
        or len(attachments) != 1
    ):
        return JSONResponse({"error": {"code": "TriggerInputSchemaMismatch"}}, 400)
    card = attachments[0].get("content") or {}
    if attachments[0].get("contentType") != CARD or card.get("type") != "AdaptiveCard" or not _draws(card.get("body")):
        return JSONResponse({"error": {"code": "InvalidBotAdaptiveCard"}}, 400)
    return Response(status_code=202)


def signed_with(secret: str) -> Callable[[bytes, Mapping[str, str]], Response]:
    """A receiver of our own form that holds this secret and believes nobody without it."""

    def judge(body: bytes, headers: Mapping[str, str]) -> Response:
        try:
            Webhook(secret).verify(body, dict(headers))
        except (WebhookVerificationError, ValueError):
            return Response(status_code=401)
        return Response(status_code=200)

    return judge


def _draws(elements: Any) -> bool:
    """Whether a card knows all of these elements, and none of them is empty."""
    if not isinstance(elements, list) or not elements:
        return False
    for element in elements:
        if element.get("type") not in ELEMENTS:
            return False
        if element["type"] == "RichTextBlock" and not all(run.get("text") for run in element.get("inlines") or [{}]):
            return False
        if element["type"] == "Container" and not _draws(element.get("items")):
            return False
    return True


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
