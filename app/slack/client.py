"""One POST to a Slack-compatible webhook, and what its answer means. Retrying is the notice queue's business.

The URL is the whole credential: it never appears in an error, a log line or a ``repr``, and is blackened in an answer
that repeats it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx

from app.errors import NoticeNotSent
from app.log import redact

if TYPE_CHECKING:
    from pydantic import SecretStr

TIMEOUT_S: Final = 10.0
MOST_READ: Final = 500
SHORTEST_PATH: Final = 12  # a shorter one is no secret, and a word such as /hook would blacken what it should not
LONGEST_PAUSE_S: Final = 3600.0
DEFAULT_PAUSE_S: Final = 30.0
# Slack answers with a word such as no_service; anything else may be a page of a proxy and is not repeated.
ERROR_WORD: Final = re.compile(r"[a-z_]{1,60}", re.ASCII)
PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said: ``body`` is the beginning of its text, at most 500 characters and free of NUL."""

    status: int
    body: str


class SlackClient:
    """A sender to any number of webhook URLs; safe to share between tasks. ``close`` ends it."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the URL of every request at INFO
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, headers={"User-Agent": "tagship"})

    async def close(self) -> None:
        await self._http.aclose()

    async def post(self, url: SecretStr, payload: dict[str, Any]) -> Answer:
        """Send one message; returns when the receiver has taken it.

        Raises ``NoticeNotSent``: permanent for a refusal that will not change (400, 403, 404, 410, a redirect), passing
        for 429 (``retry_after_s`` is the receiver's wish), 5xx, silence and a broken connection. A passing failure may
        have been delivered all the same.
        """
        body = json.dumps(payload).encode()  # ASCII, so that even a lone surrogate can be sent
        try:
            async with asyncio.timeout(self._timeout_s):
                answer, pause_s = await self._exchange(url.get_secret_value(), body)
        except (TimeoutError, httpx.TimeoutException):
            raise _not_sent("the receiver of notices did not answer in time") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise _not_sent(
                "the webhook address for notices is not a usable URL; set it anew", permanent=True
            ) from None
        except httpx.HTTPError as error:
            raise _not_sent(f"the receiver of notices cannot be reached ({type(error).__name__})") from None
        if answer.status not in range(200, 300):
            raise _refusal(answer, pause_s)
        return answer

    async def _exchange(self, url: str, body: bytes) -> tuple[Answer, float | None]:
        headers = {"Content-Type": "application/json; charset=utf-8"}
        async with self._http.stream("POST", url, content=body, headers=headers) as response:
            start = b""
            async for chunk in response.aiter_bytes():
                start += chunk
                if len(start) >= MOST_READ * 4:  # the most bytes that so many characters take
                    break
            text = redact(start.decode(errors="replace"), _secrets_of(url)).replace("\x00", "\ufffd")[:MOST_READ]
            return Answer(response.status_code, text), _pause_s(response.headers.get("Retry-After"))


def _secrets_of(url: str) -> tuple[str, ...]:
    """The address, and the part of it that a receiver may repeat without its host."""
    path = urlsplit(url).path
    return (url, path) if len(path) >= SHORTEST_PATH else (url,)


def _refusal(answer: Answer, pause_s: float | None) -> NoticeNotSent:
    status = answer.status
    passing = status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    word = answer.body.strip()
    said = f" {word}" if ERROR_WORD.fullmatch(word) else ""
    if status == HTTPStatus.TOO_MANY_REQUESTS and pause_s is None:
        pause_s = DEFAULT_PAUSE_S
    advice = "it will be tried again" if passing else "check the webhook address and whether its channel still exists"
    sentence = f"the receiver of notices answered HTTP {status}{said}; {advice}"
    return _not_sent(sentence, permanent=not passing, status=status, retry_after_s=pause_s if passing else None)


def _not_sent(
    sentence: str, *, permanent: bool = False, status: int | None = None, retry_after_s: float | None = None
) -> NoticeNotSent:
    return NoticeNotSent(sentence, permanent=permanent, status=status, retry_after_s=retry_after_s)


def _pause_s(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or an HTTP date), never more than an hour."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except ValueError:
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE_S) if math.isfinite(seconds) else None
