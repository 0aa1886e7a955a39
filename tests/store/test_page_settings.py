"""The pages of settings: what they show to whom, and what an examination and the check of a repository say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from app.access.model import Role
from app.github.client import GitHubClient
from app.postgres.pool import transaction
from tests.api_client import SECRET, api_services, asking, token_for
from tests.fakes.github import LocalGitHub
from tests.pages import page_of, signed_in, words

if TYPE_CHECKING:
    from pathlib import Path

    from app.postgres.pool import Pool

PAGES = ("/settings", "/settings/channels", "/settings/notices", "/settings/tokens", "/settings/system")
HOSTILE = "<script>alert(1)</script>"


@pytest.mark.parametrize("path", PAGES)
async def test_an_empty_page_says_what_to_do_and_has_no_flaws(pool: Pool, path: str) -> None:
    async with signed_in(api_services(pool)) as client:
        assert "Settings" in await page_of(client, path)


async def test_a_reader_sees_no_buttons_that_change_and_neither_tokens_nor_system(pool: Pool) -> None:
    async with signed_in(api_services(pool), await token_for(pool, Role.READ)) as client:
        for path in PAGES[:3]:
            assert "data-call" not in await page_of(client, path)
        for path in PAGES[3:]:
            assert (await client.get(path)).status_code == 403


async def test_repositories_are_shown_with_what_to_enter_at_github(pool: Pool) -> None:
    services = api_services(pool, TAGSHIP_PUBLIC_URL="http://ops.example")
    async with asking(services) as api:
        wanted = {"repo": "acme/bre-payments", "tag_pattern": "v*", "build_args": {"A": f"'\"{HOSTILE}"}}
        assert (await api.post("/repositories", json=wanted)).status_code == 201
    async with signed_in(services) as client:
        page = await page_of(client, "/settings")
    assert "http://ops.example/webhooks/github" in page
    assert "https://github.com/acme/bre-payments/settings/hooks" in page
    assert "is no address of the internet" not in page
    assert HOSTILE not in page
    assert SECRET not in page


async def test_a_channel_is_shown_without_its_address(pool: Pool) -> None:
    services = api_services(pool)
    async with asking(services) as api:
        wanted = {"name": HOSTILE, "kind": "slack", "url": "http://127.0.0.1:9/secret-part", "images": ["bre-*"]}
        answer = await api.post("/channels", json=wanted)
        assert answer.status_code == 201, answer.text
    async with signed_in(services) as client:
        page = await page_of(client, "/settings/channels")
    assert "secret-part" not in page
    assert HOSTILE not in page
    assert "images bre-*" in words(page)


async def test_tokens_are_shown_and_none_of_them_can_be_used(pool: Pool) -> None:
    token = await token_for(pool, Role.DEPLOY, name="ci")
    async with signed_in(api_services(pool)) as client:
        page = await page_of(client, "/settings/tokens")
    assert "ci" in words(page)
    assert token not in page


async def test_settings_in_force_are_shown_without_secrets(pool: Pool) -> None:
    settings = {"GITHUB_TOKEN": "ghp_0123456789", "REGISTRY_PASSWORD": "a-registry-password", "REGISTRY_USERNAME": "u"}
    async with signed_in(api_services(pool, REGISTRY="registry.example", **settings)) as client:
        page = await page_of(client, "/settings/system")
    assert "set, secret" in page
    assert "registry.example" in page
    for secret in (SECRET, "ghp_0123456789", "a-registry-password"):
        assert secret not in page


async def test_a_check_finds_the_webhook_at_github_and_says_what_is_missing(pool: Pool, tmp_path: Path) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret=SECRET) as github:
        await github.create_repository("acme/bre")
        client = GitHubClient.open(
            api_url=github.url, token=SecretStr("ghp_of_somebody"), app_id=None, app_private_key=None
        )
        services = api_services(pool, github=client, TAGSHIP_PUBLIC_URL="https://ops.example")
        async with asking(services) as api:
            made = (await api.post("/repositories", json={"repo": "acme/bre"})).json()
            path = f"/repositories/{made['id']}/check"
            found = {one["part"]: one for one in (await api.post(path)).json()}
            assert set(found) == {"secret", "address", "tags", "webhook", "delivery"}
            assert found["secret"]["ok"]
            assert found["address"]["ok"]
            assert not found["webhook"]["ok"]
            assert "has no webhook" in found["webhook"]["sentence"]
            assert not found["delivery"]["ok"]
            github.hooks.url = "https://ops.example/webhooks/github"
            found = {one["part"]: one for one in (await api.post(path)).json()}
            assert found["webhook"]["ok"], found["webhook"]
        await client.close()


async def test_a_check_without_credentials_says_that_it_cannot_know(pool: Pool, tmp_path: Path) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret=SECRET) as github:
        client = GitHubClient.open(api_url=github.url, token=None, app_id=None, app_private_key=None)
        async with asking(api_services(pool, github=client)) as api:
            made = (await api.post("/repositories", json={"repo": "acme/bre"})).json()
            async with transaction(pool) as conn:
                await conn.execute("update looks set error = 'GitHub shows no repository acme/bre'")
            found = {one["part"]: one for one in (await api.post(f"/repositories/{made['id']}/check")).json()}
            assert "without GITHUB_TOKEN" in found["webhook"]["sentence"]
            assert not found["webhook"]["needed"]
            assert found["tags"]["sentence"] == "GitHub shows no repository acme/bre"
            assert "no address of the internet" in found["address"]["sentence"]
            assert (await api.post("/repositories/4711/check")).status_code == 404
        await client.close()
