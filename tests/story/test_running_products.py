"""What people do with products that run: look inside, go back, delete."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.engine.image import remove_image
from tests.ports import free_port
from tests.waiting import until
from tests.world import FILES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.world import World


async def changed(world: World, product: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Change a running product and see it rolled out."""
    answer = await world.api.patch(f"/products/{product['id']}", json=fields)
    assert answer.status_code == 200, answer.text
    rollout = await world.rollout_of(product, "changed")
    assert rollout["state"] == "done", rollout
    await world.told_about(product["name"])
    shown: dict[str, Any] = answer.json()
    return shown


async def rolled_back(world: World, product: dict[str, Any], body: object = None) -> dict[str, Any]:
    rollout = await world.post(f"/products/{product['id']}/rollback?wait=60", body, 202)
    assert (rollout["reason"], rollout["state"]) == ("rollback", "done"), rollout
    await world.told_about(product["name"])
    shown: dict[str, Any] = await world.get(f"/products/{product['id']}")
    return shown


async def test_a_product_goes_back_with_everything_it_had(world: World) -> None:
    product = await world.running("allianz", track="^1")
    commit = await world.release("v1.1.0")
    second = await world.image_is("v1.1.0", "success")
    assert (await world.rollout_of(product, "pin_moved"))["state"] == "done"
    await world.told_together("v1.1.0* built in", "1 of 1 product running", "Allianz")
    other_port = free_port()
    moved = await changed(world, product, port=other_port, env_vars={"CUSTOMER": "changed"})
    [latest, *_] = rollouts = await world.get(f"/products/{product['id']}/rollouts")
    assert latest["container_port"] == 8080
    [task, *dead] = await world.get(f"/products/{product['id']}/tasks")
    assert (task["image"], task["image_name"]) == (second["digest"], f"{world.image}:v1.1.0")
    assert (task["commit_sha"], task["state"], task["current"], task["slot"]) == (commit, "running", True, 1)
    assert task["node"]
    assert {one["state"] for one in dead} <= {"shutdown", "complete", "failed"}

    back = await rolled_back(world, product)
    assert (back["port"], back["image_name"], back["track"]) == (product["port"], f"{world.image}:v1.1.0", "^1")
    assert await world.page(product) == {"version": "v1.1.0", "customer": "allianz"}
    further = await rolled_back(world, product, {})
    assert further["image_name"] == further["live"]["image_name"] == f"{world.image}:v1.0.0"
    assert await world.page(product) == {"version": "v1.0.0", "customer": "allianz"}
    await world.post(f"/products/{product['id']}/rollback", None, 409)
    await rolled_back(world, product, {"to": latest["id"]})
    assert await world.page(moved) == {"version": "v1.1.0", "customer": "changed"}

    axa = await world.product("axa", second["id"], port=product["port"])
    refused = await world.post(f"/products/{product['id']}/rollback", {"to": rollouts[1]["id"]}, 409)
    assert refused["detail"] == f"port: {product['port']} is taken by product {axa['slug']}"
    first = rollouts[-1]
    await remove_image(world.services.engine, first["image"], force=True)
    refused = await world.post(f"/products/{product['id']}/rollback", {"to": first["id"]}, 409)
    assert "has no image" in refused["detail"]
    unknown = await world.post(f"/products/{axa['id']}/rollback", {"to": first["id"]}, 404)
    assert unknown["errors"][0]["loc"] == ["to"]
    assert await world.page(moved) == {"version": "v1.1.0", "customer": "changed"}


async def test_a_product_that_went_back_to_an_older_build_stays_there(world: World) -> None:
    product = await world.running("allianz")
    await world.github.commit(world.repo, FILES | {"VERSION": "moved"}, "move the tag")
    await world.github.tag(world.repo, "v1.0.0", force=True)
    assert (await world.rollout_of(product, "image_built"))["state"] == "done"
    await world.told_together("built in", "1 of 1 product running", "Allianz")
    assert (await world.page(product))["version"] == "moved"
    back = await rolled_back(world, product)
    assert back["held_build_id"] == back["live"]["build_id"]
    await changed(world, product, env_vars={"CUSTOMER": "axa"})
    assert await world.page(product) == {"version": "v1.0.0", "customer": "axa"}
    await changed(world, product, image_id=product["image_id"])
    assert (await world.page(product))["version"] == "moved"
    await world.services.pool.execute("update builds set removed_at = now() where id = $1", back["held_build_id"])
    refused = await world.post(f"/products/{product['id']}/rollback", None, 409)
    assert f"that build of {world.image}:v1.0.0 was removed" in refused["detail"]
    assert (await world.get(f"/products/{product['id']}"))["held_build_id"] is None


class Events:
    """A stream of events, collected in the background."""

    def __init__(self, world: World, path: str, headers: dict[str, str] | None = None) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self._read = asyncio.create_task(self._collect(world, path, headers or {}))

    async def _collect(self, world: World, path: str, headers: dict[str, str]) -> None:
        fields: dict[str, str] = {}
        async with world.api.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "event" in fields:
                    self.seen.append((fields.get("id", ""), fields["event"], fields.get("data", "")))
                    fields = {}

    async def ended(self) -> tuple[str, str, str]:
        """Wait until the stream ends by itself; its last event."""
        async with asyncio.timeout(30):
            await self._read
        return self.seen[-1]

    async def leave(self) -> None:
        self._read.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._read


SPEAKING = {
    "serve": """#!/bin/sh
trap 'echo bye; exit 0' TERM INT
echo "hello from $CUSTOMER"
while sleep 0.2; do echo tick >&2; done
"""
}


async def test_a_product_is_listened_to_and_deleted(world: World) -> None:
    await world.register()
    await world.release("v1.0.0", SPEAKING)
    image = await world.image_is("v1.0.0", "success")
    product = await world.product("allianz", image["id"])
    path = f"/products/{product['id']}"
    assert await world.get(f"{path}/tasks") == []
    assert (await world.api.get(f"{path}/logs")).text == ""
    assert (await world.start(product))["state"] == "done"
    await world.told_about("built in", "Allianz")
    assert (await world.api.get(f"{path}/logs?tail=1000")).text.startswith("hello from allianz\ntick\n")
    assert (await world.api.get(f"{path}/logs?tail=3")).text == "tick\n" * 3

    listening = Events(world, f"{path}/logs?follow=true&tail=5")
    await until(heard(listening, 10), "the log is followed")
    at, slot, task, stream = listening.seen[-1][0].split(" ")
    assert (slot, stream) == ("1", "stderr")
    assert [one["id"] for one in await world.get(f"{path}/tasks")] == [task]
    resumed = Events(world, f"{path}/logs?follow=true", {"Last-Event-ID": listening.seen[5][0]})
    await until(heard(resumed, 5), "the log is resumed")
    known = listening.seen[6:9]
    assert resumed.seen[: len(known)] == known
    assert at
    world.services.stopping.set()
    assert {(await listening.ended())[1], (await resumed.ended())[1]} == {"log"}, "a process that stops says no end"
    world.services.stopping.clear()

    streams = engine_streams(world)
    leaving = Events(world, f"{path}/logs?follow=true")

    async def engine_is_left() -> bool:
        return engine_streams(world) == streams

    await until(heard(leaving), "the log is followed")
    assert engine_streams(world) > streams
    await leaving.leave()
    await until(engine_is_left, "the engine's stream is cut", 3)

    listening = Events(world, f"{path}/logs?follow=true&tail=5")
    await until(heard(listening), "the log is followed")
    assert (await world.api.delete(path)).status_code == 204
    assert (await listening.ended())[1:] == ("end", "removed")
    assert ("log", "bye") in {event[1:] for event in listening.seen}
    await world.get(path, 404)
    containers = await world.services.engine.call("look", "containers/json", params={"filters": labelled(product)})
    assert containers == []
    with pytest.raises(httpx.ConnectError):
        await world.page(product)
    again_made = await world.product("allianz", image["id"], port=product["port"])
    assert again_made["slug"] == product["slug"]
    await follows_from_the_start(world, again_made)


async def follows_from_the_start(world: World, product: dict[str, Any]) -> None:
    """A product that nobody has started yet is followed at once: without a service, then with one scaled to nothing."""
    path = f"/products/{product['id']}"
    assert [one["state"] for one in await world.get(f"{path}/rollouts")] == []
    for _ in range(2):
        await world.post(f"{path}/start", None, 202)
        listening = Events(world, f"{path}/logs?follow=true")
        assert (await world.rollout_of(product, "start"))["state"] == "done"
        await until(heard(listening, 1), "a product that starts is followed")
        await world.post(f"{path}/stop?wait=60", None, 202)
        assert (await listening.ended())[1:] == ("end", "stopped")
        await world.told_about("Allianz", "Allianz")


def heard(listening: Events, lines: int = 0) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return len(listening.seen) > lines

    return look


def engine_streams(world: World) -> int:
    """How many connections to the engine are in use."""
    connector = world.services.engine._docker.session.connector
    assert connector is not None
    return len(connector._acquired)


def labelled(product: dict[str, Any]) -> str:
    return f'{{"label": ["tagship.product={product["slug"]}"]}}'


SICK = {
    "Dockerfile": """FROM busybox
ENV RUN=@RUN@
CMD ["sh", "-c", "trap 'exit 0' TERM; echo up; while sleep 0.2; do :; done"]
"""
}


async def test_a_health_check_that_fails_is_quoted(world: World) -> None:
    await world.register()
    await world.release("v1.0.0", SICK)
    image = await world.image_is("v1.0.0", "success")
    check = {"test": "echo the cellar is flooded; exit 4", "interval_s": 1, "timeout_s": 1, "retries": 1}
    product = await world.product("allianz", image["id"], healthcheck=check)
    rollout = await world.start(product)
    assert rollout["state"] == "failed", rollout
    assert "health check (exit code 4): the cellar is flooded" in rollout["task_errors"][0]["output"]
    assert (await world.get(f"/products/{product['id']}"))["live"] is None
    await world.told_about("built in", "is not running")
    refused = await world.post(f"/products/{product['id']}/rollback", {"to": rollout["id"]}, 409)
    assert refused["detail"] == f"to: rollout {rollout['id']} is failed, not done; name one that brought it to run"
    assert "never" in (await world.post(f"/products/{product['id']}/rollback", None, 409))["detail"]
    wrong = await world.post(f"/products/{product['id']}/rollback", {"to": "1"}, 422)
    assert wrong["errors"][0]["loc"] == ["to"]
    assert (await world.api.delete(f"/products/{product['id']}")).status_code == 204
