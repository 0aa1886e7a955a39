"""What GitHub's answers say of our rate limit. Pure, apart from the clock that a time on GitHub's is compared to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_WINDOW_S: Final = 3600.0  # GitHub counts by the hour; what says more is wrong, or a clock is
CORE: Final = "core"
LARGEST: Final = 2**53  # a float counts exactly up to here, and no rate or time is larger


@dataclass(frozen=True, slots=True)
class Rate:
    """Of ``limit`` requests an hour ``remaining`` are left, and in ``reset_s`` seconds there are all again."""

    limit: int
    remaining: int
    reset_s: float


def rate_of(headers: Mapping[str, str]) -> Rate | None:
    """The rate limit of the REST API, as the headers of an answer tell it (in lower case, or of any case-blind
    mapping); None when they do not: an Enterprise server has none by default, and GraphQL one of its own.
    """
    if headers.get("x-ratelimit-resource", CORE) != CORE:
        return None
    try:
        limit, remaining, reset = (int(headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))
    except (KeyError, ValueError):
        return None
    if limit <= 0 or max(limit, abs(remaining), abs(reset)) > LARGEST:
        return None
    return Rate(limit, max(remaining, 0), min(max(reset - sent_at(headers), 1.0), LONGEST_WINDOW_S))


def sent_at(headers: Mapping[str, str]) -> float:
    """When the answer was sent by GitHub's own clock, which ours need not agree with."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return time.time()
