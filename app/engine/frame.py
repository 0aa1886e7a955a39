"""A decoder for the progress frames of BuildKit: ``StatusResponse`` messages in protobuf. Pure.

The schema is moby/buildkit ``api/services/control/control.proto``. No package carries it, the part we need is four
small tables, and what an engine sends must not be able to take the worker down: the decoder checks every length
and wire type and gives up on a frame by raising ``FrameError``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT: Final = 10
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class FrameError(ValueError):
    """The bytes are not a protobuf message of the expected shape."""


@dataclass(frozen=True, slots=True)
class Vertex:
    """One step of a build; times in seconds since the epoch, None as long as it has not come that far."""

    digest: str
    name: str
    cached: bool
    started: float | None
    completed: float | None
    error: str


@dataclass(frozen=True, slots=True)
class VertexStatus:
    """A transfer or another part of a step; ``current`` and ``total`` in bytes, 0 when there is nothing to count."""

    id: str
    vertex: str
    current: int
    total: int
    started: float | None
    completed: float | None


@dataclass(frozen=True, slots=True)
class VertexLog:
    """Output of a step; ``stream`` is 1 for stdout and 2 for stderr, ``message`` raw bytes cut anywhere."""

    vertex: str
    timestamp: float | None
    stream: int
    message: bytes


@dataclass(frozen=True, slots=True)
class VertexWarning:
    vertex: str
    short: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One ``StatusResponse``."""

    vertexes: tuple[Vertex, ...]
    statuses: tuple[VertexStatus, ...]
    logs: tuple[VertexLog, ...]
    warnings: tuple[VertexWarning, ...]


def decode_frame(data: bytes) -> Frame:
    """Decode a ``StatusResponse``; unknown fields are skipped. Raises ``FrameError``."""
    message = _message(data)
    return Frame(
        vertexes=tuple(_vertex(part) for part in message.all_bytes(1)),
        statuses=tuple(_status(part) for part in message.all_bytes(2)),
        logs=tuple(_log(part) for part in message.all_bytes(3)),
        warnings=tuple(_warning(part) for part in message.all_bytes(4)),
    )


def storable(text: str) -> str:
    """Replace what PostgreSQL cannot store as text, NUL and lone surrogates, by U+FFFD."""
    if text.isascii():  # nearly all of it, and ten times as fast
        return text.replace("\0", REPLACEMENT)
    return UNSTORABLE.sub(REPLACEMENT, text)


def one_line(text: str) -> str:
    """Join a text of several lines into one."""
    return " ".join(text.split())


@dataclass(slots=True)
class _Message:
    """The fields of one message by number; a number holds what arrived under the wire type it has in the schema."""

    varints: dict[int, int] = field(default_factory=dict)
    lengths: dict[int, list[bytes]] = field(default_factory=dict)

    def all_bytes(self, number: int) -> list[bytes]:
        return self.lengths.get(number, [])

    def bytes(self, number: int) -> bytes:
        return self.lengths[number][-1] if number in self.lengths else b""

    def text(self, number: int) -> str:
        return storable(self.bytes(number).decode("utf-8", "replace"))

    def integer(self, number: int) -> int:
        """A signed 64-bit integer, 0 when absent."""
        value = self.varints.get(number, 0)
        return value - (1 << 64) if value >> 63 else value

    def time(self, number: int) -> float | None:
        """A ``google.protobuf.Timestamp`` in seconds since the epoch; pieces of a singular message merge."""
        if number not in self.lengths:
            return None
        stamp = _message(b"".join(self.lengths[number]))
        return stamp.integer(1) + stamp.integer(2) / 1e9


def _vertex(data: bytes) -> Vertex:
    message = _message(data)
    return Vertex(
        digest=message.text(1),
        name=message.text(3),
        cached=message.integer(4) != 0,
        started=message.time(5),
        completed=message.time(6),
        error=message.text(7),
    )


def _status(data: bytes) -> VertexStatus:
    message = _message(data)
    return VertexStatus(
        id=message.text(1),
        vertex=message.text(2),
        current=message.integer(4),
        total=message.integer(5),
        started=message.time(7),
        completed=message.time(8),
    )


def _log(data: bytes) -> VertexLog:
    message = _message(data)
    return VertexLog(message.text(1), message.time(2), message.integer(3), message.bytes(4))


def _warning(data: bytes) -> VertexWarning:
    message = _message(data)
    return VertexWarning(message.text(1), message.text(3))


def _message(data: bytes) -> _Message:
    message = _Message()
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise FrameError("field number 0")
        if wire == VARINT:
            message.varints[number], position = _varint(data, position)
            continue
        size, position = _size(data, position, wire)
        if size > len(data) - position:
            raise FrameError("a field is longer than its message")
        if wire == LENGTH:
            message.lengths.setdefault(number, []).append(data[position : position + size])
        position += size
    return message


def _size(data: bytes, position: int, wire: int) -> tuple[int, int]:
    if wire == LENGTH:
        return _varint(data, position)
    if wire == FIXED64:
        return 8, position
    if wire == FIXED32:
        return 4, position
    raise FrameError(f"wire type {wire}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : position + LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value & 0xFFFF_FFFF_FFFF_FFFF, position + index + 1
    raise FrameError("a number does not end")
