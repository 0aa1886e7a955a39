"""What a client would rather have, by its Accept header."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from app.api.asking import prefers


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", True),
        ("TEXT/PLAIN; charset=utf-8", True),
        ("text/plain;q=0", False),
        ("text/event-stream", False),
        ("text/event-stream, text/plain", False),
        ("text/plain, text/event-stream", True),
        ("text/event-stream;q=0.5, text/plain", True),
        ("text/event-stream, text/plain;q=0.9", False),
        ("text/plain;q=nonsense", False),
        ("text/plain, */*;q=0.1", True),
        ("text/plainer", False),
    ],
)
def test_text_is_sent_to_those_who_would_rather_have_it(accept: str, text: bool) -> None:
    request = Request({"type": "http", "headers": [(b"accept", accept.encode())]})
    assert prefers(request, "text/plain", over="text/event-stream") is text
