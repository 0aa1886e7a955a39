"""BuildKit's progress as the text that ``docker build --progress=plain`` would show. Pure."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from app.engine.frame import FrameError, decode_frame, one_line, storable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.engine.frame import Vertex, VertexLog, VertexStatus

LONGEST_LINE: Final = 64 * 1024
KILO: Final = 1000
BRIEF_S: Final = 0.05  # BuildKit takes steps up again; only the times that cost something are told


@dataclass(slots=True)
class _Output:
    """The unfinished last line of one stream of a step."""

    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )
    rest: str = ""

    def lines(self, message: bytes, *, final: bool = False) -> Iterator[str]:
        text = self.rest + self.decoder.decode(message, final)
        *whole, self.rest = text.split("\n")
        if len(self.rest) > LONGEST_LINE:
            cuts = range(0, len(self.rest), LONGEST_LINE)
            *parts, self.rest = (self.rest[cut : cut + LONGEST_LINE] for cut in cuts)
            whole += parts
        if final and self.rest:
            whole.append(self.rest)
            self.rest = ""
        for line in whole:
            yield storable(line.removesuffix("\r"))


@dataclass(slots=True)
class _Step:
    """What the log already says about one vertex; ``number`` is 0 until the log names it."""

    name: str = ""
    number: int = 0
    started: float | None = None
    ended: bool = False
    reopened: bool = False
    outputs: dict[int, _Output] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)


class TraceRenderer:
    """Turns frames into the text of ``docker build --progress=plain``, keeping every line whole.

    Steps run side by side and their output arrives in pieces cut anywhere: each stream of each step keeps its
    unfinished line back until it is complete or its step ends. ``failed_step`` is the name of the first step that
    failed, or empty; ``bad_frames`` counts what could not be decoded.
    """

    def __init__(self) -> None:
        self.failed_step = ""
        self.bad_frames = 0
        self._steps: dict[str, _Step] = {}
        self._named = 0
        self._lines: list[str] = []

    def feed(self, data: bytes) -> str:
        """Take one frame and return the lines it completes, each with its newline; a bad one is counted and skipped."""
        try:
            frame = decode_frame(data)
        except FrameError:
            self.bad_frames += 1
            return ""
        for vertex in frame.vertexes:
            self._begin(vertex)
        for status in frame.statuses:
            self._transfer(status)
        for log in frame.logs:
            self._output(log)
        for warning in frame.warnings:
            self._say(self._step(warning.vertex), f"WARNING: {warning.short}")
        for vertex in frame.vertexes:
            self._end(vertex)
        return self._take()

    def close(self) -> str:
        """Return the unfinished lines of every step."""
        for step in self._steps.values():
            self._flush(step)
        return self._take()

    def _take(self) -> str:
        text = "".join(self._lines)
        self._lines.clear()
        return text

    def _step(self, digest: str) -> _Step:
        return self._steps.setdefault(digest, _Step())

    def _say(self, step: _Step, text: str) -> None:
        self._name(step)
        self._lines.append(f"#{step.number} {text}\n")

    def _name(self, step: _Step) -> None:
        if step.number:
            return
        self._named += 1
        step.number = self._named
        self._lines.append(f"#{step.number} {one_line(step.name)}\n")

    def _begin(self, vertex: Vertex) -> None:
        step = self._step(vertex.digest)
        step.name = vertex.name or step.name
        if vertex.started is not None:
            self._name(step)
            if vertex.started != step.started:
                step.started, step.ended, step.reopened = vertex.started, False, step.ended or step.reopened

    def _transfer(self, status: VertexStatus) -> None:
        step = self._step(status.vertex)
        if status.completed is None or status.id in step.reported:
            return
        step.reported.add(status.id)
        size = f" {_size_text(status.current)}" if status.current > 0 else ""
        self._say(step, f"{one_line(status.id)}{size} {_elapsed(status.started, status.completed)} done")

    def _output(self, log: VertexLog) -> None:
        step = self._step(log.vertex)
        for line in step.outputs.setdefault(log.stream, _Output()).lines(log.message):
            self._say(step, f"{_seconds(step.started, log.timestamp):.3f} {line}")

    def _flush(self, step: _Step) -> None:
        for output in step.outputs.values():
            for line in output.lines(b"", final=True):
                self._say(step, line)
        step.outputs.clear()

    def _end(self, vertex: Vertex) -> None:
        step = self._step(vertex.digest)
        if vertex.completed is None or step.ended:
            return
        step.ended = True
        self._flush(step)
        if step.reopened and not vertex.error and _seconds(vertex.started, vertex.completed) < BRIEF_S:
            return
        if "context canceled" in vertex.error:
            self._say(step, "CANCELED")
        elif vertex.error:
            self.failed_step = self.failed_step or one_line(step.name)
            self._say(step, f"ERROR: {one_line(vertex.error)}")
        else:
            self._say(step, "CACHED" if vertex.cached else f"DONE {_elapsed(vertex.started, vertex.completed)}")
        self._lines.append("\n")


def _seconds(start: float | None, end: float | None) -> float:
    return max(0.0, end - start) if start is not None and end is not None else 0.0


def _elapsed(start: float | None, end: float | None) -> str:
    return f"{_seconds(start, end):.1f}s"


def _size_text(count: int) -> str:
    """Write a number of bytes as the docker command does, in powers of 1000."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < KILO:
            return f"{size:.4g}{unit}"
        size /= KILO
    return f"{size:.4g}GB"
