"""A large delivery is read in a process of its own: it says the same, and nobody is held meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from app.deliveries.reading import LARGE_BYTES, read_event, read_payload
from app.errors import PayloadInvalid
from app.github.payload import FORM_TYPE, JSON_TYPE, TagPush, parse_event, payload_text
from tests.lag import shortest_of

SHA = "b" * 40
PUSH: dict[str, Any] = {
    "ref": "refs/tags/v1",
    "before": "0" * 40,
    "after": SHA,
    "repository": {"full_name": "acme/bre"},
    "head_commit": {"id": SHA},
    "commits": [{"id": SHA, "message": "é" * 100}] * (LARGE_BYTES // 100),
}


@pytest.mark.parametrize("content_type", [JSON_TYPE, FORM_TYPE])
async def test_a_large_push_says_what_it_says(content_type: str) -> None:
    text = json.dumps(PUSH)
    body = (text if content_type == JSON_TYPE else urlencode({"payload": text})).encode()
    assert len(body) > LARGE_BYTES
    read = await read_event("push", content_type, body)
    assert isinstance(read, TagPush)
    assert read == parse_event("push", content_type, body)


@pytest.mark.parametrize(
    "body",
    [
        b"{" * LARGE_BYTES * 2,
        b"[" + b"1," * LARGE_BYTES + b"1]",
        b"\xff" * LARGE_BYTES * 2,
        b'{"a": 1, "a": "' + b"x" * LARGE_BYTES * 2 + b'"}',
        b'{"ref": ["' + b"x" * LARGE_BYTES * 2 + b'"]}',
    ],
    ids=["no json", "no object", "no text", "twice", "no ref"],
)
async def test_a_large_one_is_refused_with_the_same_words(body: bytes) -> None:
    with pytest.raises(PayloadInvalid) as expected:
        parse_event("push", JSON_TYPE, body)
    with pytest.raises(PayloadInvalid) as refused:
        await read_event("push", JSON_TYPE, body)
    assert str(refused.value) == str(expected.value)


@pytest.mark.parametrize("content_type", [JSON_TYPE, FORM_TYPE])
async def test_a_large_payload_is_shown_as_it_came(content_type: str) -> None:
    text = json.dumps(PUSH, ensure_ascii=False)
    body = (text if content_type == JSON_TYPE else urlencode({"payload": text})).encode()
    assert await read_payload(content_type, body) == payload_text(content_type, body).encode() == text.encode()


@pytest.mark.parametrize(
    "body", [b"{" * LARGE_BYTES * 2, b"[" + b"1," * LARGE_BYTES + b"1]"], ids=["no json", "no object"]
)
async def test_a_large_one_that_is_no_json_object_is_not_shown(body: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        await read_payload(JSON_TYPE, body)


async def test_who_stops_waiting_leaves_no_process_behind() -> None:
    reading = asyncio.create_task(read_event("push", JSON_TYPE, json.dumps(PUSH).encode()))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_reading_a_large_one_holds_nobody() -> None:
    body = b'{"zen": [' + b"[]," * 400_000 + b"1]}"

    async def here() -> None:
        parse_event("ping", JSON_TYPE, body)

    async def aside() -> None:
        await asyncio.to_thread(parse_event, "ping", JSON_TYPE, body)

    held = min(await shortest_of(1, here), await shortest_of(1, aside))
    assert await shortest_of(3, lambda: read_event("ping", JSON_TYPE, body)) < held / 3
