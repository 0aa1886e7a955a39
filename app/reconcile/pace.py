"""How often and how fast repositories are looked at, so that GitHub's rate limit is left to the builds. Pure.

Two things together: every repository has its own moment in each interval, so that many of them are spread over it; and
every look must be paid for before the next one begins that nobody asked for, by all processes together. What a look may
cost follows from what is left of the rate limit, half of which is never touched: without credentials these are thirty
requests an hour, and the interval becomes as long as that takes. Looks that are due longest come first, so that the
stretched interval is the same for all repositories.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.github.rate import Rate

LEFT_TO_BUILDS: Final = 0.5
LEFT_ALONE: Final = 0.2  # below this even looks that somebody asked for wait
BETWEEN_REQUESTS_S: Final = 0.1  # 600 a minute, of the 900 that GitHub's secondary limit lets through
RARELY_S: Final = 3600.0
FIRST_RETRY_S: Final = 5.0
SHORTEST_LONG_RETRY_S: Final = 60.0
MOST_QUESTIONS: Final = 200
REQUESTS_OF_A_QUESTION: Final = 2
EARLIEST: Final = 0.1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Trouble(Enum):
    """Why a look came to nothing."""

    PASSING = auto()  # GitHub is away, or one of us
    REFUSED = auto()  # it does not know the repository, or does not show it to us


@dataclass(frozen=True, slots=True)
class Pause:
    """No look that nobody asked for begins within ``open_s`` more seconds, and none at all within ``closed_s``."""

    open_s: float
    closed_s: float = 0.0


def phase_of(repo: str) -> float:
    """The repository's own moment in every interval, from 0 to 1."""
    return zlib.crc32(repo.encode()) / 2**32


def next_look(
    now: datetime, interval_s: float, phase: float, *, trouble: Trouble | None = None, failures: int = 0
) -> datetime:
    """When a repository is looked at again after a look that began ``now``; ``failures`` is how many there have been in
    a row, this one included.

    What went well comes again at the repository's own moment of the next interval (at the first time a tenth to eleven
    tenths of an interval later); what GitHub does not show us, rarely; what failed otherwise, soon, and then less often
    each time.
    """
    if trouble is Trouble.REFUSED:
        return now + timedelta(seconds=max(RARELY_S, interval_s) * (1 + phase / 10))
    if trouble is Trouble.PASSING:
        doubled = FIRST_RETRY_S * 2 ** min(max(failures - 1, 0), 20)
        longest = max(interval_s, SHORTEST_LONG_RETRY_S)
        return now + timedelta(seconds=min(doubled, longest) * (0.75 + phase / 2))
    begun = (now - EPOCH).total_seconds()
    earliest = begun + interval_s * EARLIEST
    turns = -(-(earliest - phase * interval_s) // interval_s)
    return EPOCH + timedelta(seconds=(turns + phase) * interval_s)


def pause_after(asked: int, counted: int, rate: Rate | None) -> Pause:
    """How long others wait after a look that sent ``asked`` requests, ``counted`` of which went against the rate limit.
    ``rate`` is None where GitHub has no limit.
    """
    least = asked * BETWEEN_REQUESTS_S
    if rate is None:
        return Pause(least)
    spare = rate.remaining - rate.limit * LEFT_TO_BUILDS
    closed_s = rate.reset_s if rate.remaining < rate.limit * LEFT_ALONE else 0.0
    if spare < 1:
        return Pause(rate.reset_s, closed_s)
    return Pause(max(least, min(rate.reset_s, counted * rate.reset_s / spare)), closed_s)


def most_questions(rate: Rate | None) -> int:
    """How many tags one look may ask about; others follow with the next."""
    if rate is None:
        return MOST_QUESTIONS
    spare = rate.remaining - rate.limit * LEFT_TO_BUILDS
    return max(1, min(MOST_QUESTIONS, int(spare) // REQUESTS_OF_A_QUESTION))
