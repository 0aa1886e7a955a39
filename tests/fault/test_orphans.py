"""What a crash left on the engine is found and removed, and nothing of anybody else who shares the engine."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiodocker
import pytest

from app.engine.image import inspect_image, list_images, tag_image
from app.engine.service import read_service
from app.retention.upkeep import Upkeep
from tests.fault.gate import gate, noise, slow_way_from
from tests.fault.scene import new_scene
from tests.postgres import fresh_database
from tests.registry import PASSWORD, USERNAME, local_registry
from tests.waiting import until
from tests.world import new_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.engine.client import Engine
    from app.engine.shape import ImageInfo
    from app.retention.orphans import Orphans
    from tests.fault.private_engine import PrivateEngine
    from tests.fault.process import Tagship
    from tests.world import World

REFUSED = {"REGISTRY_USERNAME": USERNAME, "REGISTRY_PASSWORD": "a-wrong-password"}


async def sweep(world: World) -> Orphans:
    services = world.services
    return await Upkeep.of(services.settings, services.pool, services.engine, services.registry).sweep()


async def ours(world: World) -> list[ImageInfo]:
    """The images of this world's repository, with a name or without."""
    found = await list_images(world.services.engine)
    return [image for image in found if world.image in image.labels.get("tagship.image", "")]


async def built_from(engine: str, base: str, *names: str) -> str:
    """What somebody builds by hand from an image, whose labels it inherits; its ID."""
    async with aiodocker.Docker(engine) as docker:
        container = await docker.containers.create({"Image": base, "Cmd": ["true"]})
        repository, _, tag = names[0].partition(":") if names else ("", "", "")
        made: dict[str, Any] = await container.commit(repository=repository or None, tag=tag or None)
        await container.delete(force=True)
    return str(made["Id"])


async def test_what_a_refused_push_leaves_goes_at_the_next_start_and_what_others_made_of_it_stays(
    tmp_path: Path, database: str, server: str, template: str, mortal: PrivateEngine
) -> None:
    (tmp_path / "registry").mkdir()
    async with local_registry(tmp_path / "registry") as registry, slow_way_from(mortal, registry) as way:
        way.hurry.set()
        settings = {"DOCKER_HOST": mortal.host, "REGISTRY": f"{way.host}/team"} | REFUSED
        async with new_world(tmp_path / "a", database, **settings) as world:
            await world.register()
            for tag in ("v1.0.0", "v2.0.0"):
                await world.release(tag)
                await world.image_is(tag, "failed")
                assert "could not be built" in await world.told()
            engine = world.services.engine
            left, named = sorted(await ours(world), key=lambda image: image.tags)
            derived = await built_from(mortal.host, named.id, f"by-hand-{world.run}:1")
            await tag_image(engine, named.id, f"kept-{world.run}:1")
            async with (
                fresh_database(server, template) as other_database,
                new_world(tmp_path / "b", other_database, **settings) as other,
            ):
                # It has had builds of these ids too: only the label tells whose the images are.
                await other.services.pool.fetchval("select setval(pg_get_serial_sequence('builds', 'id'), 100)")
                swept = await sweep(other)
                assert (swept.images, swept.services) == ((), ())
            assert await inspect_image(engine, left.id)
            async with new_world(tmp_path / "c", database, **settings):

                async def gone() -> bool:
                    return await inspect_image(engine, left.id) is None

                await until(gone, "the next start has removed it")
            assert await inspect_image(engine, named.id)
            assert await inspect_image(engine, derived)


async def test_what_an_attempt_made_that_was_cut_off_goes_and_the_image_on_record_stays(
    tmp_path: Path, database: str, mortal: PrivateEngine
) -> None:
    """The first attempt's image is on the engine when dockerd dies during its push; the second one's is on record."""
    (tmp_path / "registry").mkdir()
    async with local_registry(tmp_path / "registry") as registry, slow_way_from(mortal, registry) as way:
        settings = {"REGISTRY": f"{way.host}/team", "REGISTRY_USERNAME": USERNAME, "REGISTRY_PASSWORD": PASSWORD}
        async with new_world(tmp_path, database, DOCKER_HOST=mortal.host, **settings) as world:
            await world.register()
            await world.release("v1.0.0", {"padding": noise(300_000)})
            await way.uploading.wait()
            await mortal.kill()
            await mortal.start()
            [first] = await ours(world)
            assert (await sweep(world)).images == ()
            way.hurry.set()
            image = await world.image_is("v1.0.0", "success")
            assert "built in" in await world.told()
            derived = await built_from(mortal.host, image["image_ref"])
            swept = await sweep(world)
            assert [orphan.image.id for orphan in swept.images] == [first.id]
            assert await inspect_image(world.services.engine, first.id) is None
            assert await inspect_image(world.services.engine, image["image_ref"])
            assert await inspect_image(world.services.engine, derived)


async def test_a_service_that_came_back_after_its_product_was_deleted_goes_and_one_nobody_deleted_stays(
    tmp_path: Path, database: str, mortal: PrivateEngine
) -> None:
    async with new_world(tmp_path, database, DOCKER_HOST=mortal.host) as world:
        product = await world.running("allianz")
        engine, name = world.services.engine, f"tagship-{product['slug']}"
        spec = (await engine.call("look", f"services/{name}"))["Spec"]
        assert spec["Labels"]["tagship.installation"]
        assert "tagship.installation" not in spec["TaskTemplate"]["ContainerSpec"]["Labels"]
        answer = await world.api.delete(f"/products/{product['id']}?wait=90")
        assert answer.status_code == 204, answer.text
        # As a worker does that hung with the spec in its hands while its product was deleted.
        await engine.call("create", "services/create", "POST", body=spec)
        restored = json.loads(json.dumps(spec).replace(product["slug"], f"other-{world.run}"))
        restored["EndpointSpec"]["Ports"] = []
        await engine.call("create", "services/create", "POST", body=restored)
        try:

            async def swept() -> bool:
                await sweep(world)
                return await read_service(engine, name) is None

            await until(swept, "the service was removed")
            assert await read_service(engine, f"tagship-other-{world.run}")
        finally:
            await engine.call("remove", f"services/tagship-other-{world.run}", "DELETE")


async def test_what_a_classic_build_left_on_a_dead_engine_goes_at_the_next_start_and_what_others_left_stays(
    tmp_path: Path, database: str, mortal: PrivateEngine
) -> None:
    async with new_scene(tmp_path, database, DOCKER_HOST=mortal.host) as scene, gate(mortal) as way:

        async def left(state: str = "") -> list[str]:
            found = await scene.engine.call("look", "containers/json?all=1")
            return [entry["Id"] for entry in found if f":{way.port}/" in entry["Command"] and state in entry["State"]]

        async with scene.tagship() as tagship:
            scene.listen(tagship)
            await tagship.post("/repositories", {"repo": scene.repo})
            await scene.release("v1.0.0", classic_files(way.step))
            image = await scene.image_of(tagship, "v1.0.0")

            async def running() -> bool:
                """As the engine says: then it has it on disk, and knows of it when it is started again."""
                return bool(await left("running"))

            await until(running, "the step runs")
            await mortal.kill()
            await tagship.becomes(f"/images/{image['id']}", "build_status", "pending")
            await tagship.post(f"/images/{image['id']}/cancel")
            await tagship.becomes(f"/images/{image['id']}", "build_status", "cancelled")
        await mortal.start()
        [ours] = await left()
        shown = await scene.engine.call("look", f"containers/{ours}/json")
        [mark] = shown["HostConfig"]["ExtraHosts"]
        [installation] = await scene.rows("select id::text from installation")
        body = {"Image": shown["Image"], "Cmd": ["true", f":{way.port}/"]}
        others = {
            await created(scene.engine, body | {"HostConfig": {"ExtraHosts": hosts}})
            for hosts in ([mark.replace(installation["id"], str(UUID(int=1)))], ["db:127.0.0.1"], [])
        }
        try:
            async with scene.tagship():

                async def said() -> list[dict[str, Any]] | None:
                    return scene.events("orphan_step_removed") or None

                [removed] = await until(said, "the next start has removed ours")
            assert removed["container_id"] == ours
            assert set(await left()) == others
            assert shells(way.port) == []
        finally:
            for other in others:
                await scene.engine.call("remove", f"containers/{other}?force=1", "DELETE")


async def created(engine: Engine, body: dict[str, Any]) -> str:
    """A container that somebody else has made; its ID."""
    return str((await engine.call("create", "containers/create", "POST", body=body))["Id"])


def buildkit_files(step: str) -> dict[str, str]:
    """A source whose only own step is this one."""
    return {"Dockerfile": f"FROM busybox\nENV RUN=@RUN@\n{step}"}


def classic_files(step: str) -> dict[str, str]:
    """The same for the classic builder: an ignore file that hides the Dockerfile needs it."""
    return buildkit_files(step) | {".dockerignore": "Dockerfile\n"}


@pytest.mark.parametrize(
    ("builder", "files"),
    [("buildkit", buildkit_files), ("classic", classic_files)],
    ids=["buildkit", "classic"],
)
async def test_what_a_hung_worker_still_builds_is_stopped_before_the_next_attempt_begins(
    tmp_path: Path, database: str, mortal: PrivateEngine, builder: str, files: Callable[[str], dict[str, str]]
) -> None:
    async with (
        new_scene(tmp_path, database, DOCKER_HOST=mortal.host) as scene,
        gate(mortal) as way,
        scene.tagship() as hung,
    ):
        scene.listen(hung)
        await hung.post("/repositories", {"repo": scene.repo})
        await scene.release("v1.0.0", files(way.step))
        image = await scene.image_of(hung, "v1.0.0")

        async def begun(tagship: Tagship, times: int) -> bool:
            shown = await tagship.get(f"/images/{image['id']}")
            return str(shown["build_log"]).count("begun") == times

        async def only_another() -> bool:
            assert hung.state() == "T", "the first worker still holds its build"
            found = shells(way.port)
            return len(found) == 1 and found != [first]

        await until(lambda: begun(hung, 1), "the first attempt runs")
        [first] = shells(way.port)
        # Else the sweep at the second's start may have stopped it before.
        assert await scene.rows(
            "update chores set lease_token = gen_random_uuid(), lease_until = now() + interval '1 hour'"
            " where name = 'orphans' returning id"
        )
        hung.freeze()
        async with scene.tagship() as second:
            await until(lambda: begun(second, 2), "the second attempt runs")
            await until(only_another, "only the second attempt's step is left", 30)
            await way.open()
            await second.becomes(f"/images/{image['id']}", "build_status", "success")
            assert "built in" in (await scene.told()).text
            assert {event["builder"] for event in scene.events("engine_building")} == {builder}


def shells(port: int) -> list[int]:
    """The processes that wait at the gate for a step of a build: its shell, not what that runs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f":{port}/;" in (folder / "cmdline").read_text() and (folder / "comm").read_text() == "sh\n":
                found.append(int(folder.name))
    return found
