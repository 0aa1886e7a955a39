"""The output of a service's containers as lines, while it arrives: which replica, which stream, when.

The engine sends frames (stream, 0, 0, 0, length, payload), cut anywhere by the network; each payload is one line, or a
piece of one that is longer than 16 KiB, behind its time and the ids of its node, service and task
(moby, api/server/httputils/write_log_stream.go). A container with a terminal has no frames, only lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import aiohttp

from app.engine.frame import storable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from app.engine.client import Engine

HEADER_BYTES: Final = 8
LARGEST_FRAME: Final = 1024 * 1024
STREAMS: Final = {0: "stdin", 1: "stdout", 2: "stderr", 3: "system"}
TASK_ID: Final = "com.docker.swarm.task.id"
STORED_LOG_TIMEOUT: Final = aiohttp.ClientTimeout(total=120, sock_connect=5, sock_read=15)
FOLLOW_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5)
EPOCH_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One line, or a piece of a long one, without its line end. ``at`` is the engine's RFC 3339 time in nanoseconds, ""
    when it gave none; ``ends`` is False for a piece that the line goes on after.
    """

    at: str
    task: str
    stream: str
    text: str
    ends: bool = True


@dataclass(slots=True)
class Frames:
    """Takes what arrives and gives whole frames as ``(stream, payload)``; what has no frames it gives line by line."""

    _rest: bytearray = field(default_factory=bytearray)
    _plain: bool = False

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are whole with ``data``."""
        self._rest += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> tuple[int, bytes] | None:
        head = bytes(self._rest[:HEADER_BYTES])
        if self._plain or (len(head) > 1 and (head[0] not in STREAMS or any(head[1:4]))):
            self._plain = True
            return self._line()
        if len(head) < HEADER_BYTES:
            return None
        size = int.from_bytes(head[4:], "big")
        if size > LARGEST_FRAME:
            self._plain = True
            return self._line()
        end = HEADER_BYTES + size
        if len(self._rest) < end:
            return None
        payload = bytes(self._rest[HEADER_BYTES:end])
        del self._rest[:end]
        return head[0], payload

    def _line(self) -> tuple[int, bytes] | None:
        end = self._rest.find(b"\n") + 1 or (len(self._rest) if len(self._rest) > LARGEST_FRAME else 0)
        if not end:
            return None
        line = bytes(self._rest[:end])
        del self._rest[:end]
        return 1, line


def read_line(stream: int, payload: bytes) -> TaskLine:
    """A payload of ``timestamps=1&details=1``: ``TIME KEY=VALUE,KEY=VALUE TEXT``; what has another form is all text."""
    text = storable(payload.decode("utf-8", "replace"))
    at, _, rest = text.partition(" ")
    details, _, line = rest.partition(" ")
    given = dict(part.partition("=")[::2] for part in details.split(","))
    if TASK_ID not in given or seconds_of(at) is None:
        at, given, line = "", {}, text
    whole = line.removesuffix("\n")
    return TaskLine(at, given.get(TASK_ID, ""), STREAMS[stream], whole.removesuffix("\r"), whole != line)


def seconds_of(at: str) -> str | None:
    """An RFC 3339 time of the engine as seconds since the epoch with nanoseconds, as its ``since`` takes them; None for
    what is no such time.

    >>> seconds_of("2026-11-24T18:24:27.794582789Z")
    '1795544667.794582789'
    """
    whole, _, fraction = at.removesuffix("Z").partition(".")
    digits = not fraction or (fraction.isdigit() and len(fraction) <= EPOCH_DIGITS)
    if not at.endswith("Z") or not at.isascii() or not digits:
        return None
    try:
        seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    except ValueError:
        return None
    return f"{seconds}.{fraction.ljust(EPOCH_DIGITS, '0')}"


async def service_log(
    engine: Engine, service_id: str, *, tail: int, follow: bool, after: str = ""
) -> AsyncGenerator[list[TaskLine], None]:
    """The output of every task of a service that still has a container, in batches as they arrive, old tasks included.

    At first the last ``tail`` lines of each task, or with ``after`` (an ``at``) all lines behind that time; with
    ``follow`` then what is written, without end. Closing the generator closes the engine's stream at once. Raises
    ``EngineRefused``, ``EngineUnavailable`` or ``SwarmUnavailable``.
    """
    since = seconds_of(after)
    asked = {"stdout": "1", "stderr": "1", "timestamps": "1", "details": "1", "follow": "1" if follow else "0"}
    asked |= {"since": since, "tail": "all"} if since else {"tail": str(tail)}
    path = f"services/{quote(service_id, safe='')}/logs?{urlencode(asked)}"
    frames = Frames()
    timeout = FOLLOW_TIMEOUT if follow else STORED_LOG_TIMEOUT
    async with engine.stream("read a service's output", path, timeout=timeout) as response:
        async for chunk in response.content.iter_any():
            lines = [read_line(*frame) for frame in frames.feed(chunk)]
            # The engine's `since` includes the time itself.
            if fresh := [line for line in lines if since is None or _is_later(line.at, since)]:
                yield fresh


def _is_later(at: str, since: str) -> bool:
    """Whether an engine's time lies behind so many seconds since the epoch."""
    seconds = seconds_of(at) or ""
    return seconds.rjust(len(since), "0") > since.rjust(len(seconds), "0")
