"""The list of a repository's tags, as the API gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.postgres import fresh_database
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.engine.client import Engine

PATH = "/images/github-tags"


@pytest.fixture(scope="module")
async def with_token(
    tmp_path_factory: pytest.TempPathFactory, server: str, template: str, engine: Engine
) -> AsyncIterator[World]:
    """A Tagship that GitHub's GraphQL answers."""
    async with (
        fresh_database(server, template) as database,
        new_world(tmp_path_factory.mktemp("world"), database, GITHUB_TOKEN="ghp_of_the_story") as made,
    ):
        yield made


async def test_tags_come_newest_first_with_their_commits(with_token: World) -> None:
    world = with_token
    commit = await world.github.commit(world.repo, {"a": "b"}, "the older one")
    await world.github.tag(world.repo, "inner", annotated=True, push=False)
    await world.github.tag(world.repo, "nested", at="inner", annotated=True, push=False)
    newest = await world.github.commit(world.repo, {"a": "c"}, "the newer one")
    await world.github.tag(world.repo, "plain", push=False)
    world.github.hooks.url, url = None, world.github.hooks.url
    await world.github.push(world.repo, "--tags")
    world.github.hooks.url = url
    tags = (await world.get(f"{PATH}?repo={world.repo}"))["tags"]
    shown = [(tag["name"], tag["commit"]["sha"], tag["commit"]["message"]) for tag in tags]
    older = [(name, commit, "the older one") for name in ("inner", "nested")]
    assert shown == [("plain", newest, "the newer one"), *older]
    assert {tag["commit"]["author"] for tag in tags} == {"ada-tagger"}
    assert all(tag["commit"]["date"].endswith("Z") for tag in tags)
    assert all(tag["tarball_url"].endswith(f"/repos/{world.repo}/tarball/refs/tags/{tag['name']}") for tag in tags)


async def test_an_unknown_repository_is_not_found(with_token: World, quiet_world: World) -> None:
    for world in (with_token, quiet_world):
        problem = await world.get(f"{PATH}?repo=acme/nothing", 404)
        assert "acme/nothing" in problem["detail"]


@pytest.mark.parametrize("query", ["", "?repo=", "?repo=acme", "?repo=a/b/c", "?repo=../x", "?repo=acme/x%0a"])
async def test_what_is_no_repository_is_said_to_be_none(with_token: World, query: str) -> None:
    asked = len(with_token.github.asked())
    problem = await with_token.get(f"{PATH}{query}", 422)
    assert [error["loc"][-1] for error in problem["errors"]] == ["repo"]
    assert len(with_token.github.asked()) == asked, "GitHub was not asked"


async def test_a_rate_limit_is_answered_with_how_long_to_wait(with_token: World, quiet_world: World) -> None:
    with_token.github.fail_next(
        "/graphql",
        200,
        headers={"Content-Type": "application/json", "Retry-After": "42"},
        body=b'{"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}',
    )
    quiet_world.github.rate_limit_next("/repos", retry_after_s=42)
    for world in (with_token, quiet_world):
        answer = await world.api.get(f"{PATH}?repo={world.repo}")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "42"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "rate limit" in answer.json()["detail"]


async def test_a_github_that_is_away_is_unavailable(with_token: World) -> None:
    with_token.github.fail_next("/graphql", 502)
    answer = await with_token.api.get(f"{PATH}?repo={with_token.repo}")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
