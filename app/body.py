"""Reading a request's body with a limit: the one place where bytes from outside are collected."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from app.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

LONGEST_NUMBER: Final = 20
PATIENCE: Final = 3


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The raw body of at most ``most_bytes``; a larger one is refused with 413.

    What is somewhat too large is read to its end and thrown away, for most clients only look at the answer when they
    have sent everything; of what is far too large no more is read.
    """
    declared = declared_bytes(request) or 0
    enough = PATIENCE * most_bytes
    if declared > enough:
        raise too_large(most_bytes)
    body, seen = bytearray(), 0
    async for chunk in request.stream():
        seen += len(chunk)
        if max(seen, declared) <= most_bytes:
            body += chunk
        elif seen > enough:
            break
    if seen > most_bytes:
        raise too_large(most_bytes)
    return bytes(body)


def too_large(most_bytes: int) -> Problem:
    """The 413 for a body of more than ``most_bytes``."""
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than {most_bytes // 1024:,} KiB, the most that is read here",
        headers={"Connection": "close"},
    )


def declared_bytes(request: Request) -> int | None:
    """How long the body is going to be by its own account; None when the request does not say."""
    declared = request.headers.get("content-length", "")
    if not declared.isascii() or not declared.isdigit():
        return None
    return int(declared[:LONGEST_NUMBER])
