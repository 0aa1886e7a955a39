"""How late the event loop is: whatever holds it makes everything else of the process wait as long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE_S: Final = 0.5


async def watch_lag(observe: Callable[[float], None], *, sample_s: float = SAMPLE_S) -> None:
    """Tell ``observe``, again and again until cancelled, by how many seconds a sleep was longer than it should be.

    A hold of any length is seen whole when the sleep ends in it, which the longer ones make the more likely.
    """
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + sample_s
        await asyncio.sleep(sample_s)
        observe(max(0.0, clock() - due))
