"""What a delivery's body says, as people read it: indented, and no more of it than a page bears. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from app.errors import PayloadInvalid
from app.github.payload import payload_text

PRETTY_BYTES: Final = 64 * 1024  # no more is parsed in some milliseconds, whatever is in it
PLAIN_BYTES: Final = 16 * 1024
MOST_CHARACTERS: Final = 192 * 1024  # deep nesting makes much of little


@dataclass(frozen=True, slots=True)
class Shown:
    """The text of a payload; ``cut`` says that it is only the beginning, ``problem`` why it could not be read."""

    text: str
    cut: bool
    problem: str | None = None


def shown(content_type: str, beginning: bytes, size_bytes: int) -> Shown:
    """A payload of which at least the first ``PRETTY_BYTES`` were read. A small one is indented; of a large one the
    beginning is shown as it came, for parsing it would hold everybody else.
    """
    if size_bytes > len(beginning) or size_bytes > PRETTY_BYTES:
        return Shown(printable(beginning[:PLAIN_BYTES]), cut=True)
    try:
        text = payload_text(content_type, beginning)
    except PayloadInvalid as error:
        return Shown(printable(beginning[:PLAIN_BYTES]), cut=len(beginning) > PLAIN_BYTES, problem=str(error))
    return pretty(text)


def pretty(text: str) -> Shown:
    r"""A JSON text indented by two, as far as it is not too long.

    >>> pretty('{"a":[1]}').text
    '{\n  "a": [\n    1\n  ]\n}'
    """
    pieces, length = [], 0
    for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(json.loads(text)):
        pieces.append(piece)
        length += len(piece)
        if length > MOST_CHARACTERS:
            return Shown(printable("".join(pieces).encode(errors="replace")[:MOST_CHARACTERS]), cut=True)
    return Shown(printable("".join(pieces).encode(errors="replace")), cut=False)


def printable(body: bytes) -> str:
    """Bytes as text that a page can hold: what is no UTF-8 and what controls a terminal becomes U+FFFD."""
    text = body.decode(errors="replace")
    return "".join(one if one in "\t\n\r" or one.isprintable() else "\ufffd" for one in text)
