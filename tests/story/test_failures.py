"""What happens when something does not work: it is said, and what runs goes on running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.world import new_world

if TYPE_CHECKING:
    from pathlib import Path

    from app.engine.client import Engine
    from tests.world import World

CRASHING = {"serve": "#!/bin/sh\necho going down >&2\nexit 9\n"}


async def test_a_broken_dockerfile_fails_the_image_and_leaves_products_alone(world: World) -> None:
    product = await world.running("allianz", track="^1")

    await world.release("v1.1.0", {"Dockerfile": 'FROM busybox\nRUN echo try""ing && false\n'})
    failed = await world.image_is("v1.1.0", "failed")
    assert "false" in failed["build_error"]
    log = (await world.get(f"/images/{failed['id']}"))["build_log"]
    assert "trying" in log
    message = await world.told()
    assert "could not be built" in message
    assert "trying" in message
    assert (await world.page(product))["version"] == "v1.0.0"
    assert len(await world.get(f"/products/{product['id']}/rollouts")) == 1


async def test_a_repository_without_a_dockerfile_says_so(world: World) -> None:
    await world.register(dockerfile="docker/Dockerfile.prod")
    await world.release("v1.0.0")
    failed = await world.image_is("v1.0.0", "failed")
    assert "docker/Dockerfile.prod" in failed["build_error"]
    assert "could not be built" in await world.told()


async def test_an_image_that_crash_loops_is_rolled_back_and_the_old_version_answers(world: World) -> None:
    product = await world.running("allianz", track="^1")

    await world.release("v1.1.0", CRASHING)
    await world.image_is("v1.1.0", "success")
    rollout = await world.rollout_of(product, "pin_moved")
    assert rollout["state"] == "rolled_back", rollout
    assert any(task["exit_code"] == 9 for task in rollout["task_errors"])
    assert any("going down" in task["output"] for task in rollout["task_errors"])
    assert (await world.get(f"/products/{product['id']}"))["status"] == "running"
    assert (await world.page(product))["version"] == "v1.0.0"
    await world.told_together("built in", "0 of 1 product running, 1 failed", "goes on with what it ran", "going down")


async def test_a_first_start_that_crash_loops_fails_and_is_not_restarted_for_ever(world: World) -> None:
    await world.register()
    await world.release("v1.0.0", CRASHING)
    image = await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
    product = await world.product("allianz", image["id"])
    rollout = await world.start(product)
    assert rollout["state"] == "failed", rollout
    assert "3 times" in rollout["error"]
    assert (await world.get(f"/products/{product['id']}"))["status"] == "failed"
    service = await world.services.engine.call("look", f"services/tagship-{product['slug']}")
    assert service["Spec"]["Mode"]["Replicated"]["Replicas"] == 0
    await world.told_about("is not running")


async def test_a_task_that_cannot_be_placed_fails_at_the_deadline_with_the_reason(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    async with new_world(tmp_path, database, TAGSHIP_ROLLOUT_TIMEOUT_S="15") as world:
        await cannot_be_placed(world)


async def cannot_be_placed(world: World) -> None:
    await world.register()
    await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
    product = await world.product("allianz", image["id"], replicas=2)
    rollout = await world.start(product)
    assert rollout["state"] == "failed", rollout
    assert "port already in use" in rollout["error"]
    await world.told_about("is not running")


async def test_a_passing_fault_of_github_is_retried(world: World) -> None:
    await world.register()
    world.github.fail_next(f"/repos/{world.repo}/tarball", 502)
    await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "success")
    assert image["attempt"] == 2
    assert "built in" in await world.told()


async def test_an_archive_that_breaks_off_is_retried_and_never_half_built(world: World) -> None:
    await world.register()
    world.github.cut_next_archive()
    await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "success")
    assert image["attempt"] == 2
    assert "built in" in await world.told()


async def test_an_archive_of_another_commit_fails_the_build(world: World) -> None:
    await world.register()
    other = await world.github.commit(world.repo, {"VERSION": "other"})
    world.github.swap_next_archive(other)
    await world.release("v1.0.0")
    failed = await world.image_is("v1.0.0", "failed")
    assert other in failed["build_error"]
    assert "could not be built" in await world.told()


async def test_a_dead_receiver_delays_no_build(world: World) -> None:
    await world.register()
    world.slack.fail_next(500, times=2)
    await world.release("v1.0.0")
    await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
