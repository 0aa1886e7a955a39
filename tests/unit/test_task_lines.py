"""Docker's log frames, cut anywhere."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.product_runtime import line_event
from app.engine.task_log import Frames, TaskLine, read_line, seconds_of

AT = "2026-11-24T18:24:27.794582789Z"
DETAILS = "com.docker.swarm.node.id=n,com.docker.swarm.service.id=s,com.docker.swarm.task.id=t1"


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=20), st.data())
def test_frames_come_whole_however_the_network_cuts_them(frames: list[tuple[int, bytes]], data: st.DataObject) -> None:
    sent = b"".join(frame(*one) for one in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=10)))
    decoder = Frames()
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert [one for piece in pieces for one in decoder.feed(piece)] == frames


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_no_bytes_break_the_decoder_and_none_come_twice(chunks: list[bytes]) -> None:
    decoder = Frames()
    given_back = sum(len(payload) for chunk in chunks for _, payload in decoder.feed(chunk))
    assert given_back <= sum(map(len, chunks))


def test_a_terminals_output_comes_by_the_line() -> None:
    decoder = Frames()
    assert list(decoder.feed(b"plain te")) == []
    assert list(decoder.feed(b"xt\nmore")) == [(1, b"plain text\n")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{AT} {DETAILS} out 26\n", TaskLine(AT, "t1", "stderr", "out 26")),
        (f"{AT} {DETAILS} part", TaskLine(AT, "t1", "stderr", "part", ends=False)),
        (f"{AT} {DETAILS} \n", TaskLine(AT, "t1", "stderr", "")),
        (f"{AT} {DETAILS} a\0b\r\n", TaskLine(AT, "t1", "stderr", "a\N{REPLACEMENT CHARACTER}b")),
        ("something else\n", TaskLine("", "", "stderr", "something else")),
        (f"now {DETAILS} x\n", TaskLine("", "", "stderr", f"now {DETAILS} x")),
    ],
)
def test_a_line_tells_when_and_who(text: str, line: TaskLine) -> None:
    assert read_line(2, text.encode()) == line


@given(st.text(max_size=100))
def test_no_text_breaks_a_time(text: str) -> None:
    seconds_of(text)
    read_line(1, text.encode("utf-8", "surrogatepass"))


@given(st.integers(0, 2**32), st.integers(0, 999_999_999))
def test_times_keep_their_nanoseconds(seconds: int, nanoseconds: int) -> None:
    at = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"
    assert seconds_of(at) == f"{seconds}.{nanoseconds:09}"
    assert seconds_of(at.replace("Z", "+00:00")) is None


def test_a_line_cannot_end_its_own_event() -> None:
    event = line_event(TaskLine(AT, "t1", "stdout", "a\revent: end\rdata: x"), 2)
    assert event.count(b"\r\n\r\n") == 1
    assert event.startswith(f"id: {AT} 2 t1 stdout\r\nevent: log\r\ndata: a\r\ndata: event: end\r\n".encode())
