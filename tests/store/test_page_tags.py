"""The tags on GitHub as the dashboard shows them: with what became of each, whatever GitHub does."""

from __future__ import annotations

import asyncio
import html as markup
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from app.access.model import Role
from app.builds import store
from app.builds.model import Source
from app.dashboard.tags import PAGE, Shelf
from app.github.client import GitHubClient
from app.postgres.pool import transaction
from app.repositories.recipe import Recipe
from tests.api_client import api_services, token_for
from tests.fakes.github import LocalGitHub
from tests.pages import page_of, signed_in, words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from app.postgres.pool import Pool

TOKEN = "a-token"
TAGS = "/images/tags?repo=acme/bre"


@pytest.fixture(scope="module")
async def github(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalGitHub]:
    """One for all tests of this file, which only read it: a repository with more tags than one page holds."""
    root: Path = tmp_path_factory.mktemp("github")
    async with LocalGitHub.start(root, webhook_secret="s", token=TOKEN) as github:
        await github.create_repository("acme/bre")
        await github.tag_many("acme/bre", *(f"v1.{number}" for number in range(PAGE + 2)))
        await github.commit("acme/bre", {"a": "b"}, "<b>Retry</b> SEPA batches\n\nBecause.")
        await github.tag("acme/bre", "v2.0")
        github.state.seen.clear()
        yield github


@asynccontextmanager
async def asking(pool: Pool, github: LocalGitHub, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(TOKEN))
    services = api_services(pool, github=client, GITHUB_API_URL=github.url)
    try:
        async with signed_in(services, token) if token else signed_in(services) as browser:
            yield browser
    finally:
        await client.close()
        github.state.seen.clear()


async def register(pool: Pool, *names: str, pattern: str = "*") -> None:
    async with transaction(pool) as conn:
        await conn.executemany(
            "insert into repositories (repo, image_name, tag_pattern) values ('acme/bre', $1, $2)",
            [(name, pattern) for name in names],
        )


def offered(html: str) -> list[dict[str, str]]:
    """What the buttons of a page would ask the API to build, in order."""
    return [json.loads(markup.unescape(body)) for body in re.findall(r'data-body="([^"]+)"', html)]


async def test_tags_are_listed_with_their_commits_and_a_button_for_each_image(pool: Pool, github: LocalGitHub) -> None:
    await register(pool, "bre", "worker", pattern="v2*")
    async with asking(pool, github) as browser:
        html = await page_of(browser, TAGS)
    text = words(html)
    assert "<b>Retry</b> SEPA batches" in text
    assert "Because" not in text
    assert offered(html)[:2] == [{"repo": "acme/bre", "tag": "v2.0", "image_name": name} for name in ("bre", "worker")]
    assert len(offered(html)) == 2 * PAGE
    assert text.count("its pattern leaves this tag out") == 2 * (PAGE - 1)


async def test_what_is_built_leads_to_the_image_and_a_tag_that_moved_is_offered_again(
    pool: Pool, github: LocalGitHub
) -> None:
    await register(pool, "bre")
    async with transaction(pool) as conn:
        image_id, _ = await store.upsert_image(conn, name="bre", tag="v2.0", repo="acme/bre", ref="refs/tags/v2.0")
        await store.enqueue(conn, image_id, source=Source.API, commit="b" * 40, recipe=Recipe())
    async with asking(pool, github) as browser:
        html = await page_of(browser, TAGS)
    assert f'href="/images/{image_id}">bre:v2.0</a>' in html
    assert f'data-call="POST /api/v1/images/{image_id}/rebuild"' in html
    assert "from bbbbbbb, before the tag moved" in words(html)
    assert "v2.0" not in [one["tag"] for one in offered(html)]


async def test_pages_of_tags_and_a_search_ask_github_once(pool: Pool, github: LocalGitHub) -> None:
    await register(pool, "bre")
    async with asking(pool, github) as browser:
        first = await page_of(browser, TAGS)
        [older] = re.findall(r'href="([^"]+)" rel="next"', first)
        second = await page_of(browser, markup.unescape(older))
        found = await page_of(browser, f"{TAGS}&tag=V2")
        assert len(offered(first)) == PAGE
        assert len(offered(second)) == 3
        assert not {one["tag"] for one in offered(first)} & {one["tag"] for one in offered(second)}
        assert [one["tag"] for one in offered(found)] == ["v2.0"]
        assert "No tag of acme/bre contains" in words(await page_of(browser, f"{TAGS}&tag=nothing"))
        assert [seen.path for seen in github.asked()] == ["/graphql"]
        await page_of(browser, f"{TAGS}&anew=1")
        assert [seen.path for seen in github.asked()] == ["/graphql"] * 2


async def test_github_away_is_a_sentence_that_is_not_asked_for_again_and_again(pool: Pool, github: LocalGitHub) -> None:
    await register(pool, "bre")
    async with asking(pool, github) as browser:
        github.rate_limit_next("/graphql")
        html = await page_of(browser, TAGS)
        assert "rate limit" in words(html)
        assert "Look again" in words(html)
        assert await page_of(browser, TAGS) == html
        [again] = re.findall(r'data-part href="([^"]+)"', html)
        assert len(offered(await page_of(browser, markup.unescape(again)))) > 0


async def test_the_page_of_images_does_not_ask_github(pool: Pool, github: LocalGitHub) -> None:
    await register(pool, "bre")
    async with asking(pool, github) as browser:
        html = await page_of(browser, "/images")
        assert f'data-src="{TAGS.replace("/bre", "%2Fbre")}"' in html
        assert github.asked() == []


async def test_only_registered_repositories_are_asked_for(pool: Pool, github: LocalGitHub) -> None:
    async with asking(pool, github) as browser:
        assert "acme/bre is not registered here" in words(await page_of(browser, TAGS))
        assert "No repository is named" in words(await page_of(browser, "/images/tags"))
        assert github.asked() == []


async def test_who_may_only_read_is_offered_nothing(pool: Pool, github: LocalGitHub) -> None:
    await register(pool, "bre")
    async with asking(pool, github, await token_for(pool, Role.READ)) as browser:
        html = await page_of(browser, TAGS)
    assert "data-call" not in html
    assert "bre is not built" in words(html)


async def test_those_who_come_together_share_one_question(github: LocalGitHub) -> None:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(TOKEN))
    shelf = Shelf(client)
    github.state.seen.clear()
    one, other = await asyncio.gather(*(shelf.listing(repo, anew=True) for repo in ("acme/bre", "ACME/bre")))
    assert one is other
    assert [seen.path for seen in github.asked()] == ["/graphql"]
    for number in range(40):
        await shelf.listing(f"acme/none-{number}")
    assert len(shelf._listings) == 30, "what nobody looks at any more is forgotten"
    await client.close()
