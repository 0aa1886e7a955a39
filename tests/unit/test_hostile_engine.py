"""Whatever a build prints and an engine sends: text that can be stored, an image that was named, or a known failure."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.frame import FrameError, decode_frame
from app.engine.output import BuildOutput
from app.engine.shape import ImageMade, LogText
from app.engine.task_log import LARGEST_FRAME, Frames, TaskLine, read_line
from app.engine.trace import LONGEST_LINE, TraceRenderer
from app.errors import BuildFailed, EngineUnavailable

MADE = f"sha256:{'a' * 64}"
MIB = 1024 * 1024


def line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\r\n"


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def part(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content & 0xFFFF_FFFF_FFFF_FFFF)
    return varint(number << 3 | 2) + varint(len(content)) + content


def log_frame(message: bytes, vertex: bytes = b"v") -> bytes:
    return part(3, part(1, vertex) + part(3, 1) + part(4, message))


def assert_storable(text: str) -> None:
    assert "\0" not in text
    text.encode()


def followed(chunks: list[bytes]) -> tuple[str, str | None]:
    """The log of a build, and the image it made or None; every other end is one of two failures with a sentence."""
    output, log, made = BuildOutput(), "", None
    try:
        for events in (*(output.feed(chunk) for chunk in chunks), output.close()):
            for event in events:
                match event:
                    case LogText(text):
                        log += text
                    case ImageMade(image_id):
                        made = image_id
    except (BuildFailed, EngineUnavailable) as error:
        assert_storable(str(error))
        assert "\n" not in str(error)
        assert len(str(error)) < 2500
        assert made is None
    assert_storable(log)
    return log, made


texts = st.text(max_size=20) | st.sampled_from(
    ["\0", "\ud800", "Step 1/2 : RUN x", "exit code: " + "9" * 5000, MADE, "\n"]
)
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
fields = (
    st.binary(max_size=20) | st.integers(-(2**63), 2**64) | st.builds(part, st.integers(1, 9), st.binary(max_size=12))
)
frames = st.lists(
    st.builds(part, st.integers(1, 5), st.lists(st.builds(part, st.integers(1, 9), fields), max_size=6).map(b"".join)),
    max_size=4,
).map(b"".join)
bodies = (frames | st.binary(max_size=60)).map(lambda frame: base64.b64encode(frame).decode())
messages = st.one_of(
    st.builds(lambda aux: line(id="moby.buildkit.trace", aux=aux), bodies | odd),
    st.builds(lambda aux: line(id="moby.image.id", aux={"ID": aux}), odd),
    st.builds(lambda said: line(stream=said), odd),
    st.builds(lambda status, layer: line(status=status, id=layer), odd, odd),
    st.builds(lambda words, code: line(errorDetail={"message": words, "code": code}, error=words), odd, odd),
    st.builds(lambda detail: line(errorDetail=detail), odd),
    st.builds(lambda said: line(error=said), odd),
    st.dictionaries(texts, odd, max_size=3).map(lambda message: line(**message)),
    st.binary(max_size=40),
)


@settings(max_examples=100)
@given(st.lists(messages, max_size=6), st.integers(1, 200))
def test_no_output_of_a_build_is_a_crash_and_none_without_an_image_a_success(sent: list[bytes], size: int) -> None:
    whole = b"".join(sent)
    _, made = followed([whole[at : at + size] for at in range(0, len(whole), size)])
    assert made is None or made.encode() in whole


@settings(max_examples=80)
@given(st.data())
def test_no_damage_to_the_output_of_a_build_is_a_crash(data: st.DataObject) -> None:
    frame = base64.b64encode(log_frame(b"said\n")).decode()
    whole = bytearray(
        line(id="moby.buildkit.trace", aux=frame) + line(stream="Step 1/1 : FROM x\n") + line(aux={"ID": MADE})
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    followed([bytes(whole)])


@pytest.mark.parametrize(
    "named",
    ["", "sha256:", "busybox", MADE + "\n", MADE.upper(), MADE[:-1], MADE + "0", "sha256:" + "é" * 64, None, 5, [MADE]],
)
def test_what_is_no_image_id_is_no_image(named: object) -> None:
    log, made = followed([line(stream="Successfully built 1\n"), line(aux={"ID": named})])
    assert (log, made) == ("Successfully built 1\n", None)


@pytest.mark.parametrize("place", ["id", "aux", "stream", "status", "error"])
@pytest.mark.parametrize("depth", [900, 960, 980, 985, 987, 988, 989, 990, 5000])
def test_no_depth_of_a_message_is_a_crash(place: str, depth: int) -> None:
    known = {"id": '"status":"x",', "aux": '"id":"moby.buildkit.trace",'}.get(place, "")
    deep = f'{{{known}"{place}":{"[" * depth}{"]" * depth}}}'
    _, made = followed([deep.encode()])
    assert made is None


@pytest.mark.parametrize("words", ["RUN echo context canceled: exit code: 1", "code = Canceled: exit code: 12"])
def test_a_command_cannot_pass_its_failure_off_as_the_engines(words: str) -> None:
    with pytest.raises(BuildFailed, match="exit code 1"):
        list(BuildOutput().feed(line(errorDetail={"message": words})))
    with pytest.raises(BuildFailed, match="exit code 3"):
        list(BuildOutput().feed(line(errorDetail={"message": "context canceled", "code": 3})))


@settings(max_examples=80)
@given(st.lists(frames | st.binary(max_size=80), max_size=5))
def test_no_frames_are_a_crash_and_their_text_is_whole_lines(sent: list[bytes]) -> None:
    renderer = TraceRenderer()
    for frame in sent:
        text = renderer.feed(frame)
        assert_storable(text)
        assert text == "" or text.endswith("\n")
    text = renderer.close()
    assert_storable(text)
    assert text == "" or text.endswith("\n")


@given(st.integers(1, 9), st.integers(0, 2**64 - 1), st.integers(0, 7))
def test_a_length_beyond_the_frame_is_refused(number: int, size: int, wire: int) -> None:
    data = varint(number << 3 | wire) + varint(size)
    try:
        decode_frame(data)
    except FrameError:
        return
    assert wire == 0 or (wire == 2 and size == 0) or (wire in {1, 5} and len(data) > 4)


def test_megabytes_of_one_line_are_cut_into_lines_that_lack_nothing() -> None:
    renderer = TraceRenderer()
    text = renderer.feed(log_frame(b"x" * (2 * MIB))) + renderer.close()
    said = [one.rpartition(" ")[2] for one in text.splitlines()[1:]]
    assert sum(map(len, said)) == 2 * MIB
    assert max(map(len, said)) == LONGEST_LINE


def test_a_character_cut_between_pieces_is_whole() -> None:
    renderer = TraceRenderer()
    text = "".join(renderer.feed(log_frame(bytes([byte]))) for byte in "é漢🚀\n".encode())
    assert text.endswith(" é漢🚀\n")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "data",
    [b'{"stream":"' + b"\\\\" * MIB + b'"}', b'{"stream":"' + b'\\"' * MIB + b'"}', b"}" * 100, b" " * MIB],
    ids=["backslashes", "quotes", "ends", "blanks"],
)
@pytest.mark.parametrize("size", [1000, 64 * 1024])
def test_output_that_is_slow_to_split_is_split(data: bytes, size: int) -> None:
    followed([data[at : at + size] for at in range(0, len(data), size)])


# --- the output of containers


def lines_of(data: bytes, size: int) -> list[TaskLine]:
    split = Frames()
    return [read_line(*frame) for at in range(0, len(data), size) for frame in split.feed(data[at : at + size])]


headers = st.builds(
    lambda stream, rest, size: bytes([stream]) + rest + size.to_bytes(4, "big"),
    st.integers(0, 4),
    st.just(b"\0\0\0") | st.binary(min_size=3, max_size=3),
    st.integers(0, 64) | st.sampled_from([LARGEST_FRAME, LARGEST_FRAME + 1, 2**32 - 1]),
)
details = st.sampled_from([
    b"2026-11-24T18:24:27.794582789Z com.docker.swarm.task.id=t1 said\n",
    b"9999-99-99T99:99:99Z com.docker.swarm.task.id=t1 x",
    b"0001-01-01T00:00:00.1Z com.docker.swarm.task.id=\0 \xff\n", b"2026Z com.docker.swarm.task.id=", b"\xed\xa0\x80",
])  # fmt: skip


@settings(max_examples=80)
@given(st.lists(st.tuples(headers | st.just(b""), details | st.binary(max_size=64)), max_size=4), st.integers(1, 300))
def test_no_output_of_a_container_is_a_crash(sent: list[tuple[bytes, bytes]], size: int) -> None:
    for said in lines_of(b"".join(head + payload for head, payload in sent), size):
        for text in (said.at, said.task, said.stream, said.text):
            assert_storable(text)
        assert not said.text.endswith("\n")


def test_a_line_of_megabytes_is_given_in_pieces() -> None:
    said = lines_of(b"x" * (5 * MIB) + b"\n", 64 * 1024)
    assert "".join(piece.text for piece in said) == "x" * (5 * MIB)
    assert max(len(piece.text) for piece in said) <= LARGEST_FRAME + 64 * 1024
