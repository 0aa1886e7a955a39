"""PostgreSQL killed and restarted under a whole Tagship: what was answered is kept, all goes on by itself."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import signal
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from app.engine.image import inspect_image
from tests.fault.deliveries import Delivery, intake, kept, send, send_all, takes_in
from tests.fault.postgres import OURS, ask, cut_connections, own_postgres
from tests.fault.scene import new_scene
from tests.waiting import until
from tests.world import DOCKERFILE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from app.engine.client import Engine
    from tests.fault.postgres import OwnPostgres
    from tests.fault.process import Tagship
    from tests.fault.scene import Scene

IN_FLIGHT = 64
LINES = 120
TALKATIVE = f"""{DOCKERFILE}RUN for i in $(seq 1 {LINES}); do echo "line-$i-@RUN@"; sleep 0.05; done
"""
LOG = """
select coalesce(string_agg(l.data, '' order by l.seq), '')
  from build_log l where l.build_id = (select max(id) from builds where image_id = $1)"""
CONVERGING = "select exists (select from rollouts where state = 'converging')"
LISTENING = f"select exists (select from pg_stat_activity where {OURS} and query like 'LISTEN%')"


@pytest.fixture(scope="module")
async def server(public_folder: Path) -> AsyncIterator[OwnPostgres]:
    """The server that the tests of this module kill; every test has a database of its own on it."""
    async with own_postgres(public_folder / "killed") as server:
        yield server


@pytest.fixture
async def dsn(server: OwnPostgres, request: pytest.FixtureRequest) -> str:
    name = request.node.name.removeprefix("test_")[:60]
    await ask(server.dsn(), f'create database "{name}"')
    return server.dsn(name)


@dataclass
class Stage:
    """A Tagship with a product, on the server that is killed; every test pushes tags of its own."""

    scene: Scene
    tagship: Tagship
    product: dict[str, Any]
    dsn: str
    minors: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def release(self, files: dict[str, str] | None = None) -> tuple[str, int]:
        """Push the next tag; the tag and the id of its image."""
        tag = f"v1.{next(self.minors)}.0"
        await self.scene.release(tag, files)
        return tag, (await self.scene.image_of(self.tagship, tag))["id"]

    async def lines(self, image_id: int) -> list[int]:
        """The numbers of the lines that a talkative build has in its stored log."""
        return [int(number) for number in re.findall(r"line-(\d+)-", await ask(self.dsn, LOG, image_id))]

    async def printed(self, image_id: int, number: int) -> None:
        """Wait until this line is stored."""

        async def look() -> bool:
            return number in await self.lines(image_id)

        await until(look, f"line {number} is stored")

    async def converges(self) -> None:
        """Wait until the swarm has the spec and its tasks are watched."""
        await until(partial(ask, self.dsn, CONVERGING), "the rollout converges")

    async def is_done_once(self, tag: str, image_id: int) -> None:
        """Wait until the product runs the tag; it was built and rolled out once, and told once."""
        await self.scene.runs(self.tagship, self.product, tag)
        assert await ask(self.dsn, "select array_agg(state::text) from builds where image_id = $1", image_id) == [
            "success"
        ]
        assert await ask(self.dsn, "select array_agg(state::text) from rollouts where image_id = $1", image_id) == [
            "done"
        ]
        told = (await self.scene.told()).text
        assert f"{tag}* built in" in told
        assert "1 of 1 product running" in told


@pytest.fixture(scope="module")
async def stage(server: OwnPostgres, tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> AsyncIterator[Stage]:
    await ask(server.dsn(), "create database stage")
    dsn, folder = server.dsn("stage"), tmp_path_factory.mktemp("stage")
    settings = {"TAGSHIP_LEASE_S": "45", "TAGSHIP_ROLLOUT_MONITOR_S": "4"}
    async with new_scene(folder, dsn, **settings) as scene, scene.tagship() as tagship:
        [product] = await scene.prepare(tagship)
        yield Stage(scene, tagship, product, dsn)


async def test_no_delivery_is_lost_or_doubled_when_postgres_is_killed(
    server: OwnPostgres, dsn: str, tmp_path: Path
) -> None:
    async with intake(tmp_path, DATABASE_URL=dsn) as tagship:
        deliveries = [Delivery() for _ in range(IN_FLIGHT)]
        sending = [asyncio.create_task(send(tagship, delivery)) for delivery in deliveries]
        await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        await server.kill()
        await asyncio.gather(*sending)
        refused = [delivery for delivery in deliveries if not delivery.taken]
        assert 0 < len(refused) < IN_FLIGHT
        assert [delivery.said for delivery in refused if not delivery.refused_well] == []

        await server.start()
        await takes_in(tagship)
        stored = set(await ask(dsn, "select array_agg(guid) from deliveries"))
        assert {delivery.guid for delivery in deliveries if delivery.taken} <= stored
        await send_all(tagship, refused)
        assert all(delivery.taken for delivery in deliveries)
        assert await kept(dsn, deliveries) == (IN_FLIGHT, IN_FLIGHT, IN_FLIGHT)


async def test_build_and_rollout_go_on_when_postgres_is_killed(server: OwnPostgres, stage: Stage) -> None:
    tag, image_id = await stage.release({"Dockerfile": TALKATIVE})
    await stage.printed(image_id, LINES // 4)
    await server.kill()
    name = f"{stage.scene.image}:{tag}"
    await until(partial(inspect_image, stage.scene.engine, name), "the build has ended without a database")
    await server.start()
    await stage.converges()
    await server.kill()
    await server.start()
    await stage.is_done_once(tag, image_id)
    assert await stage.lines(image_id) == list(range(1, LINES + 1))


async def test_connections_cut_again_and_again_lose_nothing(stage: Stage) -> None:
    tag, image_id = await stage.release({"Dockerfile": TALKATIVE})
    for number in range(LINES // 5, LINES, LINES // 5):
        await stage.printed(image_id, number)
        assert await cut_connections(stage.dsn) > 0
    await stage.converges()
    assert await cut_connections(stage.dsn) > 0
    await until(partial(ask, stage.dsn, LISTENING), "somebody listens again")
    await stage.is_done_once(tag, image_id)
    assert await stage.lines(image_id) == list(range(1, LINES + 1))


async def test_tag_after_a_restart_of_postgres_needs_no_restart_of_tagship(server: OwnPostgres, stage: Stage) -> None:
    await server.restart()
    tag, image_id = await stage.release()
    await stage.is_done_once(tag, image_id)


async def test_embedded_postgres_comes_back_under_a_running_tagship(public_folder: Path) -> None:
    folder = public_folder / "served"
    try:
        async with intake(folder) as tagship:
            assert (await send(tagship, Delivery())).status == 202
            postmaster = folder / "data" / "postgres" / "data" / "postmaster.pid"
            before = postmaster.read_text().split()[0]
            os.kill(int(before), signal.SIGKILL)

            async def is_another() -> bool:
                shown = postmaster.read_text().split() if postmaster.exists() else []
                return bool(shown) and shown[0] != before

            await until(is_another, "another server runs")
            await takes_in(tagship)
            assert (await send(tagship, Delivery())).status == 202
            answer = await tagship.get("/deliveries")
            assert [delivery["state"] for delivery in answer] == ["accepted", "accepted"]
            assert tagship.events("database_restarted")
            await tagship.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
