"""What the engine does not do for us is said, waited for, and made up for: on an engine that these tests may stop."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.api.rollouts import when_final
from tests.docker import PrivateEngine, private_dockerd
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SCRATCH = {"Dockerfile": "FROM scratch\nCOPY VERSION /\n"}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tsd-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def own_engine(
    folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[PrivateEngine, World]]:
    async with private_dockerd(folder) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        (folder / "world").mkdir()
        async with new_world(folder / "world", database) as world:
            await world.register()
            yield engine, world
            if not await world.services.engine.answers():
                await engine.start()


async def test_without_a_swarm_images_are_built_and_a_start_is_refused_with_what_to_do(
    short_folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_engine(short_folder, database, monkeypatch) as (_, world):
        await world.release("v1.0.0", SCRATCH)
        image = await world.image_is("v1.0.0", "success")
        assert "built in" in await world.told()
        product = await world.product("allianz", image["id"])
        refused = await world.post(f"/products/{product['id']}/start", None, 409)
        assert "docker swarm init" in refused["detail"]
        ready = await world.outside.get(f"{world.url}/readyz")
        assert (ready.status_code, ready.json()["parts"]["engine"]) == (200, "ok"), "it takes in and builds"
        assert "docker swarm init" in ready.json()["parts"]["swarm"]
        assert (await world.get(f"/products/{product['id']}"))["status"] == "stopped"
        await world.services.pool.execute(
            "delete from products"
        )  # or the cleaning up would ask the swarm for its service


async def test_a_request_that_only_waits_is_answered_when_the_process_stops(
    short_folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_engine(short_folder, database, monkeypatch) as (_, world):
        async with world.services.pool.acquire() as conn:
            product_id = await conn.fetchval(
                "insert into products (name, slug, port) values ('A', 'a', 1) returning id"
            )
            rollout_id = await conn.fetchval(
                "insert into rollouts"
                " (product_id, kind, reason, image, env_sealed, port, publish_mode, replicas, run_after)"
                " values ($1, 'deploy', 'start', 'x', '{}', 1, 'host', 1, now() + interval '1 day') returning id",
                product_id,
            )
        waiting = asyncio.create_task(when_final(world.services, rollout_id, 60))
        world.services.stopping.set()
        rollout = await asyncio.wait_for(waiting, 10)
        assert rollout is not None
        assert rollout.state.value == "pending"
        await world.services.pool.execute("delete from products")


async def test_a_build_waits_for_an_engine_that_is_away_and_loses_no_attempt(
    short_folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_engine(short_folder, database, monkeypatch) as (engine, world):
        await engine.stop()
        await world.release("v1.0.0", SCRATCH)
        ready = await world.outside.get(f"{world.url}/readyz")
        assert ready.status_code == 503
        assert ready.json()["parts"]["engine"] != "ok"
        image = await world.image_is("v1.0.0", "pending")
        product = await world.post(
            "/products",
            {"name": "A", "slug": f"a-{world.run}", "port": 29_999, "image_id": image["id"], "when_built": True},
            201,
        )
        unavailable = await world.post(f"/products/{product['id']}/stop", None, 503)
        assert "does not answer" in unavailable["detail"] or "cannot" in unavailable["detail"]
        await world.services.pool.execute("delete from products")
        await engine.start()
        assert (await world.image_is("v1.0.0", "success"))["attempt"] == 1
        assert "built in" in await world.told()
