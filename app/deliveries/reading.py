"""Reading what a signed delivery says, when it comes and when it is looked at again: a small one here, a large one in a
process of its own, for reading JSON holds the interpreter and with it everybody else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.github import slim
from app.github.payload import event_of, json_refusal, json_text, parse_event, payload_text
from app.problems import Problem

if TYPE_CHECKING:
    from app.github.payload import NotATagPush, TagPush

LARGE_BYTES: Final = 64 * 1024  # no more is read in some milliseconds, whatever is in it
PROGRAM: Final = Path(slim.__file__)


async def read_event(event: str, content_type: str, body: bytes) -> TagPush | NotATagPush:
    """What ``parse_event`` makes of a delivery, however large, without holding the event loop.

    Raises ``PayloadInvalid``, and a 503 when the process that reads came to harm.
    """
    if len(body) <= LARGE_BYTES:
        return parse_event(event, content_type, body)
    return event_of(event, await _slimmed(await asyncio.to_thread(_encoded, content_type, body)))


async def read_payload(content_type: str, body: bytes) -> bytes:
    """The JSON object of a delivery as ``payload_text`` gives it, in UTF-8; raises like ``read_event``."""
    if len(body) <= LARGE_BYTES:
        return payload_text(content_type, body).encode()
    text = await asyncio.to_thread(_encoded, content_type, body)
    await _slimmed(text)
    return text


def _encoded(content_type: str, body: bytes) -> bytes:
    return json_text(content_type, body).encode()


async def _slimmed(text: bytes) -> dict[str, Any]:
    """The plain values of the object that a JSON text is."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(PROGRAM)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        said, _ = await program.communicate(text)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    if program.returncode in {slim.NOT_JSON, slim.NOT_AN_OBJECT}:
        raise json_refusal(is_json=program.returncode == slim.NOT_AN_OBJECT)
    if program.returncode != 0:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the process that reads large deliveries ended with {program.returncode}; try it again",
            headers={"Retry-After": "5"},
        )
    slimmed: dict[str, Any] = await asyncio.to_thread(json.loads, said)
    return slimmed
