"""With a registry: a tag becomes a pushed image, and products run it by its digest, wherever they run."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest

from app.doctor import examine
from app.engine.credentials import HEADER, service_auth
from app.engine.image import inspect_image, remove_image, tag_image
from app.errors import EngineRefused
from app.findings import Finding
from tests.registry import PASSWORD, USERNAME, local_registry, push, slow_way
from tests.waiting import until
from tests.world import new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from app.engine.client import Engine
    from tests.registry import LocalRegistry
    from tests.world import World


@pytest.fixture
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalRegistry]:
    async with local_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
async def world(tmp_path: Path, database: str, engine: Engine, registry: LocalRegistry) -> AsyncIterator[World]:
    settings = {
        "REGISTRY": f"{registry.host}/team",
        "REGISTRY_USERNAME": USERNAME,
        "REGISTRY_PASSWORD": PASSWORD,
    }
    async with new_world(tmp_path, database, **settings) as made:
        yield made


async def whole_log(world: World, image: dict[str, Any]) -> str:
    return str((await world.get(f"/images/{image['id']}"))["build_log"])


async def forget(world: World, image: dict[str, Any]) -> None:
    """The engine loses an image, as soon as no container uses it any more."""
    found = await inspect_image(world.services.engine, image["image_ref"])
    assert found is not None
    image_id = found.id

    async def look() -> bool:
        try:
            return await remove_image(world.services.engine, image_id, force=True)
        except EngineRefused:
            return False

    await until(look, f"{image['image_ref']} is removed from the engine", 30)


async def test_a_tag_becomes_a_pushed_image_and_a_product_running_its_digest(
    world: World, registry: LocalRegistry
) -> None:
    allianz = await world.running("allianz")
    image = await world.image_is("v1.0.0", "success")
    name = f"{registry.host}/team/{world.image}"
    async with registry.client() as client:
        assert await client.digest_of(f"team/{world.image}", "v1.0.0") == image["digest"]
    assert image["image_ref"] == f"{name}:v1.0.0"
    assert image["size_bytes"] > 0
    exact = f"{name}@{image['digest']}"
    rollout = (await world.get(f"/products/{allianz['id']}/rollouts"))[0]
    assert rollout["image"] == exact
    service = await world.services.engine.call("look", f"services/tagship-{allianz['slug']}")
    assert service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == exact
    assert await world.page(allianz) == {"version": "v1.0.0", "customer": "allianz"}

    log = await whole_log(world, image)
    assert f"The push refers to repository [{name}]" in log
    assert f"digest: {image['digest']}" in log
    assert PASSWORD not in log

    await world.release("v1.1.0")
    await world.image_is("v1.1.0", "success")
    await world.told_about("built in")
    assert await world.page(allianz) == {"version": "v1.0.0", "customer": "allianz"}
    async with registry.client() as client:
        assert sorted(await client.tags(f"team/{world.image}")) == ["v1.0.0", "v1.1.0"]


async def test_a_refused_push_fails_the_build_with_its_reason_and_the_old_runs_on(
    world: World, registry: LocalRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    allianz = await world.running("allianz", track="*")
    registry.change_password()
    await world.release("v1.1.0")
    image = await world.image_is("v1.1.0", "failed")
    assert "the registry refused to push" in image["build_error"]
    assert "check REGISTRY_USERNAME and REGISTRY_PASSWORD" in image["build_error"]
    assert image["attempt"] == 1, "no retry mends a password"
    assert image["digest"] is None
    log, message = await whole_log(world, image), await world.next_message()
    assert f"ERROR: {image['build_error']}" in log
    assert "v1.1.0" in message.text
    written = caplog.text
    assert "build_failed" in written
    header = service_auth(registry.access(), image["image_ref"] or f"{registry.host}/x")[HEADER]
    for secret in (PASSWORD, header, base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()):
        assert secret not in f"{log}{image}{message}{written}"
    assert len(await world.get(f"/products/{allianz['id']}/rollouts")) == 1
    assert await world.page(allianz) == {"version": "v1.0.0", "customer": "allianz"}


async def test_a_registry_that_is_down_is_tried_again_and_then_fails_the_build(
    world: World, registry: LocalRegistry
) -> None:
    await registry.stop()
    await world.register()
    await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "failed")
    assert image["attempt"] == 3
    assert "the registry cannot be reached to push" in image["build_error"]
    assert image["build_error"].endswith("3 attempts were made")
    assert "v1.0.0" in await world.told()


async def test_a_registry_that_comes_back_meanwhile_gets_the_image(world: World, registry: LocalRegistry) -> None:
    await registry.stop()
    await world.register()
    await world.release("v1.0.0")

    async def second_attempt() -> bool:
        image = await world.find_image("v1.0.0")
        return image is not None and image["attempt"] == 2

    await until(second_attempt, "the build is tried again")
    await registry.start()
    image = await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
    async with registry.client() as client:
        assert await client.digest_of(f"team/{world.image}", "v1.0.0") == image["digest"]


@pytest.mark.parametrize("container_port", [None, 8080])
async def test_an_image_that_the_engine_lost_is_fetched_with_the_credentials(
    world: World, container_port: int | None
) -> None:
    allianz = await world.running("allianz", container_port=container_port)
    image = await world.image_is("v1.0.0", "success")
    await world.post(f"/products/{allianz['id']}/stop?wait=60", None, 202)
    await world.told_about("Allianz")
    await forget(world, image)
    rollout = await world.start(allianz)
    assert rollout["state"] == "done", rollout
    await world.told_about("Allianz")
    assert await world.page(allianz) == {"version": "v1.0.0", "customer": "allianz"}


async def test_an_image_that_nobody_has_any_more_fails_the_rollout_with_what_to_do(
    world: World, registry: LocalRegistry
) -> None:
    await world.register()
    await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "success")
    allianz = await world.product("allianz", image["id"])
    async with registry.client() as client:
        assert await client.delete(f"team/{world.image}", image["digest"])
    await forget(world, image)
    rollout = await world.start(allianz)
    assert rollout["state"] == "failed", rollout
    assert "rebuild the image" in rollout["error"]
    await world.told_about("built in", "Allianz")


async def test_a_base_in_our_registry_is_pulled_for_the_build(world: World, registry: LocalRegistry) -> None:
    engine = world.services.engine
    base = f"{registry.host}/team/base-{world.run}:1"
    await tag_image(engine, "busybox:latest", base)
    digest, _ = await push(engine, registry.access(), base)
    await remove_image(engine, base)
    await remove_image(engine, f"{base.removesuffix(':1')}@{digest}")
    await world.register(build_args={"BASE": base})
    await world.release("v1.0.0", {"Dockerfile": "ARG BASE=busybox\nFROM $BASE\nRUN echo @RUN@\n"})
    image = await world.image_is("v1.0.0", "success")
    log = await whole_log(world, image)
    assert f"pulling the base image {base}" in log
    assert f"Digest: {digest}" in log
    assert "built in" in await world.told()
    await remove_image(engine, base)


async def test_the_doctor_looks_at_the_registry(world: World, registry: LocalRegistry) -> None:
    findings = {finding.part: finding for finding in await examine(world.settings)}
    sentence = f"{registry.host}/team answers, signed in as {USERNAME}"
    assert findings["registry"] == Finding("registry", ok=True, sentence=sentence)
    registry.change_password()
    refused = {finding.part: finding for finding in await examine(world.settings)}["registry"]
    assert not refused.ok
    assert refused.needed
    assert "check REGISTRY_USERNAME and REGISTRY_PASSWORD" in refused.sentence
    await registry.stop()
    silent = {finding.part: finding for finding in await examine(world.settings)}["registry"]
    assert "is it running, is REGISTRY right?" in silent.sentence


async def test_a_build_that_is_cancelled_while_it_is_pushed_ends_at_once(
    tmp_path: Path, database: str, engine: Engine, registry: LocalRegistry
) -> None:
    async with slow_way(registry) as way:
        settings = {"REGISTRY": way.host, "REGISTRY_USERNAME": USERNAME, "REGISTRY_PASSWORD": PASSWORD}
        async with new_world(tmp_path, database, **settings) as world:
            await world.register()
            large = "FROM busybox\nRUN echo @RUN@ && dd if=/dev/urandom of=/large bs=1M count=20 2>/dev/null\n"
            await world.release("v1.0.0", {"Dockerfile": large})
            await asyncio.wait_for(way.uploading.wait(), 60)
            image = await world.find_image("v1.0.0")
            assert image is not None
            await world.post(f"/images/{image['id']}/cancel", None, 202)
            await world.image_is("v1.0.0", "cancelled")
            way.hurry.set()
            await asyncio.wait_for(way.deserted.wait(), 5)
            async with registry.client() as client:
                assert await client.tags(world.image) == []


async def test_a_rollout_waits_for_a_registry_that_is_away(world: World, registry: LocalRegistry) -> None:
    await world.register()
    await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "success")
    allianz = await world.product("allianz", image["id"])
    await forget(world, image)
    await registry.stop()
    rollout = await world.post(f"/products/{allianz['id']}/start", None, 202)

    async def tells_why() -> bool:
        progress = (await world.get(f"/rollouts/{rollout['id']}"))["progress"] or ""
        return "is it running, is REGISTRY right?" in progress

    await until(tells_why, "the rollout says what it waits for")
    await registry.start()
    assert (await world.rollout_of(allianz, "start"))["state"] == "done"
    await world.told_about("built in", "Allianz")
    assert await world.page(allianz) == {"version": "v1.0.0", "customer": "allianz"}
