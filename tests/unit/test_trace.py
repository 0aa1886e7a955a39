from __future__ import annotations

import pytest
from google.protobuf import (  # type: ignore[import-untyped] # its stubs are a package of their own
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped] # the same
from hypothesis import example, given
from hypothesis import strategies as st

from app.engine.frame import Frame, FrameError, Vertex, VertexLog, VertexStatus, VertexWarning, decode_frame
from app.engine.trace import LONGEST_LINE, TraceRenderer

Field = descriptor_pb2.FieldDescriptorProto
TEXT, INT64, BOOL, BYTES, INT32 = (
    Field.TYPE_STRING,
    Field.TYPE_INT64,
    Field.TYPE_BOOL,
    Field.TYPE_BYTES,
    Field.TYPE_INT32,
)
MESSAGES = {  # moby/buildkit api/services/control/control.proto and google/protobuf/timestamp.proto
    "Timestamp": [("seconds", 1, INT64), ("nanos", 2, INT32)],
    "Vertex": [
        ("digest", 1, TEXT), ("inputs", 2, [TEXT]), ("name", 3, TEXT), ("cached", 4, BOOL),
        ("started", 5, "Timestamp"), ("completed", 6, "Timestamp"), ("error", 7, TEXT),
    ],
    "VertexStatus": [
        ("ID", 1, TEXT), ("vertex", 2, TEXT), ("name", 3, TEXT), ("current", 4, INT64), ("total", 5, INT64),
        ("timestamp", 6, "Timestamp"), ("started", 7, "Timestamp"), ("completed", 8, "Timestamp"),
    ],
    "VertexLog": [("vertex", 1, TEXT), ("timestamp", 2, "Timestamp"), ("stream", 3, INT64), ("msg", 4, BYTES)],
    "VertexWarning": [("vertex", 1, TEXT), ("level", 2, INT64), ("short", 3, BYTES), ("detail", 4, [BYTES])],
    "StatusResponse": [
        ("vertexes", 1, ["Vertex"]), ("statuses", 2, ["VertexStatus"]), ("logs", 3, ["VertexLog"]),
        ("warnings", 4, ["VertexWarning"]),
    ],
}  # fmt: skip


def _classes() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="control.proto", package="t", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            one = kind[0] if isinstance(kind, list) else kind
            made = message.field.add(name=field_name, number=number)
            made.label = Field.LABEL_REPEATED if isinstance(kind, list) else Field.LABEL_OPTIONAL
            made.type = Field.TYPE_MESSAGE if isinstance(one, str) else one
            if isinstance(one, str):
                made.type_name = f".t.{one}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}")) for name in MESSAGES}


CLASSES = _classes()

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
int64s = st.integers(-(2**63), 2**63 - 1)
times = st.none() | st.builds(CLASSES["Timestamp"], seconds=st.integers(0, 2**40), nanos=st.integers(0, 999_999_999))
vertexes = st.builds(
    CLASSES["Vertex"], digest=texts, inputs=st.lists(texts, max_size=2), name=texts, cached=st.booleans(),
    started=times, completed=times, error=texts,
)  # fmt: skip
statuses = st.builds(
    CLASSES["VertexStatus"], ID=texts, vertex=texts, name=texts, current=int64s, total=int64s,
    timestamp=times, started=times, completed=times,
)  # fmt: skip
logs = st.builds(CLASSES["VertexLog"], vertex=texts, timestamp=times, stream=int64s, msg=st.binary(max_size=50))
warnings = st.builds(
    CLASSES["VertexWarning"], vertex=texts, level=int64s, short=texts.map(str.encode), detail=st.lists(st.binary())
)
frames = st.builds(
    CLASSES["StatusResponse"], vertexes=st.lists(vertexes, max_size=3), statuses=st.lists(statuses, max_size=3),
    logs=st.lists(logs, max_size=3), warnings=st.lists(warnings, max_size=2),
)  # fmt: skip


@given(frames)
def test_decoder_agrees_with_protobuf(message: Message) -> None:
    assert decode_frame(message.SerializeToString()) == _expected(message)


@given(frames, st.data())
def test_decoder_agrees_with_protobuf_on_damaged_frames(message: Message, data: st.DataObject) -> None:
    damaged = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    parsed = CLASSES["StatusResponse"]()
    try:
        parsed.ParseFromString(bytes(damaged))
        mine = decode_frame(bytes(damaged))
    except (DecodeError, FrameError):
        return
    expected = _expected(parsed)
    assert len(mine.vertexes) == len(expected.vertexes)
    assert [log.message for log in mine.logs] == [log.message for log in expected.logs]


@given(st.binary(max_size=200))
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\x1a\x0c\x20\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x22\x00")
@example(b"\x0b\x0c")
@example(b"\x00\x00")
@example(b"\xff" * 20)
def test_garbage_is_skipped_and_counted(data: bytes) -> None:
    renderer = TraceRenderer()
    text = renderer.feed(data) + renderer.close()
    assert "\0" not in text
    try:
        decode_frame(data)
    except FrameError:
        assert renderer.bad_frames == 1
    else:
        assert renderer.bad_frames == 0


@given(st.lists(st.binary(max_size=12), max_size=12), st.lists(st.binary(max_size=12), max_size=12))
def test_side_by_side_output_keeps_every_line_whole(first: list[bytes], second: list[bytes]) -> None:
    renderer = TraceRenderer()
    text = renderer.feed(_frame(vertexes=[_vertex("a", "one", 1), _vertex("b", "two", 1)]))
    for index in range(max(len(first), len(second))):
        for name, pieces in (("a", first), ("b", second)):
            if index < len(pieces):
                text += renderer.feed(_frame(logs=[_log(name, 2, pieces[index])]))
    text += renderer.close()
    for number, pieces in ((1, first), (2, second)):
        said = [line for line in text.split("\n")[2:] if line.startswith(f"#{number} ")]
        said = [line.removeprefix(f"#{number} ").removeprefix("1.000 ") for line in said]
        assert said == _lines(b"".join(pieces))


def test_a_step_reads_like_the_docker_command() -> None:
    renderer = TraceRenderer()
    text = renderer.feed(_frame(vertexes=[_vertex("a", "[1/3] FROM busybox", 1, 1, cached=True)]))
    text += renderer.feed(_frame(vertexes=[_vertex("b", "[2/3] RUN make", 1)]))
    text += renderer.feed(
        _frame(logs=[_log("b", 1.25, b"caf\xc3"), _log("b", 1.5, b"\xa9\r\nto"), _log("b", 2, b"ol\0")])
    )
    text += renderer.feed(_frame(logs=[_log("b", 3, b"to stderr\n", stream=2)]))
    text += renderer.feed(_frame(vertexes=[_vertex("b", "[2/3] RUN make", 1, 4)]))
    text += renderer.feed(_frame(vertexes=[_vertex("c", "[3/3] RUN exit 3", 4, 5, error="exit code: 3")]))
    assert text == (
        "#1 [1/3] FROM busybox\n#1 CACHED\n\n"
        "#2 [2/3] RUN make\n#2 0.500 café\n#2 2.000 to stderr\n#2 tool\ufffd\n#2 DONE 3.0s\n\n"
        "#3 [3/3] RUN exit 3\n#3 ERROR: exit code: 3\n\n"
    )
    assert renderer.failed_step == "[3/3] RUN exit 3"


def test_a_step_that_ends_twice_is_told_once() -> None:
    renderer = TraceRenderer()
    renderer.feed(_frame(vertexes=[_vertex("a", "one", 1, 2)]))
    assert renderer.feed(_frame(vertexes=[_vertex("a", "one", 1, 2)])) == ""
    assert renderer.feed(_frame(vertexes=[_vertex("a", "one", 3, 3)])) == ""
    assert renderer.feed(_frame(vertexes=[_vertex("a", "one", 4, 6)])) == "#1 DONE 2.0s\n\n"


def test_a_cancelled_step_has_not_failed() -> None:
    renderer = TraceRenderer()
    text = renderer.feed(_frame(vertexes=[_vertex("a", "one", 1, 2, error="context canceled")]))
    assert text == "#1 one\n#1 CANCELED\n\n"
    assert renderer.failed_step == ""


def test_a_transfer_is_told_when_it_is_complete_and_not_at_every_tick() -> None:
    renderer = TraceRenderer()
    renderer.feed(_frame(vertexes=[_vertex("a", "FROM x", 1)]))
    assert renderer.feed(_frame(statuses=[_status(current=5)])) == ""
    assert renderer.feed(_frame(statuses=[_status(current=1_230_000, completed=3)])) == "#1 layer 1.23MB 2.0s done\n"
    assert renderer.feed(_frame(statuses=[_status(current=1_230_000, completed=3)])) == ""


def test_a_line_without_an_end_does_not_pile_up() -> None:
    renderer = TraceRenderer()
    text = "".join(renderer.feed(_frame(logs=[_log("a", 1, b"x" * 10_000)])) for _ in range(50))
    assert text.count("x") >= 500_000 - LONGEST_LINE


def test_warnings_are_told() -> None:
    warning = CLASSES["VertexWarning"](vertex="a", short=b"FromAsCasing")
    assert TraceRenderer().feed(_frame(warnings=[warning])) == "#1 \n#1 WARNING: FromAsCasing\n"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_frame_that_is_cut_off_is_never_an_error(cut: int) -> None:
    frame = _frame(vertexes=[_vertex("a", "one", 1, 2)], logs=[_log("a", 1, b"text\n")])
    renderer = TraceRenderer()
    renderer.feed(frame[:cut])
    assert renderer.feed(_frame(logs=[_log("z", 1, b"goes on\n")])).endswith("goes on\n")


def _expected(message: Message) -> Frame:
    parsed: object = message
    return Frame(
        vertexes=tuple(
            Vertex(v.digest, v.name, v.cached, _time(v, "started"), _time(v, "completed"), v.error)
            for v in parsed.vertexes  # type: ignore[attr-defined]
        ),
        statuses=tuple(
            VertexStatus(s.ID, s.vertex, s.current, s.total, _time(s, "started"), _time(s, "completed"))
            for s in parsed.statuses  # type: ignore[attr-defined]
        ),
        logs=tuple(
            VertexLog(log.vertex, _time(log, "timestamp"), log.stream, log.msg)
            for log in parsed.logs  # type: ignore[attr-defined]
        ),
        warnings=tuple(
            VertexWarning(w.vertex, w.short.decode("utf-8", "replace"))
            for w in parsed.warnings  # type: ignore[attr-defined]
        ),
    )


def _time(message: Message, name: str) -> float | None:
    if not message.HasField(name):
        return None
    stamp = getattr(message, name)
    return float(stamp.seconds + stamp.nanos / 1e9)


def _frame(**parts: list[Message]) -> bytes:
    return bytes(CLASSES["StatusResponse"](**parts).SerializeToString())


def _stamp(seconds: float) -> Message:
    return CLASSES["Timestamp"](seconds=int(seconds), nanos=round(seconds % 1 * 1e9))


def _vertex(
    digest: str, name: str, started: float, completed: float | None = None, *, cached: bool = False, error: str = ""
) -> Message:
    return CLASSES["Vertex"](
        digest=digest, name=name, started=_stamp(started), cached=cached, error=error,
        completed=None if completed is None else _stamp(completed),
    )  # fmt: skip


def _log(vertex: str, at: float, message: bytes, *, stream: int = 1) -> Message:
    return CLASSES["VertexLog"](vertex=vertex, timestamp=_stamp(at), stream=stream, msg=message)


def _status(*, current: int, completed: float | None = None) -> Message:
    return CLASSES["VertexStatus"](
        ID="layer", vertex="a", current=current, total=2_000_000, started=_stamp(1),
        completed=None if completed is None else _stamp(completed),
    )  # fmt: skip


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-8", "replace").replace("\0", "\ufffd")
    lines = text.split("\n")
    last = lines.pop()
    return [line.removesuffix("\r") for line in lines + ([last] if last else [])]
