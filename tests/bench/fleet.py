"""One tag for a whole fleet, measured: how long until every product runs it, and what that costs the process.

Makes so many products of one small image on the engine in use, starts them, pushes the next tag, and removes all of
them again. Beside the time it prints what each rollout took by itself, the slowest answer of the API meanwhile, and the
longest step of the event loop.

    python -m tests.bench.fleet [PRODUCTS]
"""

from __future__ import annotations

import asyncio
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.bench.scratch import scratch
from tests.fault.fleet import SERVICE, all_rolled_out, fleet, loop_held, most_at_once
from tests.fault.scene import new_scene

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTS: Final = 200
PATIENCE_S: Final = 3600.0


async def measure(folder: Path, dsn: str, count: int) -> None:
    async with new_scene(folder, dsn) as scene:
        began = time.perf_counter()
        async with fleet(scene, count, PATIENCE_S) as (tagship, _):
            print(f"{count} products started in {time.perf_counter() - began:.0f} s")
            await loop_held(tagship)
            began = time.perf_counter()
            await scene.release("v1.1.0", SERVICE)
            rollouts, slowest = await all_rolled_out(scene, tagship, "pin_moved", count, PATIENCE_S)
            seconds = time.perf_counter() - began
            held = await loop_held(tagship)
            assert f"{count} of {count} products running" in (await scene.slack.next_message(PATIENCE_S)).text
        each = median((one["finished_at"] - one["started_at"]).total_seconds() for one in rollouts)
        done = sum(one["state"] == "done" for one in rollouts)
        print(f"{count} rollouts ({done} done) in {seconds:.0f} s from the push, {count / seconds:.1f}/s")
        print(f"each took {each:.1f} s (median), {most_at_once(rollouts)} at once at most")
        print(f"slowest answer of the API meanwhile: {slowest * 1000:.0f} ms")
        print(f"longest step: {held['clock_ms']} ms by the clock ({held['by_clock']}),")
        print(f"              {held['processor_ms']} ms of processor time ({held['by_processor']})")


async def main(count: int) -> None:
    async with scratch() as (folder, dsn):
        await measure(folder, dsn, count)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else PRODUCTS))
