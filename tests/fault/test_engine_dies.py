"""dockerd is killed, or hangs, in the middle of everything that Tagship lets it do: what is then true in the end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import pytest

from app.engine.build import stream_build
from app.engine.client import Engine
from app.engine.shape import Builder, BuildRequest, ImageMade, LogText
from app.errors import EngineUnavailable
from tests.engine.yard import tar_chunks
from tests.fault.gate import gate, noise, slow_way_from
from tests.fault.scene import new_scene
from tests.registry import PASSWORD, USERNAME, local_registry
from tests.waiting import until
from tests.world import new_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fault.gate import Gate
    from tests.fault.private_engine import PrivateEngine
    from tests.fault.scene import Scene
    from tests.world import World

LEASE_S: Final = 10  # long enough that a busy machine does not lose it by itself


async def log_holds(world: World, tag: str, word: str) -> dict[str, Any]:
    """Wait until the log of a build holds a word; the image."""

    async def look() -> dict[str, Any] | None:
        image = await world.find_image(tag)
        found = await world.get(f"/images/{image['id']}") if image else None
        return found if found and word in found["build_log"] else None

    return await until(look, f"the log of {tag} has {word}")


async def killed_and_back(engine: PrivateEngine) -> None:
    await engine.kill()
    await engine.start()


def gated(gate: Gate) -> dict[str, str]:
    return {"Dockerfile": f"FROM busybox\nENV RUN=@RUN@\n{gate.step}"}


async def test_killed_during_a_step_the_build_is_made_once_and_its_log_is_complete(
    tmp_path: Path, database: str, mortal: PrivateEngine
) -> None:
    async with new_world(tmp_path, database, DOCKER_HOST=mortal.host) as world, gate(mortal) as way:
        await world.register()
        await world.release("v1.0.0", gated(way))
        await log_holds(world, "v1.0.0", "begun")
        await killed_and_back(mortal)
        await way.open()
        image = await world.image_is("v1.0.0", "success")
        assert "built in" in await world.told()
        await built_once(world, image)


async def built_once(world: World, image: dict[str, Any]) -> str:
    """One build that needed a second attempt, with the lines of both in order; its log."""
    builds = await world.get(f"/images/{image['id']}/builds")
    assert [(build["state"], build["attempt"]) for build in builds] == [("success", 2)]
    log: str = (await world.get(f"/images/{image['id']}"))["build_log"]
    first, _, second = log.partition("--- attempt 2 of 3 ---")
    assert "ERROR: " in first
    assert "at commit" in first
    assert "at commit" in second
    assert "ERROR: " not in second
    return log


async def test_killed_while_the_source_streams_the_build_is_made_once(
    tmp_path: Path, database: str, mortal: PrivateEngine
) -> None:
    async with new_world(tmp_path, database, DOCKER_HOST=mortal.host) as world:
        await world.register()
        world.github.stall_next_archive(after=20_000)
        await world.release("v1.0.0", {"padding": noise(300_000)})
        image = await log_holds(world, "v1.0.0", "at commit")
        await killed_and_back(mortal)
        image = await world.image_is("v1.0.0", "success")
        assert "built in" in await world.told()
        await built_once(world, image)


async def test_killed_during_a_push_the_registry_has_what_the_one_build_says(
    tmp_path: Path, database: str, mortal: PrivateEngine
) -> None:
    (tmp_path / "registry").mkdir()
    async with local_registry(tmp_path / "registry") as registry, slow_way_from(mortal, registry) as way:
        settings = {"REGISTRY": f"{way.host}/team", "REGISTRY_USERNAME": USERNAME, "REGISTRY_PASSWORD": PASSWORD}
        async with new_world(tmp_path, database, DOCKER_HOST=mortal.host, **settings) as world:
            await world.register()
            await world.release("v1.0.0", {"padding": noise(300_000)})
            await asyncio.wait_for(way.uploading.wait(), 90)
            await killed_and_back(mortal)
            way.hurry.set()
            image = await world.image_is("v1.0.0", "success")
            assert "built in" in await world.told()
            await built_once(world, image)
            client = registry.client("/team")
            try:
                tags = await client.tags_by_digest(f"team/{world.image}")
            finally:
                await client.close()
            assert tags == {image["digest"]: ["v1.0.0"]}


@pytest.mark.parametrize("moment", ["service_applied", "rollout_converging"])
async def test_killed_during_a_rollout_the_product_runs_the_new_version_by_one_rollout(
    tmp_path: Path, database: str, mortal: PrivateEngine, moment: str
) -> None:
    async with new_scene(tmp_path, database, DOCKER_HOST=mortal.host) as scene:
        async with scene.tagship() as first:
            [product] = await scene.prepare(first)
            await first.terminate()
        async with scene.tagship(stop_at=moment) as second:
            scene.listen(second)
            await scene.release("v1.1.0")
            await second.paused()
            await mortal.kill()
            second.thaw()
            await mortal.start()
            await scene.runs(second, product, "v1.1.0")
            rollouts = await second.get(f"/products/{product['id']}/rollouts")
            assert [(rollout["state"], rollout["reason"]) for rollout in rollouts][:-1] == [("done", "pin_moved")]
            image = await scene.image_of(second, "v1.1.0")
            built = await second.get(f"/images/{image['id']}/builds")
            assert [(build["state"], build["attempt"]) for build in built] == [("success", 1)]
            await told_once(scene)


async def told_once(scene: Scene) -> None:
    """One message about the build and its rollout; the scene fails when there is a second."""
    text = (await scene.told()).text
    assert "built in" in text
    assert "1 of 1 product running" in text


async def test_an_engine_that_hangs_during_a_build_keeps_the_lease_and_ends_well(
    tmp_path: Path, database: str, mortal: PrivateEngine
) -> None:
    settings = {"DOCKER_HOST": mortal.host, "TAGSHIP_LEASE_S": str(LEASE_S)}
    async with new_world(tmp_path, database, **settings) as world, gate(mortal) as way:
        await world.register()
        await world.release("v1.0.0", gated(way))
        image = await log_holds(world, "v1.0.0", "begun")
        mortal.freeze()
        try:
            await lease_outlives(world, "builds")
            assert (await world.get(f"/images/{image['id']}"))["build_status"] == "building"
        finally:
            mortal.thaw()
        await way.open()
        image = await world.image_is("v1.0.0", "success")
        assert (image["attempt"], "passed" in (await world.get(f"/images/{image['id']}"))["build_log"]) == (1, True)
        assert "built in" in await world.told()


async def test_an_engine_that_hangs_during_a_rollout_does_not_end_it(
    tmp_path: Path, database: str, mortal: PrivateEngine
) -> None:
    settings = {"DOCKER_HOST": mortal.host, "TAGSHIP_LEASE_S": str(LEASE_S), "TAGSHIP_ROLLOUT_MONITOR_S": "5"}
    async with new_world(tmp_path, database, **settings) as world:
        await world.register()
        await world.release("v1.0.0")
        product = await world.product("allianz", (await world.image_is("v1.0.0", "success"))["id"])
        assert "built in" in await world.told()
        rollout = await world.post(f"/products/{product['id']}/start", None, 202)
        await until(lambda: state_of(world, rollout["id"], "converging"), "it converges")
        mortal.freeze()
        try:
            await lease_outlives(world, "rollouts")
        finally:
            mortal.thaw()
        assert (await world.rollout_of(product, "start"))["state"] == "done"
        assert "Allianz" in await world.told()


async def state_of(world: World, rollout_id: int, wanted: str) -> bool:
    return bool((await world.get(f"/rollouts/{rollout_id}"))["state"] == wanted)


async def lease_outlives(world: World, table: str) -> None:
    """Wait until a lease holds that would have run out long ago if nobody had renewed it."""
    query = f"select max(lease_until) > $1::timestamptz + make_interval(secs => {LEASE_S + 1}) from {table}"
    before = await world.services.pool.fetchval(f"select max(lease_until) from {table}")

    async def renewed() -> bool:
        return bool(await world.services.pool.fetchval(query, before))

    await until(renewed, "the lease was renewed again and again")


@pytest.mark.parametrize("builder", list(Builder))
async def test_a_build_whose_engine_was_killed_is_no_success_with_either_builder(
    mortal: PrivateEngine, builder: Builder
) -> None:
    async with Engine.open(mortal.host) as engine, gate(mortal) as way:
        request = BuildRequest(builder, "Dockerfile", (f"killed:{builder}",), f"killed-{mortal.word}-{builder}")
        context = tar_chunks({"Dockerfile": f"FROM busybox\nENV RUN={way.port}\n{way.step}"})
        made: list[str] = []

        async def build() -> None:
            async with aclosing(stream_build(engine, request, context)) as events:
                async for event in events:
                    match event:
                        case LogText(text) if "begun" in text:
                            await mortal.kill()
                        case ImageMade(image_id):
                            made.append(image_id)

        with pytest.raises(EngineUnavailable):
            await build()
        await mortal.start()
        assert made == []
