"""A process whose clock is wrong and jumps: leases, deadlines and retries go by the database's time and the monotonic
clock, so nothing is lost, stolen or late.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fault.ending import shipped
from tests.waiting import until
from tests.world import DOCKERFILE

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.fault.process import Tagship
    from tests.fault.scene import Scene


def libfaketime() -> str:
    """Debian's library through which a process reads a wrong wall clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.fail("this test needs libfaketime: apt-get install faketime", pytrace=False)
    return str(found[0])


def process_with_clock(scene: Scene, file: Path) -> AbstractAsyncContextManager[Tagship]:
    """A process whose clock is off by what ``file`` says, which may be written anew at any time. Its monotonic clock,
    by which event loops wait, is right, as it is on a machine whose clock is set.
    """
    return scene.tagship(
        log="wrong",
        TAGSHIP_LEASE_S="8",
        LD_PRELOAD=libfaketime(),
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_NO_CACHE="1",
        FAKETIME_TIMESTAMP_FILE=str(file),
        NO_FAKE_STAT="1",
    )


async def test_a_clock_that_is_wrong_and_jumps_costs_no_lease_and_no_attempt(scene: Scene, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+3600")
    slow = {"Dockerfile": DOCKERFILE.replace("RUN chmod +x serve", "RUN chmod +x serve; sleep 9")}  # past a lease
    async with process_with_clock(scene, clock) as wrong:
        [product] = await scene.prepare(wrong)
        await scene.release("v1.1.0", slow)
        await until(lambda: is_building(scene), "the build has been claimed")
        clock.write_text("-3600")
        async with scene.tagship("worker", ready=False, log="right", TAGSHIP_LEASE_S="8") as right:
            await shipped(scene, wrong, product, "v1.1.0")
            clock.write_text("+3600")
            await scene.release("v1.2.0")
            await shipped(scene, wrong, product, "v1.2.0")
            times = [line["time"][:13] for tagship in (wrong, right) for line in tagship.events("started")]
            assert times[0] != times[1], "the clock was not wrong"
            for event in ("lease_lost", "worker_lost", "build_retried", "rollout_delayed", "notice_delayed"):
                assert wrong.events(event) + right.events(event) == []


async def is_building(scene: Scene) -> bool:
    return await scene.rows("select id from builds where state = 'building'") != []
