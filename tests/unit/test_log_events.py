"""How a piece of log becomes an event of a stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sse_starlette import ServerSentEvent

from app.api.logs import log_event


@given(st.text(st.one_of(st.sampled_from("\r\n :é"), st.characters(exclude_categories=["Cs"])), max_size=50))
def test_a_piece_is_sent_as_the_library_would_send_it(text: str) -> None:
    assert log_event("1.2", text) == ServerSentEvent(text.removesuffix("\n"), event="log", id="1.2").encode()
