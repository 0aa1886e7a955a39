"""What the engine writes while it builds, read as log text, an image, or a failure. Pure.

The stream is JSON objects, cut and joined anywhere. Shapes (moby ``pkg/streamformatter``, ``builder-next``): ``stream``
text and ``aux.ID`` from the classic builder; ``moby.buildkit.trace`` frames and ``moby.image.id`` from BuildKit;
``status`` from pulls; ``errorDetail`` as the last object of a build that failed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any, Final

from app.engine.frame import one_line, storable
from app.engine.shape import ImageMade, LogText
from app.engine.trace import TraceRenderer
from app.errors import BuildFailed, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.engine.shape import BuildEvent

LARGEST_OBJECT: Final = 16 * 1024 * 1024
LONGEST_QUOTE: Final = 600
STRUCTURE: Final = re.compile(rb'["{}]')
STRING_STOP: Final = re.compile(rb'["\\]')
CLASSIC_STEP: Final = re.compile(r"Step (\d+/\d+) : (.+)", re.DOTALL)
EXIT_CODE: Final = re.compile(r"(?:exit code|non-zero code): (\d+)\s*$")
ENGINE_STOPPED: Final = ("context canceled", "code = Canceled", "client connection is closing", "transport is closing")
NO_SESSION: Final = "no active sessions"
SESSION_ADVICE: Final = (
    "; RUN --mount=type=secret or ssh cannot be used here, and engines before 23.0 cannot pull a base image this way:"
    " docker pull it on the engine first"
)


class JsonSplitter:
    """Cuts a byte stream into the JSON objects in it, wherever the chunks were cut; no byte is looked at twice."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._in_string = False

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """Yield every object that ``chunk`` completes. Raises ``EngineUnavailable`` for anything but objects."""
        self._buffer += chunk
        while (end := self._scan()) is not None:
            yield _parse(bytes(self._buffer[:end]))
            del self._buffer[:end]
            self._scanned = 0
        if len(self._buffer) > LARGEST_OBJECT:
            raise EngineUnavailable(f"the Docker engine sent a JSON object of more than {LARGEST_OBJECT >> 20} MiB")

    def close(self) -> None:
        """Raises ``EngineUnavailable`` when the stream ended inside an object."""
        if self._buffer.strip():
            raise EngineUnavailable("the Docker engine's output ended in the middle of a message")

    def _scan(self) -> int | None:
        """Return the position behind the first whole object, or None when there is none yet."""
        while found := (STRING_STOP if self._in_string else STRUCTURE).search(self._buffer, self._scanned):
            mark, position = found[0], found.start()
            if mark == b"\\":
                if position + 1 == len(self._buffer):
                    self._scanned = position
                    return None
                self._scanned = position + 2
                continue
            self._scanned = position + 1
            if mark == b'"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if mark == b"{" else -1
                if self._depth <= 0:
                    self._depth = 0
                    return self._scanned
        self._scanned = len(self._buffer)
        return None


def _parse(data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise EngineUnavailable("the Docker engine's output is not a stream of JSON objects; check DOCKER_HOST")
    return parsed


class BuildOutput:
    """Follows one build's output; ``feed`` it chunks, and ``close`` it only when the stream ended properly."""

    def __init__(self) -> None:
        self._splitter = JsonSplitter()
        self._trace = TraceRenderer()
        self._pulls: dict[str, str] = {}
        self._image_id = ""
        self._step = ""

    def feed(self, chunk: bytes) -> Iterator[BuildEvent]:
        """Yield the log text in ``chunk``. Raises ``BuildFailed``, after the text that came before the failure."""
        for message in self._splitter.feed(chunk):
            if text := self._text(message):
                yield LogText(text)
            if failure := _failure(message):
                if rest := self._trace.close():
                    yield LogText(rest)
                raise self._error(*failure)

    def close(self) -> Iterator[BuildEvent]:
        """Yield the last text and the image. Raises ``EngineUnavailable`` when the engine named none."""
        self._splitter.close()
        if rest := self._trace.close():
            yield LogText(rest)
        if self._trace.bad_frames:
            yield LogText(f"({self._trace.bad_frames} messages of the engine could not be read and are missing here)\n")
        if not self._image_id:
            raise EngineUnavailable("the Docker engine ended the build without naming an image; was it restarted?")
        yield ImageMade(self._image_id)

    def _text(self, message: dict[str, Any]) -> str:
        aux = message.get("aux")
        if message.get("id") == "moby.buildkit.trace":
            return self._trace_text(aux)
        if isinstance(aux, dict) and isinstance(aux.get("ID"), str):
            self._image_id = aux["ID"]
            return ""
        if isinstance(text := message.get("stream"), str):
            if step := CLASSIC_STEP.match(text):
                self._step = f"[{step[1]}] {one_line(step[2])}"
            return storable(text)
        if isinstance(status := message.get("status"), str):
            return self._pull_text(str(message.get("id") or ""), status)
        return ""

    def _trace_text(self, aux: object) -> str:
        try:
            return self._trace.feed(base64.b64decode(str(aux), validate=True))
        except (binascii.Error, ValueError):
            self._trace.bad_frames += 1
            return ""

    def _pull_text(self, layer: str, status: str) -> str:
        """A line when a layer's status changes, not for every tick of its progress."""
        if layer and self._pulls.get(layer) == status:
            return ""
        self._pulls[layer] = status
        return storable(f"{layer}: {status}\n" if layer else f"{status}\n")

    def _error(self, words: str, code: int | None) -> BuildFailed | EngineUnavailable:
        if any(sign in words for sign in ENGINE_STOPPED):
            return EngineUnavailable(f"the Docker engine stopped the build ({words}); was it shut down?")
        return BuildFailed(failure_sentence(self._trace.failed_step or self._step, words, code))


def failure_sentence(step: str, words: str, code: int | None) -> str:
    """Say which step failed and why: its exit code where there is one, else the engine's own words.

    >>> failure_sentence("[2/3] RUN make", "executor failed running [/bin/sh -c make]: exit code: 2", None)
    'step "[2/3] RUN make" failed with exit code 2; the end of the build log shows what it said'
    """
    where = f'step "{_cut(step)}"' if step else "the build"
    if code is None and (found := EXIT_CODE.search(words)):
        code = int(found[1])
    if code:
        return f"{where} failed with exit code {code}; the end of the build log shows what it said"
    advice = SESSION_ADVICE if NO_SESSION in words else ""
    return f"{where} failed: {_cut(one_line(words))}{advice}"


def _failure(message: dict[str, Any]) -> tuple[str, int | None] | None:
    """The engine's words and, from the classic builder, the exit code; None for a message that is no failure."""
    detail = message.get("errorDetail")
    if not isinstance(detail, dict):
        detail = {}
    words = detail.get("message") or message.get("error")
    if not words:
        return ("no reason given", None) if "errorDetail" in message else None
    code = detail.get("code")
    return storable(str(words)), code if isinstance(code, int) else None


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
