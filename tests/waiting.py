"""Waiting for a state instead of for a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Found = TypeVar("Found")

PATIENCE_S: Final = 90.0
LOOK_S: Final = 0.1


async def until(look: Callable[[], Awaitable[Found | None]], what: str, patience_s: float = PATIENCE_S) -> Found:
    """Look again and again until there is something to see; fails with ``what`` after a while."""
    try:
        async with asyncio.timeout(patience_s):
            while (found := await look()) is None or found is False:
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"waited {patience_s:.0f} s in vain until {what}") from None
    return found
