"""Listing tags, with and without credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from app.errors import GitHubNotFound
from app.github.client import GitHubClient
from app.github.tags import version_key
from tests.fakes.github import LocalGitHub

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("token", [None, "a-token"])
async def test_tags_come_newest_first_with_the_commit_they_lead_to(tmp_path: Path, token: str | None) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret="s", token=token) as github:
        await github.create_repository("acme/shop")
        older = await github.tag("acme/shop", "v1.9.0")
        newer = await github.commit("acme/shop", {"a": "b"}, "the newer one")
        await github.tag("acme/shop", "v1.10.0", annotated=True)
        client = GitHubClient.open(api_url=github.url, token=SecretStr(token) if token else None)
        tags = await client.list_tags("acme/shop")
        with pytest.raises(GitHubNotFound, match="acme/nothing"):
            await client.list_tags("acme/nothing")
        await client.close()
    assert [(tag.name, tag.commit.sha) for tag in tags] == [("v1.10.0", newer), ("v1.9.0", older)]
    assert (tags[0].commit.message == "the newer one") is (token is not None)
    assert (tags[0].commit.date is not None) is (token is not None)


async def test_more_than_one_page_of_tags_is_read(tmp_path: Path) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret="s", token="a-token") as github:
        await github.create_repository("acme/shop")
        for number in range(103):
            await github.tag("acme/shop", f"v1.{number}", push=False)
        await github.push("acme/shop", "--tags")
        client = GitHubClient.open(api_url=github.url, token=SecretStr("a-token"))
        github.state.seen.clear()
        assert len(await client.list_tags("acme/shop")) == 103
        await client.close()
        assert [seen.path for seen in github.asked()] == ["/graphql", "/graphql"], "one query per hundred"


async def test_without_credentials_every_page_is_read_also_a_short_one(tmp_path: Path) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret="s") as github:
        await github.create_repository("acme/shop", {"a": "b"})
        await github.tag("acme/shop", "z-blob", at="main:a", push=False)  # takes a place on the first page, unlisted
        for number in range(103):
            await github.tag("acme/shop", f"v1.{number}", push=False)
        await github.push("acme/shop", "--tags")
        client = GitHubClient.open(api_url=github.url)
        first = await client.list_tags("acme/shop")
        again = await client.list_tags("acme/shop")
        await client.close()
    assert [tag.name for tag in first] == [f"v1.{number}" for number in reversed(range(103))]
    assert again == first
    assert github.state.unchanged == ["/repos/acme/shop", "/repos/acme/shop/tags", "/repos/acme/shop/tags"]


async def test_an_enterprise_server_is_asked_where_it_answers_graphql(tmp_path: Path) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret="s", token="a-token") as github:
        await github.create_repository("acme/shop")
        commit = await github.tag("acme/shop", "v1.0.0")
        client = GitHubClient.open(api_url=f"{github.url}/api/v3", token=SecretStr("a-token"))
        [tag] = await client.list_tags("acme/shop")
        await client.close()
        assert github.asked()[-1].path == "/api/graphql"
    assert tag.commit.sha == commit


async def test_a_tag_of_a_tag_is_listed_with_its_commit_and_a_tag_of_a_file_is_not(tmp_path: Path) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret="s", token="a-token") as github:
        await github.create_repository("acme/shop", {"a": "b"})
        await github.tag("acme/shop", "older")
        commit = await github.commit("acme/shop", {"a": "c"}, "the nested one")
        for name, at in (("one", "main"), ("two", "one"), ("three", "two")):
            await github.tag("acme/shop", name, at=at, annotated=True)
        for name, at in (("blob", "main:a"), ("blob-2", "blob"), ("blob-3", "blob-2")):
            await github.tag("acme/shop", name, at=at, annotated=True)
        newest = await github.commit("acme/shop", {"a": "d"}, "the newest one")
        await github.tag("acme/shop", "4#2")
        client = GitHubClient.open(api_url=github.url, token=SecretStr("a-token"))
        tags = await client.list_tags("acme/shop")
        await client.close()
    assert [tag.name for tag in tags] == ["4#2", "one", "three", "two", "older"]
    assert tags[0].commit.sha == newest
    assert tags[0].tarball_url.endswith("/tarball/refs/tags/4%232")
    nested = {tag.commit for tag in tags[1:4]}
    assert len(nested) == 1, "the same commit, with all that is known of it"
    assert {(one.sha, one.author, one.message) for one in nested} == {(commit, "ada-tagger", "the nested one")}
    assert all(one.date is not None for one in nested)


def test_numbers_in_names_sort_as_numbers() -> None:
    names = ["v1.10.0", "v1.9.0", "v1.10.0-rc.1", "v2", "latest"]
    assert sorted(names, key=version_key, reverse=True) == ["v2", "v1.10.0", "v1.10.0-rc.1", "v1.9.0", "latest"]
