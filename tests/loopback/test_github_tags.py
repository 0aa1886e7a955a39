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
        for client in (GitHubClient.open(api_url=github.url, token=SecretStr("a-token")),):
            assert len(await client.list_tags("acme/shop")) == 103
            await client.close()


def test_numbers_in_names_sort_as_numbers() -> None:
    names = ["v1.10.0", "v1.9.0", "v1.10.0-rc.1", "v2", "latest"]
    assert sorted(names, key=version_key, reverse=True) == ["v2", "v1.10.0", "v1.10.0-rc.1", "v1.9.0", "latest"]
