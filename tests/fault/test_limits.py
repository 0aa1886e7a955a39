"""Builds that want too much time, memory, room on a disk or in the log: the build ends, and nothing else does."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest

from app.doctor import examine
from tests.engine.yard import processes_with
from tests.fault.private_engine import PrivateEngine, private_engine
from tests.fault.scene import new_scene
from tests.fault.small import MIB, Disk, allow_processes, small_disk
from tests.waiting import until
from tests.world import new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.engine.client import Engine
    from tests.fault.process import Tagship
    from tests.world import World

DATA_MB: Final = 96
MOST_PROCESSES: Final = 300
PLAIN: Final = "RUN"  # what either builder takes
MODERN: Final = "RUN --mount=type=tmpfs,target=/scratch"  # what only BuildKit takes


@pytest.fixture(scope="module")
async def small(engine: Engine) -> AsyncIterator[PrivateEngine]:
    """An engine on a small disk, for whatever must not happen to the one that is everybody's."""
    async with private_engine(engine, data_mb=DATA_MB) as made:
        allow_processes(f"tsf-{made.word}", MOST_PROCESSES)
        yield made


def disk_of(engine: PrivateEngine) -> Disk:
    """The engine's disk, which is mounted in its own namespace only."""
    return Disk(Path(f"/proc/{engine._first_pid}/root{engine.folder}/data"))


def recipe(*steps: str) -> dict[str, str]:
    """A Dockerfile whose steps no builder has in its cache."""
    return {"Dockerfile": "\n".join(("FROM busybox", "ENV RUN=@RUN@", *steps, ""))}


async def log_of(world: World, image: dict[str, Any]) -> str:
    return str((await world.get(f"/images/{image['id']}"))["build_log"])


# ---------------------------------------------------------------- what a step may use

LOOK: Final = (
    "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | sed s/^/memory=/;"
    " cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null | sed s/^/quota=/;"
    " ls /sys/class/net | grep -v tunl | grep -v sit | sed s/^/network=/"
)


async def test_limits_reach_the_steps_or_the_log_says_that_they_do_not(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    limits = {
        "TAGSHIP_BUILD_MEMORY_MB": "100",
        "TAGSHIP_BUILD_CPUS": "0.5",
        "TAGSHIP_BUILD_NETWORK": "none",
    }
    async with new_world(tmp_path, database, **limits) as world:
        await world.register()
        await world.release("v1.0.0", recipe(f"{PLAIN} {LOOK}"))
        await world.release("v1.0.1", recipe(f"{MODERN} {LOOK}"))
        classic = await log_of(world, await world.image_is("v1.0.0", "success"))
        buildkit = await log_of(world, await world.image_is("v1.0.1", "success"))
        await world.told_about("built in", "built in")
    assert f"memory={100 * MIB}\n" in classic
    assert "quota=50000" in classic
    assert "cannot be enforced" not in classic
    assert f"memory={100 * MIB}\n" not in buildkit
    assert "TAGSHIP_BUILD_MEMORY_MB and TAGSHIP_BUILD_CPUS cannot be enforced here" in buildkit
    for log in (classic, buildkit):
        assert "network=lo\n" in log
        assert "network=eth0\n" not in log


async def test_a_step_that_takes_memory_or_forks_without_end_stays_inside(
    tmp_path: Path, database: str, small: PrivateEngine
) -> None:
    limits = {"TAGSHIP_BUILD_MEMORY_MB": "64", "TAGSHIP_BUILD_CPUS": "0.5", "TAGSHIP_BUILD_TIMEOUT_S": "8"}
    async with new_world(tmp_path, database, DOCKER_HOST=small.host, **limits) as world:
        await world.register()
        await world.release("v1.0.0", recipe("RUN tail /dev/zero"))
        hungry = await world.image_is("v1.0.0", "failed")
        assert "exit code 137" in hungry["build_error"]
        assert "TAGSHIP_BUILD_MEMORY_MB" in hungry["build_error"]

        await world.release("v1.0.1", recipe("RUN bomb() { bomb | bomb & }; echo ticking; bomb; sleep 1000"))
        forking = await world.image_is("v1.0.1", "failed")
        assert "ticking" in await log_of(world, forking)
        assert forking["attempt"] == 1
        assert await world.services.engine.answers()

        await world.release("v1.0.2", recipe("RUN echo all is well"))
        await world.image_is("v1.0.2", "success")
        await world.told_about("could not be built", "could not be built", "built in")


# ---------------------------------------------------------------- time


async def test_a_step_that_hangs_ends_with_its_time_with_either_builder_and_the_next_build_starts(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    endless = {run: str(10_000_000 + secrets.randbelow(10_000_000)) for run in (PLAIN, MODERN)}
    limits = {"TAGSHIP_BUILD_MEMORY_MB": "64", "TAGSHIP_BUILD_TIMEOUT_S": "8", "TAGSHIP_BUILD_CONCURRENCY": "2"}
    async with new_world(tmp_path, database, **limits) as world:
        await world.register()
        for number, (run, seconds) in enumerate(endless.items()):
            await world.release(f"v1.0.{number}", recipe(f"{run} echo it hangs; exec sleep {seconds}"))
        for number in range(len(endless)):
            failed = await world.image_is(f"v1.0.{number}", "failed")
            assert "stopped after 8 s" in failed["build_error"]
            assert "raise TAGSHIP_BUILD_TIMEOUT_S" in failed["build_error"]
            assert failed["attempt"] == 1, "what hung once hangs again"
            assert "it hangs" in await log_of(world, failed)
        for seconds in endless.values():
            await until(gone(seconds), f"sleep {seconds} is no process any more", 30)
        await world.release("v1.1.0", recipe("RUN echo all is well"))
        await world.image_is("v1.1.0", "success")
        await world.told_about("could not be built", "could not be built", "built in")


def gone(word: str) -> Any:
    async def look() -> bool:
        return not processes_with(word)

    return look


# ---------------------------------------------------------------- the log

LOG_MB: Final = 2
BURST: Final = "yes '{}' | head -c 200000000; echo this is the end; exit 7".format("x" * 100)


def resident_bytes(tagship: Tagship, field: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (at most so far) of the process, see proc(5)."""
    for line in Path(f"/proc/{tagship.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


async def test_200_megabytes_of_output_cost_neither_memory_nor_the_log_its_end(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    """With either builder, both at once; BuildKit clips what a step prints by itself."""
    settings = {"TAGSHIP_BUILD_LOG_MB": str(LOG_MB), "TAGSHIP_BUILD_MEMORY_MB": "64", "TAGSHIP_BUILD_CONCURRENCY": "2"}
    async with new_scene(tmp_path, database, **settings) as scene, scene.tagship() as tagship:
        scene.listen(tagship)
        await tagship.post("/repositories", {"repo": scene.repo})
        before, stored_before = resident_bytes(tagship, "VmRSS"), await log_bytes(database)
        await scene.release("v1.0.0", recipe(f"{PLAIN} {BURST}"))
        await scene.release("v1.0.1", recipe(f"{MODERN} {BURST}"))
        images = [await scene.image_of(tagship, tag) for tag in ("v1.0.0", "v1.0.1")]
        healthy = asyncio.create_task(stays_healthy(tagship))
        for image in images:
            await tagship.becomes(f"/images/{image['id']}?log=false", "build_status", "failed")
            assert "could not be built" in (await scene.told()).text
        assert not healthy.done(), healthy.exception()
        healthy.cancel()
        assert resident_bytes(tagship, "VmHWM") - before < 150 * MIB
        assert await log_bytes(database) - stored_before < 4 * LOG_MB * MIB
        classic, buildkit = [await tagship.get(f"/images/{image['id']}") for image in images]
    for shown in (classic, buildkit):
        assert "exit code 7" in shown["build_error"]
        assert len(shown["build_log"]) < (LOG_MB + 1) * MIB
        assert shown["build_log"].endswith(f"ERROR: {shown['build_error']}\n")
    log = classic["build_log"]
    assert f"one attempt may print {LOG_MB * MIB:,} characters" in log
    assert "characters are missing here" in log
    assert "this is the end" in log


async def stays_healthy(tagship: Tagship) -> None:
    """Ask again and again whether the process is up; ends with an error when it does not say so."""
    while True:
        answer = await tagship.api.get(f"{tagship.url}/healthz", timeout=10)
        assert answer.status_code == 200, answer.text


async def log_bytes(dsn: str) -> int:
    """What the logs take in the database, with index and all."""
    conn = await asyncpg.connect(dsn)
    try:
        size: int = await conn.fetchval("select pg_total_relation_size('build_log')")
    finally:
        await conn.close()
    return size


# ---------------------------------------------------------------- disks


async def test_a_full_disk_of_the_engine_is_named_and_the_next_build_has_the_room_that_was_made(
    tmp_path: Path, database: str, small: PrivateEngine
) -> None:
    disk = disk_of(small)
    async with new_world(tmp_path, database, DOCKER_HOST=small.host) as world:
        await world.register()
        disk.fill(leave=4 * MIB)
        await world.release("v1.0.0", recipe("RUN dd if=/dev/zero of=/large bs=1M count=20"))
        await world.release("v1.0.1", {"large": secrets.token_hex(4 * MIB)} | recipe("COPY large /"))
        for tag in ("v1.0.0", "v1.0.1"):
            failed = await world.image_is(tag, "failed")
            assert "no space left" in failed["build_error"]
            assert "docker system df" in failed["build_error"]
        disk.make_room()
        await world.post(f"/images/{failed['id']}/rebuild", None, 202)
        await world.image_is("v1.0.1", "success")
        await world.told_about("could not be built", "could not be built", "built in")


async def test_a_full_disk_of_our_own_is_named_waited_for_and_told_by_the_doctor(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    """What comes before the Dockerfile is known is set aside on that disk, when it is more than a few megabytes."""
    with small_disk(tmp_path / "small", 8) as disk:
        async with new_world(tmp_path, database, TAGSHIP_DATA_DIR=str(disk.folder)) as world:
            await world.register(dockerfile="z/Dockerfile")
            disk.fill(leave=MIB)
            large = {"a-large-file": secrets.token_hex(3 * MIB)}
            await world.release("v1.0.0", large | {"z/Dockerfile": "FROM busybox\nCOPY VERSION /\n"})
            failed = await world.image_is("v1.0.0", "failed")
            assert f"cannot be kept in {disk.folder}/spool" in failed["build_error"]
            assert "make room there" in failed["build_error"]
            assert failed["attempt"] == 3, "room may be made meanwhile"
            told = next(finding for finding in await examine(world.settings) if finding.part == "disk")
            assert not told.ok
            assert "only 1 MiB free" in told.sentence
            assert "make room under" in told.sentence
            assert str(disk.folder) in told.sentence

            disk.make_room()
            await world.post(f"/images/{failed['id']}/rebuild", None, 202)
            await world.image_is("v1.0.0", "success")
            await world.told_about("could not be built", "built in")
        assert [path.name for path in (disk.folder / "spool").iterdir()] == []
