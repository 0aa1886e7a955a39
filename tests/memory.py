"""How much memory another process takes meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MEGABYTE: Final = 1024 * 1024


@dataclass
class Memory:
    """The resident set of a process in bytes: at the beginning, and at most."""

    first: int
    peak: int

    @property
    def growth(self) -> int:
        return self.peak - self.first

    def __str__(self) -> str:
        return f"resident memory {self.first / MEGABYTE:.0f} MB, at most {self.growth / MEGABYTE:.1f} MB more"


@asynccontextmanager
async def watched_memory(pid: int, every_s: float = 0.1) -> AsyncIterator[Memory]:
    """Look at the resident set of a process for the length of the block."""
    memory = Memory(resident_bytes(pid), resident_bytes(pid))

    async def watch() -> None:
        while True:
            memory.peak = max(memory.peak, resident_bytes(pid))
            await asyncio.sleep(every_s)

    watching = asyncio.create_task(watch())
    try:
        yield memory
    finally:
        watching.cancel()


def resident_bytes(pid: int) -> int:
    """The resident set of a process; see proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
