"""No tag is missed: what was pushed while nobody listened is built all the same, and once."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from app.postgres.pool import transaction
from tests.fakes.github import LocalGitHub
from tests.fakes.github_payloads import ZERO, push_payload
from tests.fault.process import Tagship
from tests.story.test_process import docker_host
from tests.waiting import until
from tests.world import SECRET, TOKEN, World, clean_images, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from app.engine.client import Engine

TAGS: Final = tuple(f"v1.{number}.0" for number in range(12))


async def builds_of(client: httpx.AsyncClient) -> dict[str, list[str]]:
    """The sources of every image's builds, by tag."""
    images = (await client.get("/images")).json()
    found = {}
    for image in images:
        builds = (await client.get(f"/images/{image['id']}/builds")).json()
        found[image["tag"]] = [build["source"] for build in builds]
    return found


async def test_twelve_tags_pushed_at_once_while_tagship_is_dead_are_built_once_each(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    async with LocalGitHub.start(tmp_path / "github", webhook_secret=SECRET) as github:
        name = f"twelve-{os.urandom(3).hex()}"
        repo, log = f"acme/{name}", tmp_path / "log"
        await github.create_repository(repo, {"Dockerfile": f"FROM busybox\nENV RUN={name}\n"})
        environment = {
            "DATABASE_URL": database,
            "TAGSHIP_DATA_DIR": str(tmp_path / "data"),
            "TAGSHIP_API_TOKEN": TOKEN,
            "TAGSHIP_SECRET_KEY": "a-secret-key-for-stories",
            "TAGSHIP_LEASE_S": "2",
            "GITHUB_API_URL": github.url,
            "GITHUB_WEBHOOK_SECRET": SECRET,
        } | docker_host()
        try:
            async with Tagship.start(log, environment) as tagship:
                client = tagship.api
                github.hooks.url = hook_url(client)
                await client.post("/repositories", json={"repo": repo})
                await until(lambda: was_looked_at(client), "the first look is over")
                await tagship.kill()
            await github.tag_many(repo, *TAGS)
            assert github.deliveries == [], "GitHub tells nobody of more than three tags"
            async with Tagship.start(log, environment) as tagship:
                client = tagship.api
                await until(lambda: all_built(client), "all twelve are built", 150)
                assert await builds_of(client) == {tag: ["reconcile"] for tag in TAGS}
                github.hooks.url = hook_url(client)
                await deliver_late(github, repo, TAGS[:3])
                assert [sent.answer["outcome"] for sent in github.deliveries] == ["ignored"] * 3
                assert await builds_of(client) == {tag: ["reconcile"] for tag in TAGS}
        finally:
            await clean_images(engine, name)


def hook_url(client: httpx.AsyncClient) -> str:
    return str(client.base_url.join("/webhooks/github"))


async def was_looked_at(client: httpx.AsyncClient) -> bool:
    return (await client.get("/repositories/1")).json()["last_looked_at"] is not None


async def all_built(client: httpx.AsyncClient) -> bool:
    images = (await client.get("/images")).json()
    return sorted(image["tag"] for image in images if image["build_status"] == "success") == sorted(TAGS)


async def deliver_late(github: LocalGitHub, repo: str, tags: tuple[str, ...]) -> None:
    """Send what GitHub would have sent of each of these tags alone."""
    repository = github.state.repository(repo)
    assert repository is not None
    refs = await repository.refs("refs/tags/")
    payloads = [await push_payload(github.state, repository, ref, ZERO, refs[ref]) for ref in map(ref_of, tags)]
    github.hooks.send([("push", payload) for payload in payloads])
    await github.hooks.settled()


def ref_of(tag: str) -> str:
    return f"refs/tags/{tag}"


# ---------------------------------------------------------------- deliveries that failed


@asynccontextmanager
async def looking_world(tmp_path: Path, database: str) -> AsyncIterator[World]:
    more = {"GITHUB_TOKEN": "ghp_of_the_story", "TAGSHIP_RECONCILE_INTERVAL_S": "300", "TAGSHIP_GITHUB_REPORTS": "off"}
    async with new_world(tmp_path, database, **more) as world:
        yield world


async def test_a_delivery_that_failed_is_sent_again_and_its_tag_is_built_once(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    async with looking_world(tmp_path, database) as world:
        registered = await world.register()
        await until(lambda: has_been_looked_at(world, registered["id"]), "the first look is over")
        reachable, world.github.hooks.url = world.github.hooks.url, "http://127.0.0.1:9/webhooks/github"
        await world.release("v1.0.0")
        world.github.hooks.url = reachable
        assert not any(attempt.ok for sent in world.github.deliveries for attempt in sent.attempts)
        await an_hour_passes(world)
        image = await world.image_is("v1.0.0", "success")
        await until(lambda: all_arrived(world), "every delivery has arrived")
        assert [len(sent.attempts) for sent in world.github.deliveries] == [2] * len(world.github.deliveries)
        [build] = await world.get(f"/images/{image['id']}/builds")
        assert build["source"] in {"delivery", "reconcile"}, "whichever of the two was there first"
        await world.told_about("built in")


async def has_been_looked_at(world: World, number: int) -> bool:
    return (await world.get(f"/repositories/{number}"))["last_looked_at"] is not None


async def an_hour_passes(world: World) -> None:
    async with transaction(world.services.pool) as conn:
        await conn.execute("update looks set run_after = now(), hooks_after = now()")


async def all_arrived(world: World) -> bool:
    stored: list[dict[str, Any]] = await world.get("/deliveries")
    return {one["delivery"] for one in stored} == {sent.guid for sent in world.github.deliveries}
