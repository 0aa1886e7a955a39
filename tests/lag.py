"""How long the event loop is held by something, for comparing one way of doing it with another."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TICK_S: Final = 0.001


async def longest_hold(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds for which nothing else had a turn while the work was done."""
    over, longest = asyncio.Event(), 0.0

    async def probe() -> None:
        nonlocal longest
        while not over.is_set():
            before = time.perf_counter()
            await asyncio.sleep(TICK_S)
            longest = max(longest, time.perf_counter() - before)

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0)
    await work()
    over.set()
    await probing
    return longest


async def shortest_of(times: int, work: Callable[[], Awaitable[object]]) -> float:
    """The shortest hold of several tries: what is left then is not the other programs of this machine."""
    return min([await longest_hold(work) for _ in range(times)])
