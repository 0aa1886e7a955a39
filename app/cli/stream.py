"""Server-sent events out of the bytes of an answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``id`` is empty when it has none, ``data`` holds its lines with newlines between them."""

    id: str
    name: str
    data: str


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html), comments left out.

    Lines end with CR LF or LF only: ``str.splitlines`` and httpx's own line reader would also cut at the form feeds
    and separators that build logs hold. An event that the stream breaks off in is not one.
    """
    fields: dict[str, list[str]] = {}
    for line in _lines(chunks):
        if not line:
            if "data" in fields or "event" in fields:
                yield Event(_last(fields, "id"), _last(fields, "event"), "\n".join(fields.get("data", [])))
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))


def _last(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[-1]


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    left = b""
    for chunk in chunks:
        *whole, left = (left + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")
