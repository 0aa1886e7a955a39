"""A Slack-compatible receiver of incoming webhooks: keeps every message and refuses what Slack refuses.

Run as ``python -m tests.fakes.slack --port N`` it prints each message's text as it arrives.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.fakes.faults import Fault, Faults, FaultyApp, Kind
from tests.fakes.serving import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request

# docs.slack.dev, block kit reference; the sum over all blocks is undocumented (slackapi/bolt-js issue 2509).
MOST_BLOCKS: Final = 50
MOST_FIELDS: Final = 10
MOST_ELEMENTS: Final = 10
LONGEST_SECTION: Final = 3000
LONGEST_FIELD: Final = 2000
LONGEST_HEADER: Final = 150
LONGEST_BLOCK_ID: Final = 255
LONGEST_BLOCKS: Final = 13_200
LONGEST_TEXT: Final = 40_000
KNOWN_BLOCKS: Final = {"section", "header", "context", "divider", "actions", "image", "rich_text", "markdown"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the channel shows it; ``text`` is cut at 40,000 characters as Slack does."""

    text: str
    payload: dict[str, Any]

    def shown(self) -> str:
        """All text of the message that people see: that of its blocks, or ``text`` when it has none."""
        return "\n".join(_texts(self.payload.get("blocks") or [])) or self.text


class LocalSlack:
    """One channel behind one webhook address."""

    def __init__(self, told: Callable[[Message], None] | None = None) -> None:
        self.messages: list[Message] = []
        self.url = ""
        self._unread: deque[Message] = deque()
        self._arrived = asyncio.Condition()
        self._faults = Faults()
        self._told = told or (lambda _: None)

    @classmethod
    @asynccontextmanager
    async def start(cls, *, port: int = 0, told: Callable[[Message], None] | None = None) -> AsyncIterator[Self]:
        """Receive messages at ``url`` for the length of the block."""
        slack = cls(told)
        path = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
        routes = [Route(path, slack._receive, methods=["POST"])]
        app = Starlette(routes=routes, exception_handlers={404: _no_service})
        async with serve(FaultyApp(app, slack._faults), port) as address:
            slack.url = address + path
            try:
                yield slack
            finally:
                slack._faults.stopping.set()

    @property
    def unread(self) -> list[Message]:
        """What arrived and was not yet returned by ``next_message``."""
        return list(self._unread)

    async def next_message(self, timeout: float = 10) -> Message:
        """The oldest unread message, waiting for one if need be; raises ``TimeoutError``."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: self._unread)
            return self._unread.popleft()

    def fail_next(
        self,
        status: int,
        body: str = "",
        *,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next messages with this instead, for example ``fail_next(429, retry_after_s=3)``."""
        pause = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self._faults.add(Fault("/", Kind.ANSWER, times, status, {**pause, **(headers or {})}, body.encode()))

    def hang_next(self, *, times: int = 1) -> None:
        """Leave the next messages without an answer."""
        self._faults.add(Fault("/", Kind.HANG, times))

    async def _receive(self, request: Request) -> Response:
        payload = await _payload(request)
        refused = refusal(payload)
        if payload is None or refused is not None:
            return PlainTextResponse(refused or "invalid_payload", 400)
        message = Message(str(payload.get("text") or "")[:LONGEST_TEXT], payload)
        self.messages.append(message)
        self._unread.append(message)
        self._told(message)
        async with self._arrived:
            self._arrived.notify_all()
        return PlainTextResponse("ok")


async def _payload(request: Request) -> dict[str, Any] | None:
    try:
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            value = json.loads(str((await request.form())["payload"]))
        else:
            value = json.loads(await request.body())
    except (ValueError, KeyError):
        return None
    return value if isinstance(value, dict) else None


def refusal(payload: dict[str, Any] | None) -> str | None:
    """The word with which Slack refuses a payload; None when it takes it."""
    if payload is None:
        return "invalid_payload"
    blocks = payload.get("blocks") or []
    if not blocks and not payload.get("attachments") and not payload.get("text"):
        return "no_text"
    if not isinstance(blocks, list) or len(blocks) > MOST_BLOCKS or not all(_is_block(block) for block in blocks):
        return "invalid_blocks"
    if sum(map(len, _texts(blocks))) > LONGEST_BLOCKS:
        return "msg_blocks_too_long"
    return None


def _is_block(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") not in KNOWN_BLOCKS:
        return False
    if len(str(block.get("block_id") or "")) > LONGEST_BLOCK_ID:
        return False
    match block["type"]:
        case "section":
            fields = block.get("fields") or []
            has_text = bool(block.get("text")) or bool(fields)
            fitting = len(fields) <= MOST_FIELDS and all(_fits(field, LONGEST_FIELD) for field in fields)
            return has_text and fitting and (not block.get("text") or _fits(block["text"], LONGEST_SECTION))
        case "header":
            return _fits(block.get("text"), LONGEST_HEADER) and block["text"]["type"] == "plain_text"
        case "context":
            return 0 < len(block.get("elements") or []) <= MOST_ELEMENTS
        case _:
            return True


def _fits(text: Any, most: int) -> bool:
    if not isinstance(text, dict) or text.get("type") not in {"mrkdwn", "plain_text"}:
        return False
    return 0 < len(str(text.get("text") or "")) <= most


def _texts(value: Any) -> list[str]:
    """Every string under a ``text`` key, in order."""
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        return own + [text for key, item in value.items() if key != "text" or not own for text in _texts(item)]
    return []


async def _no_service(request: Request, error: Exception) -> Response:
    return PlainTextResponse("no_service", 404)


async def _run(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with LocalSlack.start(
        port=port, told=lambda message: print(message.shown(), end="\n\n", flush=True)
    ) as slack:
        print(f"READY SLACK_WEBHOOK_URL={slack.url}", flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.slack", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args().port))


if __name__ == "__main__":
    main()
