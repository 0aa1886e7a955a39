"""Looking for what GitHub did not tell: tags by page with ETags, webhooks with their deliveries, and what it costs."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from pydantic import SecretStr

from app.errors import GitHubNotFound, GitHubRateLimited, GitHubRefused, GitHubUnavailable
from app.github.client import GitHubClient
from app.reconcile.pace import next_look, pause_after, phase_of
from tests.fakes.github import LocalGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.github.watching import Page, Watching

REPO: Final = "acme/shop"
TOKEN: Final = "a-token"
HOUR_S: Final = 3600


@pytest.fixture
async def github(tmp_path: Path) -> AsyncIterator[LocalGitHub]:
    async with LocalGitHub.start(tmp_path, webhook_secret="s", token=TOKEN) as github:
        await github.create_repository(REPO)
        yield github


@asynccontextmanager
async def client_of(github: LocalGitHub, token: str | None = TOKEN) -> AsyncIterator[GitHubClient]:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(token) if token else None)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def watching(github: LocalGitHub) -> AsyncIterator[Watching]:
    async with client_of(github) as client:
        yield client.watching


async def test_a_tag_behind_a_page_of_a_hundred_that_has_not_changed_is_found(
    github: LocalGitHub, watching: Watching
) -> None:
    await github.tag_many(REPO, *(f"v{number}" for number in range(100, 200)))
    first = await watching.tags(REPO, ())
    assert (len(first.tags), len(first.pages), first.asked, first.counted) == (100, 2, 2, 2)
    await github.tag(REPO, "a-tag-that-is-listed-last")
    second = await watching.tags(REPO, first.pages)
    assert list(second.tags) == ["a-tag-that-is-listed-last"]
    assert (second.asked, second.counted) == (2, 1)
    third = await watching.tags(REPO, second.pages)
    assert (third.tags, third.pages, third.counted) == ({}, second.pages, 0)
    assert github.state.unchanged == [f"/repos/{REPO}/tags"] * 3


async def test_an_annotated_tag_is_listed_with_its_commit(github: LocalGitHub, watching: Watching) -> None:
    commit = await github.tag(REPO, "v1", annotated=True)
    assert (await watching.tags(REPO, ())).tags == {"v1": commit}


@pytest.mark.parametrize("token", [TOKEN, None])
async def test_a_304_is_free_with_credentials_only(github: LocalGitHub, token: str | None) -> None:
    github.state.rate_limit = 60
    async with client_of(github, token) as client:
        pages: tuple[Page, ...] = ()
        counted = 0
        for _ in range(3):
            listing = await client.watching.tags(REPO, pages)
            pages, counted = listing.pages, counted + listing.counted
        assert counted == github.state.counted == (1 if token else 3)
        assert client.watching.rate is not None
        assert client.watching.rate.remaining == 60 - counted


async def test_a_repository_that_is_not_shown_is_named(github: LocalGitHub, watching: Watching) -> None:
    with pytest.raises(GitHubNotFound, match=r"repository acme/nothing.*GITHUB_TOKEN"):
        await watching.tags("acme/nothing", ())


async def test_a_limit_that_is_used_up_is_a_rate_limit_until_the_hour_is_over(github: LocalGitHub) -> None:
    github.state.rate_limit, now = 2, 500 * HOUR_S
    github.state.clock = lambda: now
    async with client_of(github, None) as client:
        for _ in range(2):
            await client.watching.tags(REPO, ())
        with pytest.raises(GitHubRateLimited):
            await client.watching.tags(REPO, ())
        now += HOUR_S
        await client.watching.tags(REPO, ())


@pytest.mark.parametrize(("limit", "token", "looks"), [(60, None, 70), (160, TOKEN, 100)])
async def test_five_hundred_repositories_cost_at_most_half_of_the_limit(
    github: LocalGitHub, limit: int, token: str | None, looks: int
) -> None:
    """By a clock that stands still while GitHub answers and that the pace moves on: all repositories begin at once."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    at = 0.0
    github.state.rate_limit, github.state.clock = limit, lambda: start.timestamp() + at
    due = {f"{REPO}#{number}": 0.0 for number in range(500)}
    pages: dict[str, tuple[Page, ...]] = {}
    spent: dict[int, int] = {}
    async with client_of(github, token) as client:
        for _ in range(looks):
            repo = min(due, key=lambda name: due[name])
            at = max(at, due[repo])
            listing = await client.watching.tags(REPO, pages.get(repo, ()))
            pages[repo] = listing.pages
            spent[int(at // HOUR_S)] = github.state.counted
            again = next_look(start + timedelta(seconds=at), 300, phase_of(repo))
            due[repo] = (again - start).total_seconds()
            assert client.watching.rate is not None
            rate = replace(client.watching.rate, reset_s=HOUR_S - at % HOUR_S)
            at += pause_after(listing.asked, listing.counted, rate).open_s
    assert max(spent.values()) <= limit / 2
    assert sum(spent.values()) == len(pages) == looks, "each in its turn"
    assert len(spent) == -(-looks // (limit // 2))


async def test_tags_are_dated_by_tagger_or_commit_whichever_is_later(github: LocalGitHub) -> None:
    future = datetime(2030, 1, 1, tzinfo=UTC)
    await github.tag(REPO, "old")
    await github.tag(REPO, "tagged", annotated=True)
    await github.commit(REPO, {"a": "b"}, at=future)
    await github.tag(REPO, "committed")
    await github.tag(REPO, "both", annotated=True)
    names = ["old", "tagged", "committed", "both", "unknown"]
    for token in (TOKEN, None):
        async with client_of(github, token) as client:
            dates = await client.tag_dates(REPO, names)
        assert set(dates) == set(names) - {"unknown"}
        assert dates["old"].year == 2026
        assert dates["old"] < dates["tagged"] < dates["committed"] == dates["both"] == future


async def test_without_credentials_the_first_ten_tags_are_dated(github: LocalGitHub) -> None:
    names = [f"v{number}" for number in range(12)]
    await github.tag_many(REPO, *names)
    async with client_of(github, None) as client:
        assert list(await client.tag_dates(REPO, names)) == names[:10]


# ---------------------------------------------------------------- webhooks


async def test_what_a_webhook_delivered_is_read_page_by_page_and_sent_again(
    github: LocalGitHub, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fakes.github_webhooks.MOST", 2)
    github.hooks.url = "http://127.0.0.1:9/webhooks/github"
    for number in range(3):
        await github.tag(REPO, f"v{number}")
    [hook] = await watching.hooks(REPO)
    assert hook.config.url == github.hooks.url
    since = datetime.now(UTC) - timedelta(days=3)
    found = await watching.deliveries(REPO, hook.id, since)
    assert [one.guid for one in found] == [sent.guid for sent in reversed(github.deliveries)]
    assert {one.status_code for one in found} == {0}
    assert await watching.deliveries(REPO, hook.id, datetime.now(UTC) + timedelta(hours=1)) == []
    await watching.redeliver(REPO, hook.id, found[0].id)
    await github.hooks.settled()
    assert [len(sent.attempts) for sent in github.deliveries] == [1, 1, 1, 1, 1, 2]


async def test_webhooks_are_shown_to_administrators_only(github: LocalGitHub, watching: Watching) -> None:
    async with client_of(github, None) as client:
        with pytest.raises(GitHubNotFound):
            await client.watching.hooks(REPO)
    github.deny(REPO, "hooks", 403)
    with pytest.raises(GitHubRefused):
        await watching.hooks(REPO)


def list_next(github: LocalGitHub, *tags: tuple[str, str], times: int = 1, more: bool = False) -> None:
    """Let the next lists of tags say this; ``more``: that there is another page."""
    body = [{"name": name, "commit": {"sha": sha}, "tarball_url": f"{github.url}/x"} for name, sha in tags]
    headers = {"Link": f'<{github.url}/repos/{REPO}/tags?page=2>; rel="next"'} if more else {}
    github.fail_next(f"/repos/{REPO}/tags", 200, times=times, headers=headers, body=json.dumps(body).encode())


@pytest.mark.parametrize("name", ["a\0b", "a b", "v" * 3000], ids=["nul", "blank", "long"])
async def test_a_name_that_no_tag_can_have_does_not_hide_the_others(
    github: LocalGitHub, watching: Watching, name: str
) -> None:
    list_next(github, (name, "1" * 40), ("v1/rc", "2" * 40), ("é", "3" * 40), ("-v1", "4" * 40))
    assert list((await watching.tags(REPO, ())).tags) == ["v1/rc", "é", "-v1"]


@pytest.mark.parametrize("sha", ["nonsense", "1" * 39, "1" * 40 + "\n", "\0"])
async def test_a_sha_that_is_none_is_not_what_github_says(github: LocalGitHub, sha: str) -> None:
    async with client_of(github) as client:
        list_next(github, ("v1", sha))
        with pytest.raises(GitHubUnavailable, match="does not speak GitHub's API"):
            await client.watching.tags(REPO, ())
        pointer = {"object": {"type": "commit", "sha": sha}}
        github.fail_next(f"/repos/{REPO}/git/ref/tags/v1", 200, body=json.dumps(pointer).encode())
        with pytest.raises(GitHubUnavailable, match="does not speak GitHub's API"):
            await client.resolve_commit(REPO, "v1")


@pytest.mark.parametrize("token", [TOKEN, None])
async def test_a_page_that_comes_again_is_the_last(github: LocalGitHub, token: str | None) -> None:
    same = [(f"v{number}", f"{number:040x}") for number in range(100)]
    list_next(github, *same, times=50, more=True)
    async with client_of(github, token) as client:
        assert (await client.watching.tags(REPO, ())).asked == 2
        if token is None:
            assert len(await client.list_tags(REPO)) == 100
    assert len([seen for seen in github.asked() if seen.path.endswith("/tags")]) == (2 if token else 4)


async def test_a_date_without_an_offset_is_not_what_github_says(github: LocalGitHub) -> None:
    commit = {"__typename": "Commit", "oid": "2" * 40, "committedDate": "2026-01-01T00:00:00"}
    refs = {"pageInfo": {"hasNextPage": False, "endCursor": None}, "nodes": [{"name": "v1", "target": commit}]}
    github.fail_next("/graphql", 200, body=json.dumps({"data": {"repository": {"refs": refs}}}).encode())
    async with client_of(github) as client:
        with pytest.raises(GitHubUnavailable, match="not understood"):
            await client.list_tags(REPO)


async def test_a_server_without_graphql_is_asked_for_the_date_of_each_tag(github: LocalGitHub) -> None:
    await github.tag(REPO, "v1")
    github.fail_next("/graphql", 404, times=2)
    async with client_of(github) as client:
        assert list(await client.tag_dates(REPO, ["v1"])) == ["v1"]
        assert list(await client.tag_dates(REPO, ["nowhere"])) == []


@pytest.mark.parametrize("reset", ["9" * 15, "9" * 30])
async def test_a_limit_that_ends_after_all_calendars_is_waited_for_an_hour(github: LocalGitHub, reset: str) -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    github.fail_next(f"/repos/{REPO}/tags", 403, headers=headers, body=b'{"message": "API rate limit exceeded"}')
    async with client_of(github) as client:
        with pytest.raises(GitHubRateLimited) as limited:
            await client.watching.tags(REPO, ())
    assert limited.value.retry_after_s == HOUR_S
