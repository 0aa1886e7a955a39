"""One POST to a webhook of a receiver, and what its answer means. Retrying is the notice queue's business.

The URL is the whole credential: it never appears in an error, a log line or a ``repr``. Of an answer only its status
and a word such as ``ok`` are kept: a channel must not be a way to read what an internal service says.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx

from app.errors import NoticeNotSent
from app.receivers.guard import AddressRefused, Guard, GuardedTransport
from app.trust import trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

TIMEOUT_S: Final = 10.0
LOOK_UP_S: Final = 3.0
MOST_READ: Final = 500
LONGEST_PAUSE_S: Final = 3600.0
DEFAULT_PAUSE_S: Final = 30.0
# Slack answers with a word such as no_service; anything else may be a page of a proxy and is not repeated.
WORD: Final = re.compile(r"[a-z_]{1,40}", re.ASCII)
PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said: ``word`` is its answer when that is one word such as ``ok``, else empty."""

    status: int
    word: str


class Sender:
    """A sender to any number of webhook URLs; safe to share between tasks. ``close`` ends it.

    Where an address may lead is for ``guard`` to say, except for the one that the operator has put into the settings.
    """

    def __init__(self, guard: Guard | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the URL of every request at INFO
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        self._guard, self._timeout_s = guard or Guard(), timeout_s
        # What the receiver packs it would be ours to unpack, however large it becomes.
        headers = {"User-Agent": "tagship", "Accept-Encoding": "identity"}
        self._trusting = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, headers=headers, verify=trust())
        self._guarded = httpx.AsyncClient(
            timeout=timeout_s,
            follow_redirects=False,
            headers=headers,
            trust_env=False,  # a proxy would look up the name anew
            transport=GuardedTransport(self._guard, trust()),
        )

    async def close(self) -> None:
        await self._trusting.aclose()
        await self._guarded.aclose()

    async def check(self, url: str) -> None:
        """Raise ``AddressRefused`` when the address leads now to where nothing is sent; a host that cannot be looked
        up, or not soon, may be one that does not exist yet.
        """
        with suppress(OSError, TimeoutError, httpx.InvalidURL, UnicodeError):
            async with asyncio.timeout(LOOK_UP_S):
                await self._guard.judged(httpx.URL(url).raw_host.decode("ascii"))

    async def post(
        self, url: SecretStr, body: bytes, *, headers: Mapping[str, str] | None = None, trusted: bool = False
    ) -> Answer:
        """Send one message, which is JSON; returns when the receiver has taken it. ``trusted`` is an address of the
        settings, which may lead anywhere.

        Raises ``NoticeNotSent``: permanent for a refusal that will not change (400, 403, 404, 410, a redirect, an
        address that leads where nothing is sent), passing for 429 (``retry_after_s`` is the receiver's wish), 5xx,
        silence and a broken connection. A passing failure may have been delivered all the same.
        """
        http = self._trusting if trusted else self._guarded
        try:
            async with asyncio.timeout(self._timeout_s):
                answer, pause_s = await _exchange(http, url.get_secret_value(), body, headers or {})
        except (TimeoutError, httpx.TimeoutException):
            raise _not_sent("the receiver of notices did not answer in time") from None
        except AddressRefused as error:
            raise _not_sent(str(error), permanent=True) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):  # the last for a name that IDNA has not
            raise _not_sent(
                "the webhook address for notices is not a usable URL; set it anew", permanent=True
            ) from None
        except httpx.HTTPError as error:
            raise _not_sent(f"the receiver of notices cannot be reached ({type(error).__name__})") from None
        if answer.status not in range(200, 300):
            raise _refusal(answer, pause_s)
        return answer


async def _exchange(
    http: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]
) -> tuple[Answer, float | None]:
    """The receiver's answer, and how long it wants to be left alone."""
    sent = {"Content-Type": "application/json; charset=utf-8"} | dict(headers)
    async with http.stream("POST", url, content=body, headers=sent) as response:
        start = b""
        async for chunk in response.aiter_raw():
            start += chunk
            if len(start) >= MOST_READ:
                break
        text = start.decode(errors="replace").strip()
        word = text if WORD.fullmatch(text) else ""
        return Answer(response.status_code, word), _pause_s(response.headers.get("Retry-After"))


def _refusal(answer: Answer, pause_s: float | None) -> NoticeNotSent:
    status = answer.status
    passing = status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    said = f" {answer.word}" if answer.word else ""
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
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE_S) if math.isfinite(seconds) else None
