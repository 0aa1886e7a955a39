"""Images by hand: triggered, cancelled at once, deleted with everything that they made."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from app.engine.image import inspect_image, list_images, remove_image, tag_image
from app.errors import EngineRefused
from tests.engine.yard import processes_with
from tests.ports import free_port
from tests.waiting import until

if TYPE_CHECKING:
    from app.engine.client import Engine
    from tests.world import World

SMALL = {"Dockerfile": 'FROM busybox\nENV RUN=@RUN@\nRUN true\nCMD ["sleep", "600"]\n'}


def sleeping(word: str, *, hidden: bool) -> dict[str, str]:
    """A build that sleeps; a hidden Dockerfile is built by the classic builder."""
    files = {"Dockerfile": f"FROM busybox\nENV RUN=@RUN@\nRUN sleep {word}\n"}
    return files | ({".dockerignore": "Dockerfile\n"} if hidden else {})


@pytest.mark.parametrize("builder", ["buildkit", "classic"])
async def test_a_cancelled_build_is_gone_from_the_engine_at_once_and_says_cancelled(world: World, builder: str) -> None:
    word = str(10**8 + int(world.run, 16))
    await world.register()
    await world.release("v1.0.0", sleeping(word, hidden=builder == "classic"))
    image = await world.image_is("v1.0.0", "building")

    async def sleeps() -> bool:
        return bool(processes_with(word))

    await until(sleeps, "the build's process sleeps")

    async def is_gone() -> bool:
        return not processes_with(word)

    asked = time.monotonic()
    await world.post(f"/images/{image['id']}/cancel", None, 202)
    await until(is_gone, "the build's process is gone")  # by itself it would sleep for years
    gone = time.monotonic() - asked
    await world.image_is("v1.0.0", "cancelled")
    print(f"{builder}: gone after {gone:.2f} s, cancelled after {time.monotonic() - asked:.2f} s")
    log = (await world.get(f"/images/{image['id']}"))["build_log"]
    assert ("Step 1/" in log) == (builder == "classic")
    await forget_layers(world, log)


async def forget_layers(world: World, log: str) -> None:
    """Remove the layers of a classic build without an end, which nobody else removes."""
    engine = world.services.engine
    for layer in re.findall(r"---> ([0-9a-f]{12})\n", log):
        found = await inspect_image(engine, layer)
        if found is None or found.tags:
            continue

        async def removed(layer: str = layer) -> bool:
            try:
                return await remove_image(engine, layer)
            except EngineRefused:  # the engine is still removing the container of the step
                return False

        await until(removed, f"the layer {layer} is removed", 30)


async def test_a_commit_that_is_named_by_hand_is_built_if_github_has_it(world: World) -> None:
    first = await world.release("v1.0.0", SMALL)
    await world.release("v1.1.0", SMALL)
    unknown = await world.post("/images", {"repo": world.repo, "tag": "v1.1.0", "commit_sha": "b" * 40}, 404)
    assert unknown["errors"][0]["loc"] == ["commit_sha"]
    assert await world.get(f"/images?name={world.image}") == []
    await world.post("/images", {"repo": world.repo, "tag": "v1.1.0", "commit_sha": first}, 201)
    built = await world.image_is("v1.1.0", "success")
    assert built["commit_sha"] == first
    assert "built in" in await world.told()


async def delete(world: World, image: dict[str, Any], status: int) -> dict[str, Any]:
    answer = await world.api.delete(f"/images/{image['id']}")
    assert answer.status_code == status, answer.text
    shown: dict[str, Any] = answer.json() if answer.content else {}
    return shown


async def names_on(engine: Engine, word: str) -> set[str]:
    return {name for image in await list_images(engine) for name in image.tags if word in name}


async def ids_of(world: World) -> set[str]:
    """The engine's images that came of the story's repository, whatever their names."""
    source = "org.opencontainers.image.source"
    return {one.id for one in await list_images(world.services.engine) if world.repo in one.labels.get(source, "")}


async def test_a_deleted_image_leaves_nothing_of_any_of_its_builds(world: World) -> None:
    engine = world.services.engine
    await world.register()
    await world.release("v1.0.0", SMALL)
    image = await world.image_is("v1.0.0", "success")
    await world.post(f"/images/{image['id']}/rebuild", None, 202)
    again = await world.image_is("v1.0.0", "success")
    await world.told_about("built in", "built in")
    assert again["digest"] != image["digest"]
    local = {one["id"]: one for one in await world.get("/local-images")}
    assert local[again["digest"]]["image_id"] == local[image["digest"]]["image_id"] == image["id"]
    busybox = next(one for one in local.values() if "busybox:latest" in one["tags"])
    assert (busybox["ours"], busybox["image_id"]) == (False, None)

    product = await world.product("axa", image["id"])
    refused = await delete(world, image, 409)
    assert [one["id"] for one in refused["products"]] == [product["id"]]
    assert refused["products"][0]["slug"] == product["slug"]
    await world.api.patch(f"/products/{product['id']}", json={"image_id": None})

    shell = await engine.call(
        "run", "containers/create", "POST", params={"name": f"shell-{world.run}"}, body={"Image": again["digest"]}
    )
    assert f"shell-{world.run}" in (await delete(world, image, 409))["detail"]
    await engine.call("remove", f"containers/{shell['Id']}", "DELETE")

    await tag_image(engine, image["digest"], f"theirs-{world.run}:v1")
    await delete(world, image, 204)
    assert await ids_of(world) == {image["digest"]}, "somebody gave this one a name of their own"
    assert await names_on(engine, world.run) == {f"theirs-{world.run}:v1"}
    for path in ("", "/builds", "/log"):
        await world.get(f"/images/{image['id']}{path}", 404)
    assert await inspect_image(engine, again["image_ref"]) is None
    await delete(world, image, 404)
    entries = await world.get(f"/audit?subject=image&subject_id={image['id']}")
    assert [entry["action"] for entry in entries] == ["delete_image", "rebuild_image"]


async def test_a_deletion_that_was_cut_off_is_finished_by_the_timer(world: World) -> None:
    await world.register()
    await world.release("v1.0.0", SMALL)
    image = await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
    async with world.services.pool.acquire() as conn, conn.transaction():
        await conn.execute("update docker_images set deleting_at = now(), live_build_id = null")
        await conn.execute("update builds set removed_at = now()")
        await conn.execute("update chores set run_after = now() where name = 'purge'")
    await world.get(f"/images/{image['id']}", 404)
    body = {"name": "A", "slug": f"a-{world.run}", "port": free_port(), "image_id": image["id"]}
    assert "there is no image" in (await world.post("/products", body, 404))["detail"]

    async def gone() -> bool:
        async with world.services.pool.acquire() as conn:
            return bool(await conn.fetchval("select count(*) = 0 from docker_images"))

    await until(gone, "the row is gone", 20)
    assert await ids_of(world) == set()


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/images?colour=red", "colour"),
        ("GET", "/images?repo=%00", "repo"),
        ("GET", "/images?tag=%0A", "tag"),
        ("GET", "/images?status=fine", "status"),
        ("GET", "/images?before=0", "before"),
        ("POST", "/retention?dry_run=perhaps", "dry_run"),
        ("POST", "/retention?keep=1", "keep"),
    ],
)
async def test_a_wrong_parameter_is_named(quiet_world: World, method: str, path: str, field: str) -> None:
    answer = await quiet_world.api.request(method, path)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"] == ["query", field]


async def test_there_is_nothing_to_delete_where_no_image_is(quiet_world: World) -> None:
    for image_id in ("0", "7", "x", "99999999999999999999"):
        assert (await quiet_world.api.delete(f"/images/{image_id}")).status_code == 404
