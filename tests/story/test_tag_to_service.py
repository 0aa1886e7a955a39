"""The main job: a pushed tag becomes a running service, once for every customer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.world import World


async def test_a_pushed_tag_reaches_every_product_that_tracks_it(world: World) -> None:
    await world.register()
    commit = await world.release("v1.0.0")
    first = await world.image_is("v1.0.0", "success")
    assert first["commit_sha"] == commit
    assert "built in" in await world.told()

    allianz = await world.product("allianz", first["id"], track="^1")
    axa = await world.product("axa", first["id"], track="^1")
    for product in (allianz, axa):
        rollout = await world.start(product)
        assert rollout["state"] == "done", rollout
        assert rollout["image"] == first["digest"]
    await world.told_about("Allianz", "Axa")
    assert await world.page(allianz) == {"version": "v1.0.0", "customer": "allianz"}
    assert await world.page(axa) == {"version": "v1.0.0", "customer": "axa"}

    await world.release("v1.1.0")
    second = await world.image_is("v1.1.0", "success")
    for product in (allianz, axa):
        rollout = await world.rollout_of(product, "pin_moved")
        assert rollout["state"] == "done", rollout
        assert rollout["image"] == second["digest"]
        assert (await world.get(f"/products/{product['id']}"))["image_name"] == f"{world.image}:v1.1.0"
    await world.told_together("v1.1.0* built in", "2 of 2 products running", "*Allianz*", "*Axa*")
    assert await world.page(allianz) == {"version": "v1.1.0", "customer": "allianz"}
    assert await world.page(axa) == {"version": "v1.1.0", "customer": "axa"}


async def test_image_and_service_tell_where_they_come_from(world: World) -> None:
    await world.register()
    commit = await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "success")
    pushed = next(sent for sent in world.github.deliveries if sent.answer["outcome"] == "accepted")
    product = await world.product("allianz", image["id"])
    rollout = await world.start(product)
    await world.told_about("built in", "Allianz")

    made = await world.services.engine.call("look", f"images/{image['digest']}/json")
    labels = made["Config"]["Labels"]
    assert labels["org.opencontainers.image.source"] == f"{world.github.url}/{world.repo}"
    assert labels["org.opencontainers.image.revision"] == commit
    assert labels["org.opencontainers.image.version"] == "v1.0.0"
    assert labels["org.opencontainers.image.created"].endswith("Z")
    assert labels["tagship.build"] == str(pushed.answer["builds"][0])
    assert labels["tagship.delivery"] == pushed.guid

    service = await world.services.engine.call("look", f"services/tagship-{product['slug']}")
    spec = service["Spec"]
    assert spec["Labels"] | {"tagship.rollout": ""} == {
        "tagship.product": product["slug"],
        "tagship.rollout": "",
        "tagship.installation": labels["tagship.installation"],
        "tagship.build": labels["tagship.build"],
        "tagship.delivery": pushed.guid,
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.version": "v1.0.0",
    }
    assert spec["Labels"]["tagship.rollout"] == str(rollout["id"])
    assert spec["TaskTemplate"]["ContainerSpec"]["Image"] == image["digest"]
    assert spec["UpdateConfig"]["Order"] == "stop-first", "a host port is free only when the old task has gone"
