"""Text that strangers wrote, made fit for a terminal, and values as people read them. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# Escape sequences of ECMA-48: CSI with parameters and a final byte; strings (OSC, DCS, SOS, PM, APC) up to their
# terminator or the line's end; two- and three-byte escapes; then every other control character but tab and newline.
CONTROL: Final = re.compile(
    r"""
    (?P<sgr>\x1b\[[0-9;:]*m)
  | (?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?
  | (?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?
  | \x1b[ -/]*[0-Z\\^-~]?
  | [\x00-\x08\x0b-\x1f\x7f-\x9f]
    """,
    re.VERBOSE,
)
RESET: Final = "\x1b[0m"
WIDE: Final = frozenset("WF")
SHORT_SHA: Final = 10
MINUTE, HOUR, DAY = 60, 3600, 86_400
DURATION: Final = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII)
SECONDS_OF: Final = {"": 1, "s": 1, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
LONGEST_S: Final = 100 * 365 * DAY


def clean(text: str, *, colours: bool = False) -> str:
    """The text without anything that moves the cursor, sets a title or a clipboard, or rings: only colours stay, where
    wanted, and a line that sets some is ended with a reset. A carriage return alone is a line's end.
    """
    if text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    cleaned = CONTROL.sub(lambda found: (found["sgr"] or "") if colours else "", text)
    if "\x1b" not in cleaned:
        return cleaned
    return "\n".join(f"{line}{RESET}" if "\x1b" in line else line for line in cleaned.split("\n"))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of aligned columns under their names; None is ``-``, and the last column is not filled up."""
    cells = [[clean("-" if value is None else str(value)).replace("\n", " ").strip() for value in row] for row in rows]
    lines = [[name.upper() for name in columns], *cells]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(columns))]
    return [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in WIDE else 1 for char in text)


def moment(value: object) -> datetime | None:
    """The time that an RFC 3339 text says; None when it says none."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def distance(value: object, now: datetime) -> str | None:
    """How far a time is from now, ahead or behind, in its largest unit: ``40s``, ``5m``, ``3h``, ``12d``."""
    then = moment(value)
    if then is None:
        return None
    seconds = int(abs((now - then).total_seconds()))
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def size(value: object) -> str | None:
    """Bytes as ``4.3 MB``, counted in thousands as Docker does."""
    if not isinstance(value, int):
        return None
    amount, unit = float(value), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:  # noqa: PLR2004
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def commit(value: object) -> str | None:
    """The first characters of a commit's SHA."""
    return value[:SHORT_SHA] if isinstance(value, str) and value else None


def seconds_of(text: str) -> int:
    """Seconds that ``90``, ``90s``, ``15m``, ``12h``, ``90d`` or ``4w`` mean; ``ValueError`` for none, or over a
    century.
    """
    found = DURATION.fullmatch(text.strip().lower())
    seconds = int(found[1]) * SECONDS_OF[found[2]] if found else 0
    if not 0 < seconds <= LONGEST_S:
        raise ValueError("must be a time such as 90s, 15m, 12h, 90d or 4w")
    return seconds
