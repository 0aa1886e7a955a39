"""The API as its users see it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.ports import free_port
from tests.waiting import until

if TYPE_CHECKING:
    from tests.world import World

SLOW = {"Dockerfile": "FROM busybox\nENV RUN=@RUN@\nRUN for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.5; done\n"}
ENDLESS = {"Dockerfile": 'FROM busybox\nENV RUN=@RUN@\nRUN echo be""gun; sleep 600\n'}


async def events(world: World, path: str, last_event_id: str = "") -> list[tuple[str, str, str]]:
    """Every event of a stream as (id, event, data), until it ends."""
    found: list[tuple[str, str, str]] = []
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    async with world.api.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        fields: dict[str, list[str]] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields.setdefault(name, []).append(value)
                continue
            if "event" in fields:
                found.append((fields.get("id", [""])[0], fields["event"][0], "\n".join(fields.get("data", []))))
            if found and found[-1][1] == "end":
                return found
            fields = {}
    raise AssertionError("the stream ended without saying so")


async def test_the_log_is_followed_while_it_grows_and_resumed_without_loss(world: World) -> None:
    await world.register()
    await world.release("v1.0.0", SLOW)
    image = await until(lambda: world.find_image("v1.0.0"), "there is an image")
    seen = await events(world, f"/images/{image['id']}/log")
    pieces = [event for event in seen if event[1] == "log"]
    assert len(pieces) > 2, "the log came in one piece: it was not live"
    whole = "\n".join(data for _, _, data in pieces)
    assert [f"line {n}" for n in range(1, 9)] == [w for n in range(1, 9) if (w := f"line {n}") in whole]
    middle = pieces[len(pieces) // 2]
    resumed = await events(world, f"/images/{image['id']}/log", middle[0])
    assert resumed == seen[seen.index(middle) + 1 :]
    stored = (await world.api.get(f"/images/{image['id']}/log", headers={"Accept": "text/plain"})).text
    assert stored == (await world.get(f"/images/{image['id']}"))["build_log"]
    assert stored.rstrip("\n") == whole
    assert "built in" in await world.told()


async def test_a_running_build_is_cancelled_and_can_be_built_again(world: World) -> None:
    await world.register()
    await world.release("v1.0.0", ENDLESS)
    image = await world.image_is("v1.0.0", "building")

    async def begun() -> bool:
        return "begun" in (await world.get(f"/images/{image['id']}"))["build_log"]

    await until(begun, "the build prints")
    await world.post(f"/images/{image['id']}/cancel", None, 202)
    await world.image_is("v1.0.0", "cancelled")
    await world.post(f"/images/{image['id']}/cancel", None, 409)
    await world.github.commit(world.repo, {"Dockerfile": "FROM busybox\nRUN true\n"})
    await world.github.tag(world.repo, "v1.0.0", force=True)
    await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
    await world.post(f"/images/{image['id']}/rebuild", None, 202)
    await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
    builds = await world.get(f"/images/{image['id']}/builds")
    assert [build["state"] for build in builds] == ["success", "success", "cancelled"]


async def test_an_image_is_built_by_hand_and_only_once(world: World) -> None:
    await world.release("v1.0.0")
    made = await world.post("/images", {"repo": world.repo, "tag": "v1.0.0"}, 201)
    assert made["build_status"] == "pending"
    again = await world.post("/images", {"repo": world.repo, "tag": "v1.0.0"}, 409)
    assert again["id"] == made["id"]
    await world.image_is("v1.0.0", "success")
    assert "built in" in await world.told()
    assert "no tag v9" in (await world.post("/images", {"repo": world.repo, "tag": "v9"}, 404))["detail"]
    assert "acme/nothing" in (await world.post("/images", {"repo": "acme/nothing", "tag": "v1"}, 404))["detail"]


async def test_a_product_is_changed_stopped_and_started_and_its_env_never_shown(world: World) -> None:
    await world.register()
    await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "success")
    product = await world.product("allianz", image["id"], env_vars={"CUSTOMER": "allianz", "KEY": "canary"})
    assert product["status"] == "stopped"
    assert product["env_vars"] == {"CUSTOMER": "********", "KEY": "********"}
    await world.start(product)
    path = f"/products/{product['id']}"

    answer = await world.api.patch(path, json={"env_vars": {"CUSTOMER": "changed", "KEY": "********"}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "deploying"
    assert (await world.rollout_of(product, "changed"))["state"] == "done"
    assert (await world.page(product))["customer"] == "changed"
    service = await world.services.engine.call("look", f"services/tagship-{product['slug']}")
    assert "KEY=canary" in service["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"]

    renamed = await world.api.patch(path, json={"name": "Allianz SE"})
    assert renamed.json()["status"] == "running"
    stopped = await world.post(f"{path}/stop?wait=60", None, 202)
    assert stopped["state"] == "done"
    assert (await world.get(path))["status"] == "stopped"
    with pytest.raises(httpx.ConnectError):
        await world.page(product)
    assert (await world.start(product))["state"] == "done"
    assert (await world.page(product))["customer"] == "changed"
    await world.told_about("built in", "Allianz* runs", "Allianz* runs", "stopped", "Allianz SE* runs")
    assert "canary" not in str(await world.get(path))


async def test_a_product_waits_for_an_image_that_is_not_built_yet(world: World) -> None:
    await world.register()
    await world.release("v1.0.0", SLOW | {"Dockerfile": SLOW["Dockerfile"] + 'CMD ["sleep", "600"]\n'})
    image = await until(lambda: world.find_image("v1.0.0"), "there is an image")
    body = {"name": "A", "slug": f"a-{world.run}", "port": free_port(), "image_id": image["id"]}
    refused = await world.post("/products", body, 409)
    assert "has not been built" in refused["detail"]
    product = await world.post("/products", body | {"when_built": True, "publish_mode": "host"}, 201)
    assert product["status"] == "awaiting_image"
    assert (await world.rollout_of(product, "image_built"))["state"] == "done"
    await world.told_together("built in", "1 of 1 product running", "*A*")


async def test_a_newer_rollout_takes_over_from_one_under_way(world: World) -> None:
    await world.register()
    await world.release("v1.0.0")
    image = await world.image_is("v1.0.0", "success")
    product = await world.product("allianz", image["id"])
    first = await world.post(f"/products/{product['id']}/start", None, 202)
    second = await world.post(f"/products/{product['id']}/redeploy?wait=120", None, 202)
    assert second["state"] == "done"
    assert (await world.get(f"/rollouts/{first['id']}"))["state"] == "superseded"
    await world.told_about("built in", "Allianz")


PRODUCT: dict[str, Any] = {"name": "A", "slug": "a", "port": 8001}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/products", PRODUCT | {"slug": "A b"}, "slug"),
        ("/products", PRODUCT | {"port": 0}, "port"),
        ("/products", PRODUCT | {"port": "8001"}, "port"),
        ("/products", PRODUCT | {"replicas": 0}, "replicas"),
        ("/products", PRODUCT | {"name": "a\u0000b"}, "name"),
        ("/products", PRODUCT | {"name": "x" * 1_000}, "name"),
        ("/products", PRODUCT | {"env_vars": {"A": "{{.Service.Name}}"}}, "env_vars"),
        ("/products", PRODUCT | {"env_vars": {"A=B": "x"}}, "env_vars"),
        ("/products", PRODUCT | {"env_vars": {"A": "********"}}, "env_vars"),
        ("/products", PRODUCT | {"track": "^1"}, "track"),
        ("/products", PRODUCT | {"track": "latest", "image_id": 1}, "track"),
        ("/products", PRODUCT | {"colour": "red"}, "colour"),
        ("/products", PRODUCT | {"healthcheck": {"test": "a\u0000b"}}, "healthcheck"),
        ("/products", PRODUCT | {"healthcheck": {"test": ["CMD", "\u0000"]}}, "healthcheck"),
        ("/products", PRODUCT | {"healthcheck": {"test": ["FOO", "x"]}}, "healthcheck"),
        ("/products", {"name": "A"}, "slug"),
        ("/repositories", {"repo": "no-slash"}, "repo"),
        ("/repositories", {"repo": "a/b", "dockerfile": "../Dockerfile"}, "dockerfile"),
        ("/repositories", {"repo": "a/b", "context": "/etc"}, "context"),
        ("/repositories", {"repo": "a/b", "image_name": "Upper"}, "image_name"),
        ("/repositories", {"repo": "a/b", "image_name": "registry.io/x"}, "image_name"),
        ("/repositories", {"repo": "a/b", "on_moved_tag": "explode"}, "on_moved_tag"),
        ("/images", {"repo": "a/b", "tag": "a..b"}, "tag"),
        ("/images", {"repo": "a/b", "tag": "v1", "commit_sha": "HEAD"}, "commit_sha"),
    ],
)
async def test_wrong_input_is_a_problem_that_names_the_field(
    quiet_world: World, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await quiet_world.api.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    assert field in {error["loc"][0] for error in problem["errors"]}


async def test_requests_that_are_none_are_refused_by_their_kind(quiet_world: World) -> None:
    api = quiet_world.api
    assert (await api.post("/products", content=b"{", headers={"Content-Type": "application/json"})).status_code == 400
    assert (await api.post("/products", content=b"a=1", headers={"Content-Type": "text/plain"})).status_code == 415
    huge = b'{"name": "' + b"x" * 2**21 + b'"}'
    assert (await api.post("/products", content=huge)).status_code == 413
    assert (await api.get("/products/0")).status_code == 404
    assert (await api.get("/products/99999999999999999999")).status_code == 404
    assert (await api.get("/images?limit=x")).status_code == 422
    assert (await api.get("/images?name=%00")).status_code == 422
    assert (await api.get("/images?limit=1&limit=2")).status_code == 422
    wrong_method = await api.delete("/products")
    assert wrong_method.status_code == 405
    assert set(wrong_method.headers["allow"].split(", ")) >= {"GET", "POST"}


async def test_nobody_gets_in_without_the_token(quiet_world: World) -> None:
    async with httpx.AsyncClient(base_url=quiet_world.url) as stranger:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}):
            answer = await stranger.get("/api/v1/products", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await stranger.get("/healthz")).status_code == 200
        assert (await stranger.get("/readyz")).json()["status"] == "ready"


async def test_one_slug_raced_by_many_is_made_once(quiet_world: World) -> None:
    body = PRODUCT | {"slug": "raced"}
    answers = await asyncio.gather(*[quiet_world.api.post("/products", json=body) for _ in range(20)])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19


async def test_the_tags_of_a_repository_come_newest_first(world: World) -> None:
    await world.release("v1.9.0")
    newest = await world.release("v1.10.0", annotated=True)
    tags = (await world.get(f"/images/github-tags?repo={world.repo}"))["tags"]
    assert [tag["name"] for tag in tags] == ["v1.10.0", "v1.9.0"]
    assert tags[0]["commit"]["sha"] == newest
    assert tags[0]["tarball_url"].endswith(f"/repos/{world.repo}/tarball/refs/tags/v1.10.0")
    assert "acme/nothing" in (await world.get("/images/github-tags?repo=acme/nothing", 404))["detail"]
