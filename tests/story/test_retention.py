"""Retention on a real engine and registry: what is needed stays, the rest goes, and what is not ours is not touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.engine.image import inspect_image
from tests.registry import PASSWORD, USERNAME, local_registry
from tests.waiting import until
from tests.world import new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine
    from tests.registry import LocalRegistry
    from tests.world import World

STRICT = {"TAGSHIP_RETENTION_KEEP": "1", "TAGSHIP_RETENTION_DAYS": "0"}


@pytest.fixture
async def strict_world(tmp_path: Path, database: str, engine: Engine) -> AsyncIterator[World]:
    async with new_world(tmp_path, database, **STRICT) as made:
        yield made


@pytest.fixture
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalRegistry]:
    async with local_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
async def registry_world(
    tmp_path: Path, database: str, engine: Engine, registry: LocalRegistry
) -> AsyncIterator[World]:
    settings = {
        "REGISTRY": f"{registry.host}/team",
        "REGISTRY_USERNAME": USERNAME,
        "REGISTRY_PASSWORD": PASSWORD,
        "TAGSHIP_RETENTION_INTERVAL_H": "24",
    }
    async with new_world(tmp_path, database, **STRICT, **settings) as made:
        yield made


async def built(world: World, tag: str) -> dict[str, Any]:
    await world.release(tag)
    image = await world.image_is(tag, "success")
    assert "built in" in await world.told()
    return image


def images(verdicts: list[dict[str, Any]]) -> list[str]:
    return [verdict["image"].rpartition(":")[2] for verdict in verdicts]


async def test_what_runs_or_could_be_rolled_back_to_stays_and_the_rest_goes(strict_world: World) -> None:
    world, engine = strict_world, strict_world.services.engine
    await world.register()
    made = [await built(world, f"v1.{minor}.0") for minor in range(3)]
    product = await world.product("allianz", made[0]["id"])
    for image in (made[1], made[2]):
        await world.api.patch(f"/products/{product['id']}", json={"image_id": image["id"]})
        rollout = await world.start(product)
        assert rollout["state"] == "done", rollout
        assert "Allianz" in await world.told()
    made += [await built(world, f"v2.{minor}.0") for minor in range(2)]

    would = await world.post("/retention?dry_run=true", None, 200)
    assert (images(would["removed"]), images(would["kept"])) == (
        ["v1.0.0", "v2.0.0"],
        ["v1.1.0", "v1.2.0", "v2.1.0"],
    )
    assert "rolled back" in would["kept"][0]["reason"]
    assert "runs it" in would["kept"][1]["reason"]
    assert "newest 1" in would["kept"][2]["reason"]
    for image in made:
        assert await inspect_image(engine, image["digest"]) is not None, "a dry run changes nothing"

    done = await world.post("/retention", None, 200)
    assert done["removed"] == would["removed"]
    assert done["freed_bytes"] == sum(one["size_bytes"] for one in done["removed"]) > 0
    there = [image["tag"] for image in made if await inspect_image(engine, image["digest"])]
    assert there == ["v1.1.0", "v1.2.0", "v2.1.0"]
    assert (await world.page(product))["version"] == "v1.2.0"
    assert (await world.post("/retention", None, 200))["removed"] == []

    image = await world.get(f"/images/{made[0]['id']}?log=false")
    assert (image["build_status"], image["digest"]) == ("success", None)
    assert image["removed_at"] is not None
    await world.post(f"/images/{image['id']}/rebuild", None, 202)
    rebuilt = await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
    assert (await world.get(f"/images/{image['id']}?log=false"))["removed_at"] is None
    assert await inspect_image(engine, rebuilt["digest"]) is not None
    [entry, _] = await world.get("/audit?action=run_retention")
    assert entry["subject"] == "retention"


async def test_the_timer_removes_what_a_registry_has_too(registry_world: World, registry: LocalRegistry) -> None:
    world, engine = registry_world, registry_world.services.engine
    await world.register()
    old, new = await built(world, "v1.0.0"), await built(world, "v1.1.0")
    repository = f"team/{world.image}"
    async with registry.client() as client:
        assert sorted(await client.tags(repository)) == ["v1.0.0", "v1.1.0"]
        async with world.services.pool.acquire() as conn:
            await conn.execute("update chores set run_after = now() where name = 'retention'")

        async def gone() -> bool:
            return await client.digest_of(repository, "v1.0.0") is None

        await until(gone, "the older manifest is gone", 30)
        assert await client.digest_of(repository, "v1.1.0") == new["digest"]

    async def removed() -> bool:
        return await inspect_image(engine, old["image_ref"]) is None

    await until(removed, "the engine is rid of it", 10)
    assert await inspect_image(engine, new["image_ref"]) is not None
    assert await world.get("/audit?action=run_retention") == []


async def test_a_deleted_image_leaves_the_registry_unless_somebody_tagged_it(
    registry_world: World, registry: LocalRegistry
) -> None:
    world = registry_world
    await world.register()
    plain, tagged = await built(world, "v1.0.0"), await built(world, "v1.1.0")
    repository = f"team/{world.image}"
    await tag_in(registry, repository, "v1.1.0", "theirs")
    for image in (plain, tagged):
        answer = await world.api.delete(f"/images/{image['id']}")
        assert answer.status_code == 204, answer.text
        assert await inspect_image(world.services.engine, image["image_ref"]) is None
    async with registry.client() as client:
        assert await client.digest_of(repository, plain["digest"]) is None
        assert await client.digest_of(repository, "theirs") == tagged["digest"]
    assert await world.get(f"/images?name={world.image}") == []


async def tag_in(registry: LocalRegistry, repository: str, tag: str, other: str) -> None:
    """Give a manifest another tag, as people do."""
    base = f"http://{registry.host}/v2/{repository}/manifests/"
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    async with httpx.AsyncClient(auth=(USERNAME, PASSWORD), trust_env=False) as http:
        manifest = await http.get(base + tag, headers={"Accept": kind})
        answer = await http.put(base + other, content=manifest.content, headers={"Content-Type": kind})
        assert answer.status_code == 201, answer.text


async def test_a_deletion_waits_for_a_registry_that_is_away(registry_world: World, registry: LocalRegistry) -> None:
    world = registry_world
    await world.register()
    image = await built(world, "v1.0.0")
    await registry.stop()
    answer = await world.api.delete(f"/images/{image['id']}")
    assert answer.status_code == 202, answer.text
    assert registry.host in answer.json()["detail"]
    await world.get(f"/images/{image['id']}", 404)
    await registry.start()
    async with world.services.pool.acquire() as conn:
        await conn.execute("update chores set run_after = now() where name = 'purge'")

    async def gone() -> bool:
        async with world.services.pool.acquire() as conn:
            return bool(await conn.fetchval("select count(*) = 0 from builds"))

    await until(gone, "the image is deleted", 30)
    async with registry.client() as client:
        assert await client.digest_of(f"team/{world.image}", "v1.0.0") is None
