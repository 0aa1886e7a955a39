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
LATEST_CHARACTERS: Final = 4096
STRUCTURE: Final = re.compile(rb'["{}]')
STRING_TEXT: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
QUOTE, BRACE = b'"{'
SHORT_LOOK: Final = 16
CLASSIC_STEP: Final = re.compile(r"Step (\d+/\d+) : (.+)", re.DOTALL)
EXIT_CODE: Final = re.compile(r"(?:exit code|non-zero code): ([0-9]{1,10})\s*$")
IMAGE_ID: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
LARGEST_CODE: Final = 2**32
ENGINE_STOPPED: Final = ("context canceled", "code = Canceled", "client connection is closing", "transport is closing")
NO_SESSION: Final = "no active sessions"
SESSION_ADVICE: Final = (
    "; RUN --mount=type=secret or ssh cannot be used here, and engines before 23.0 cannot pull a base image this way:"
    " docker pull it on the engine first"
)
FULL: Final = "no space left on device"
FULL_ADVICE: Final = (
    "; there is no space left, most likely on the engine's disk: docker system df shows what takes it, make room there,"
    " then rebuild"
)
KILLED: Final = 137  # 128 + SIGKILL
KILLED_ADVICE: Final = (
    "; it was killed, as happens to one that needs more memory than there is, or than TAGSHIP_BUILD_MEMORY_MB allows"
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
        while True:
            mark = self._next_mark()
            if mark is None:
                self._scanned = len(self._buffer)
                return None
            self._scanned = mark + 1
            found = self._buffer[mark]
            if found == QUOTE:
                self._in_string = not self._in_string
                continue
            self._depth += 1 if found == BRACE else -1
            if self._depth <= 0:
                self._depth = 0
                return self._scanned

    def _next_mark(self) -> int | None:
        """The next place where a string begins or ends, or outside of strings a brace; None when there is none yet.

        A quote belongs to the text when an odd number of backslashes stands before it. Logs are full of escapes
        (every line end is one), so nothing here steps from one to the next.
        """
        if not self._in_string:
            found = STRUCTURE.search(self._buffer, self._scanned)
            return found.start() if found else None
        position = self._buffer.find(QUOTE, self._scanned)
        if position < 0 or not self._is_escaped(position):
            return position if position >= 0 else None
        inside = STRING_TEXT.match(self._buffer, position + 1)  # a text may be nothing but quotes
        end = inside.end() if inside else position + 1
        return end if self._buffer[end : end + 1] == b'"' else None

    def _is_escaped(self, position: int) -> bool:
        look = SHORT_LOOK
        while True:
            before = self._buffer[max(0, position - look) : position]
            backslashes = len(before) - len(before.rstrip(b"\\"))
            if backslashes < look or look > position:
                return backslashes % 2 == 1
            look *= 16


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
        self._latest = ""

    def feed(self, chunk: bytes) -> Iterator[BuildEvent]:
        """Yield the log text in ``chunk``. Raises ``BuildFailed``, after the text that came before the failure."""
        for message in self._splitter.feed(chunk):
            if text := self._text(message):
                self._latest = f"{self._latest[-LATEST_CHARACTERS:]}{text[-LATEST_CHARACTERS:]}"
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
        if isinstance(aux, dict) and isinstance(made := aux.get("ID"), str):
            self._image_id = made if IMAGE_ID.fullmatch(made) else self._image_id
            return ""
        if isinstance(text := message.get("stream"), str):
            if step := CLASSIC_STEP.match(text):
                self._step = f"[{step[1]}] {one_line(step[2])}"
            return storable(text)
        if isinstance(status := message.get("status"), str):
            layer = message.get("id")
            return self._pull_text(layer if isinstance(layer, str) else "", status)
        return ""

    def _trace_text(self, aux: object) -> str:
        try:
            return self._trace.feed(base64.b64decode(aux if isinstance(aux, str) else "?", validate=True))
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
        # What ends with an exit code quotes the step's command, which may say anything.
        if not code and not EXIT_CODE.search(words) and any(sign in words for sign in ENGINE_STOPPED):
            return EngineUnavailable(
                f"the Docker engine stopped the build ({_cut(one_line(words))}); was it shut down?"
            )
        full = FULL in self._latest.lower()
        return BuildFailed(failure_sentence(self._trace.failed_step or self._step, words, code, full=full))


def failure_sentence(step: str, words: str, code: int | None, *, full: bool = False) -> str:
    """Say which step failed and why: its exit code where there is one, else the engine's own words. ``full``: the step
    itself has said that there is no space left.

    >>> failure_sentence("[2/3] RUN make", "executor failed running [/bin/sh -c make]: exit code: 2", None)
    'step "[2/3] RUN make" failed with exit code 2; the end of the build log shows what it said'
    """
    where = f'step "{_cut(step)}"' if step else "the build"
    if code is None and (found := EXIT_CODE.search(words)):
        code = int(found[1])
    advice = FULL_ADVICE if full or FULL in words.lower() else ""
    if code:
        advice = advice or (KILLED_ADVICE if code == KILLED else "")
        return f"{where} failed with exit code {code}; the end of the build log shows what it said{advice}"
    advice = advice or (SESSION_ADVICE if NO_SESSION in words else "")
    return f"{where} failed: {_cut(one_line(words))}{advice}"


def _failure(message: dict[str, Any]) -> tuple[str, int | None] | None:
    """The engine's words and, from the classic builder, the exit code; None for a message that is no failure."""
    detail = message.get("errorDetail")
    if not isinstance(detail, dict):
        detail = {}
    words = next((said for said in (detail.get("message"), message.get("error")) if said and isinstance(said, str)), "")
    if not words:
        return ("no reason given", None) if "errorDetail" in message or message.get("error") else None
    code = detail.get("code")
    return storable(words), code if type(code) is int and 0 < code < LARGEST_CODE else None


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
