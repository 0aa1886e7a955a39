"""The webhook of every repository: signs and sends each event, keeps what was sent and how it was answered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode

import httpx

from app.trust import trust

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS: Final = itertools.count(910_001)
ANSWER_WITHIN_S: Final = 10.0  # GitHub gives up on a receiver after this long, and does not try again


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time a delivery was sent: the answer, or the reason there was none. ``id`` is GitHub's of this attempt."""

    status: int | None
    body: str
    redelivery: bool
    id: int = field(default_factory=lambda: next(NUMBERS))
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Sent:
    """One event to one webhook. A redelivery is another attempt of the same ``guid`` with the same body."""

    guid: str
    event: str
    payload: dict[str, Any]
    body: bytes
    content_type: str
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON of the last answer."""
        found: dict[str, Any] = json.loads(self.attempts[-1].body)
        return found


class Hooks:
    """One webhook for all repositories. Without a ``url`` there is no webhook, and nothing is sent or kept."""

    def __init__(self, url: str | None, secret: str, told: Callable[[Sent], None] | None = None) -> None:
        self.url, self.secret = url, secret
        self.form: Literal["json", "form"] = "json"
        self.active, self.events = True, ["push"]
        self.deliveries: list[Sent] = []
        self._told = told or (lambda _: None)
        self._sending: set[asyncio.Task[None]] = set()

    def send(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """Send these events one after the other, in the background as GitHub does."""
        if self.url is None or not events:
            return
        sent = [self._prepare(event, payload) for event, payload in events]
        self.deliveries += sent
        task = asyncio.create_task(self._send_all(sent))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def redeliver(self, guid: str) -> Attempt:
        """Send a delivery again under its own GUID, as the button on GitHub does."""
        sent = next(sent for sent in self.deliveries if sent.guid == guid)
        return await self._attempt(sent, redelivery=True)

    def resend(self, sent: Sent) -> None:
        """Send a delivery again in the background, as GitHub does when its API is asked to."""
        task = asyncio.create_task(self._send_again(sent))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def settled(self) -> None:
        """Wait until everything that was to be sent has been answered or given up."""
        while self._sending:
            await asyncio.wait(self._sending)

    @property
    def last_response(self) -> dict[str, Any]:
        """How the receiver answered last, as GitHub shows it of a webhook."""
        attempts = [attempt for sent in self.deliveries for attempt in sent.attempts]
        if not attempts:
            return {"code": None, "status": "unused", "message": None}
        last = max(attempts, key=lambda attempt: attempt.id)
        if last.status is None:
            return {"code": 502, "status": "failed to connect to host", "message": "failed to connect to host"}
        message = "OK" if last.ok else f"Invalid HTTP Response: {last.status}"
        return {"code": last.status, "status": "active" if last.ok else "misconfigured", "message": message}

    def signed_headers(self, sent: Sent) -> dict[str, str]:
        """The headers GitHub sends with this delivery."""
        key = self.secret.encode()
        return {
            "Accept": "*/*",
            "Content-Type": sent.content_type,
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Delivery": sent.guid,
            "X-GitHub-Event": sent.event,
            "X-GitHub-Hook-ID": "5150",
            "X-GitHub-Hook-Installation-Target-ID": str(sent.payload.get("repository", {}).get("id", 0)),
            "X-GitHub-Hook-Installation-Target-Type": "repository",
            "X-Hub-Signature": f"sha1={hmac.new(key, sent.body, hashlib.sha1).hexdigest()}",
            "X-Hub-Signature-256": f"sha256={hmac.new(key, sent.body, hashlib.sha256).hexdigest()}",
        }

    def _prepare(self, event: str, payload: dict[str, Any]) -> Sent:
        text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
        if self.form == "form":
            body, content_type = urlencode({"payload": text}), "application/x-www-form-urlencoded"
        else:
            body, content_type = text, "application/json"
        return Sent(str(uuid.uuid1()), event, payload, body.encode(), content_type)

    async def _send_all(self, deliveries: list[Sent]) -> None:
        for sent in deliveries:
            await self._attempt(sent, redelivery=False)

    async def _send_again(self, sent: Sent) -> None:
        await self._attempt(sent, redelivery=True)

    async def _attempt(self, sent: Sent, *, redelivery: bool) -> Attempt:
        assert self.url is not None
        try:
            async with httpx.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False, verify=trust()) as client:
                answer = await client.post(self.url, content=sent.body, headers=self.signed_headers(sent))
            attempt = Attempt(answer.status_code, answer.text, redelivery)
        except httpx.HTTPError as error:
            attempt = Attempt(None, type(error).__name__, redelivery)
        sent.attempts.append(attempt)
        self._told(sent)
        return attempt
