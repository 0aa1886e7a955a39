"""Names and sizes from a repository as they stand in sentences: whoever may push chooses them. Pure."""

from __future__ import annotations

from typing import Final

from app.builds.limits import MIB

LONGEST_SHOWN: Final = 120


def shown(name: str) -> str:
    """A name of whatever characters, quoted and cut so that it can stand in a sentence."""
    return repr(name if len(name) <= LONGEST_SHOWN else name[: LONGEST_SHOWN - 3] + "…")


def shown_plainly(name: str) -> str:
    """The same without quotes, for a name that needs none."""
    return name if name.isprintable() and len(name) <= LONGEST_SHOWN else shown(name)


def shown_mb(size: int) -> str:
    """A number of bytes in the unit of the settings.

    >>> shown_mb(4096 * MIB), shown_mb(500_000)
    ('4,096 MB', '0.476837 MB')
    """
    return f"{size / MIB:,.6g} MB" if size % MIB else f"{size // MIB:,} MB"
