"""What the engine writes while it pushes or pulls an image, read as log text, a digest, or a failure. Pure.

Shapes (moby ``pkg/jsonmessage``, ``distribution``): ``status`` with the layer as ``id`` and, many times a second,
``progressDetail``; ``aux.Digest`` at the end of a push, except from the containerd image store, which says it in a
``status`` only; ``errorDetail`` for every failure, under HTTP 200.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from app.engine.frame import one_line, storable
from app.engine.output import FULL, FULL_ADVICE, JsonSplitter
from app.errors import AppError, EngineUnavailable, RegistryRefused, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_QUOTE: Final = 600
LARGE_BYTES: Final = 32 * 1024 * 1024
STEPS: Final = 4
UNDER_WAY: Final = frozenset(
    {
        "Preparing",
        "Waiting",
        "Pushing",
        "Pulling fs layer",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
    }
)
MOVING: Final = frozenset({"Pushing", "Downloading"})
DIGEST_STATUS: Final = re.compile(r"(?:^|: )digest: (sha256:[0-9a-f]{64})\b")
ENGINE_STOPPED: Final = ("context canceled", "code = Canceled", "client connection is closing", "transport is closing")
PASSING: Final = re.compile(
    r"connection refused|connection reset|broken pipe|i/o timeout|timeout awaiting|TLS handshake timeout"
    r"|deadline exceeded|Client\.Timeout|request canceled|no such host|server misbehaving|temporary failure"
    r"|network is unreachable|no route to host|\bEOF\b|too ?many ?requests|unavailable"
    r"|status(?: code)?:? (?:429|5\d\d)|blob upload (?:unknown|invalid)",
    re.IGNORECASE,
)
FAILING: Final = re.compile(r"status(?: code)?:? 5\d\d|internal server error", re.IGNORECASE)
CREDENTIALS: Final = re.compile(
    r"unauthorized|denied|authentication required|no basic auth|status(?: code)?:? 40[13]", re.IGNORECASE
)
QUERY: Final = re.compile(r"(https?://)(?:[^\s/@\"]*@)?([^\s\"?]*)(?:\?[^\s\"]*)?")


class TransferOutput:
    """Follows one push or pull; ``digest`` is what a push ended with, None until it has said so.

    ``action`` completes "refused to …"; the log gets a line when a layer is done, and for a large one every quarter.
    """

    def __init__(self, action: str) -> None:
        self.digest: str | None = None
        self.action = action
        self._splitter = JsonSplitter()
        self._said: dict[str, str] = {}
        self._quarters: dict[str, int] = {}

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the log text in ``chunk``. Raises what ``transfer_failure`` makes of a failure."""
        for message in self._splitter.feed(chunk):
            if words := _failure(message):
                raise transfer_failure(self.action, words)
            if text := self._text(message):
                yield storable(text)

    def close(self) -> None:
        """Raises ``EngineUnavailable`` when the stream ended inside a message."""
        self._splitter.close()

    def _text(self, message: dict[str, Any]) -> str:
        aux = message.get("aux")
        if isinstance(aux, dict) and isinstance(aux.get("Digest"), str):
            self.digest = aux["Digest"]
        status = message.get("status")
        if not isinstance(status, str):
            return ""
        if found := DIGEST_STATUS.search(status):
            self.digest = found[1]
        layer = str(message.get("id") or "")
        if layer and status in UNDER_WAY:
            return self._quarter(layer, status, message.get("progressDetail"))
        said = "Retrying" if status.startswith("Retrying in") else status
        if layer and self._said.get(layer) == said:
            return ""
        self._said[layer] = said
        return f"{layer}: {status}\n" if layer else f"{status}\n"

    def _quarter(self, layer: str, status: str, detail: object) -> str:
        """A line for each quarter of a large layer that has passed."""
        if status not in MOVING or not isinstance(detail, dict):
            return ""
        current, total = detail.get("current"), detail.get("total")
        if not isinstance(current, int) or not isinstance(total, int) or total < LARGE_BYTES:
            return ""
        quarter = min(current * STEPS // total, STEPS)
        if quarter <= self._quarters.get(layer, 0):
            return ""
        self._quarters[layer] = quarter
        return f"{layer}: {status} {quarter * 100 // STEPS} % of {total / 1_000_000:.0f} MB\n"


def stood_still(action: str, seconds: float) -> RegistryUnavailable:
    """Our error for a transfer of which nothing was heard for so long."""
    return RegistryUnavailable(
        f"it stood still for {seconds:.0f} s when asked to {action}, and was given up; is the registry overloaded?"
    )


def transfer_failure(action: str, words: str) -> AppError:
    """Our error for the engine's words on a transfer that failed: whether waiting helps, or somebody has to act.

    Addresses lose their query: that is where registries and stores of layers put signatures.
    """
    said = QUERY.sub(r"\1\2", one_line(storable(words)))[:LONGEST_QUOTE]
    if any(sign in said for sign in ENGINE_STOPPED):
        return EngineUnavailable(f"the Docker engine stopped when asked to {action} ({said}); was it shut down?")
    if CREDENTIALS.search(said):
        advice = "check REGISTRY_USERNAME and REGISTRY_PASSWORD, and what this user may do"
        return RegistryRefused(f"the registry refused to {action}: {said}; {advice}")
    if FAILING.search(said):
        return RegistryUnavailable(
            f"the registry failed to {action}: {said}; its own log says why, a full disk for example"
        )
    if PASSING.search(said):
        return RegistryUnavailable(
            f"the registry cannot be reached to {action}: {said}; is it running, is REGISTRY right?"
        )
    advice = FULL_ADVICE if FULL in said.lower() else ""
    if "HTTP response to HTTPS client" in said:
        advice = "; serve it over TLS, or list it in the engine's insecure-registries"
    elif "x509" in said:
        advice = "; give the engine its certificate authority, in /etc/docker/certs.d"
    return RegistryRefused(f"it was not possible to {action}: {said}{advice}")


def _failure(message: dict[str, Any]) -> str:
    """The engine's words; "" for a message that is no failure."""
    detail = message.get("errorDetail")
    words = (detail.get("message") if isinstance(detail, dict) else None) or message.get("error")
    if not words:
        return "no reason given" if "errorDetail" in message else ""
    return str(words)
