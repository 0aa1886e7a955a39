"""The pages of settings: what they show to whom, and what an examination and the check of a repository say."""

from __future__ import annotations

import html
import json
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from app.access.model import Role
from app.api import doctor
from app.dashboard.settings import PAGE, place_of
from app.engine.client import Engine
from app.github.client import GitHubClient
from app.notices.model import Notice, Subject
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.web import create_app
from tests.api_client import SECRET, api_services, asking, audit_rows, token_for
from tests.fakes.github import LocalGitHub
from tests.fakes.serving import serve
from tests.pages import page_of, signed_in, words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
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
    services = api_services(
        pool,
        GITHUB_TOKEN="ghp_0123456789",
        REGISTRY="registry.example",
        REGISTRY_USERNAME="u",
        REGISTRY_PASSWORD="a-registry-password",
    )
    async with signed_in(services) as client:
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


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[LocalGitHub, GitHubClient]]:
    """A GitHub that knows acme/bre and shows its webhooks to us, and our client of it."""
    async with LocalGitHub.start(folder, webhook_secret=SECRET, token="tok") as github:
        await github.create_repository("acme/bre")
        client = GitHubClient.open(api_url=github.url, token=SecretStr("tok"))
        try:
            yield github, client
        finally:
            await client.close()


async def test_a_ping_comes_through_or_is_missed(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path) as (github, client), serve(create_app(api_services(pool))) as url:
        services = api_services(pool, github=client, TAGSHIP_PUBLIC_URL=url)
        async with asking(services) as api:
            made = (await api.post("/repositories", json={"repo": "acme/bre"})).json()
            path = f"/repositories/{made['id']}"
            refused = await api.post(f"{path}/ping")
            assert refused.status_code == 409
            assert "GitHub shows no webhook of acme/bre" in refused.json()["detail"]
            github.hooks.url = f"{url}/webhooks/github"
            for _ in range(2):  # the ping before is not taken for this one
                [found] = (await api.post(f"{path}/ping")).json()
                assert found["ok"], found
            monkeypatch.setattr(doctor, "PING_S", 0.2)
            github.hooks.secret = "another secret"
            [found] = (await api.post(f"{path}/ping")).json()
            assert "did not arrive" in found["sentence"]
            await github.hooks.settled()
            checked = {one["part"]: one for one in (await api.post(f"{path}/check")).json()}
            assert "its secret is not one of" in checked["answer"]["sentence"]
        async with asking(services, await token_for(pool, Role.READ)) as api:
            assert (await api.post(f"{path}/ping")).status_code == 403
    assert [row["action"] for row in await audit_rows(pool)] == ["register", *["ping_repository"] * 3]


async def test_a_repository_whose_webhooks_are_hidden_from_us_is_said_so(pool: Pool, tmp_path: Path) -> None:
    async with connected(tmp_path) as (github, client), asking(api_services(pool, github=client)) as api:
        github.deny("acme/bre", "hooks", 404, "Not Found")
        made = (await api.post("/repositories", json={"repo": "acme/bre"})).json()
        found = {one["part"]: one for one in (await api.post(f"/repositories/{made['id']}/check")).json()}
    assert "takes credentials that may read webhooks" in found["webhook"]["sentence"]
    assert not found["webhook"]["needed"]


async def test_the_doctor_says_over_the_api_what_is_missing(pool: Pool, tmp_path: Path) -> None:
    engine = Engine.open(f"unix://{tmp_path}/none.sock")
    github = GitHubClient.open(api_url="http://127.0.0.1:9")
    services = api_services(pool, github=github, TAGSHIP_DATA_DIR=str(tmp_path))
    async with asking(replace(services, engine=engine)) as api:
        found = {one["part"]: one for one in (await api.get("/doctor")).json()}
    await engine.close()
    await github.close()
    assert set(found) == {"database", "engine", "swarm", "github", "reports", "webhook", "registry", "disk"}
    assert [part for part, one in found.items() if not one["ok"] and part != "disk"] == ["engine", "swarm", "github"]
    assert "none.sock" in found["engine"]["sentence"]
    assert found["database"]["sentence"].endswith("schema: up to date")


async def test_a_repository_shows_its_last_delivery_and_why_its_tags_are_not_listed(pool: Pool) -> None:
    services = api_services(pool)
    async with asking(services) as api:
        for repo in ("acme/bre", "acme/web"):
            await api.post("/repositories", json={"repo": repo})
    async with transaction(pool) as conn:
        for guid, state in (("a", "accepted"), ("b", "ignored")):
            last = await conn.fetchval(
                "insert into deliveries (guid, event, repo, state, reason, body)"
                " values ($1, 'push', 'ACME/bre', $2, 'x', '') returning id",
                guid,
                state,
            )
        await conn.execute("update looks set error = $1 where repo = 'acme/web'", HOSTILE)
    async with signed_in(services) as client:
        page = await page_of(client, "/settings")
    assert f'Last delivery <a href="/deliveries/{last}">' in page
    assert words(page).count("Its webhook has delivered nothing yet") == 1
    assert f"Its tags cannot be listed: {HOSTILE}" in words(page)
    assert HOSTILE not in page


async def test_without_a_secret_the_page_says_first_that_nothing_gets_in(pool: Pool) -> None:
    async with signed_in(api_services(pool, GITHUB_WEBHOOK_SECRET="")) as client:
        page = words(await page_of(client, "/settings"))
    assert page.index("Every delivery is refused") < page.index("Watched")


async def test_build_arguments_stand_in_their_field_as_they_are(pool: Pool) -> None:
    services, given = api_services(pool), {"A": "'\"<b>é\n&amp;"}
    async with asking(services) as api:
        await api.post("/repositories", json={"repo": "acme/bre", "build_args": given})
    async with signed_in(services) as client:
        [field] = re.findall(r'id="args-1"[^>]*? value="([^"]*)"', await page_of(client, "/settings"))
    assert json.loads(html.unescape(field)) == given


async def test_a_channel_says_why_it_is_off_and_what_it_wants(pool: Pool) -> None:
    services = api_services(pool)
    async with asking(services) as api:
        wanted = {"name": "ops", "kind": "webhook", "url": "http://127.0.0.1:9/x", "events": ["build_failed"]}
        made = (await api.post("/channels", json=wanted)).json()
        async with transaction(pool) as conn:
            await conn.execute("update channels set enabled = false, disabled_reason = $1", HOSTILE)
        async with signed_in(services) as client:
            page = await page_of(client, "/settings/channels")
    assert f"It switched itself off: {HOSTILE}" in words(page)
    assert HOSTILE not in page
    assert re.findall(r'value="(\w+)" data-as="each" data-empty="null" checked', page) == ["build_failed"]
    assert "New secret" in words(page), "a webhook signs"
    assert "Switch on" in words(page)
    assert made["secret"] not in page


async def test_tokens_show_whether_they_are_still_valid(pool: Pool) -> None:
    services = api_services(pool)
    for name in ("over", "taken", "good"):
        await token_for(pool, Role.READ, name=name)
    async with transaction(pool) as conn:
        await conn.execute("update tokens set created_at = now() - interval '2 h' where name = 'over'")
        await conn.execute("update tokens set expires_at = now() - interval '1 h' where name = 'over'")
        await conn.execute("update tokens set revoked_at = now() where name = 'taken'")
    async with signed_in(services) as client:
        page = words(await page_of(client, "/settings/tokens"))
    assert [page[page.index(name) :].split()[2] for name in ("over", "taken", "good")] == [
        "expired",
        "revoked",
        "valid",
    ]


async def test_more_than_a_page_goes_on_behind_its_last_row(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute(
            "insert into tokens (name, role, hash) select 'token ' || n, 'read', sha256(n::text::bytea)"
            " from generate_series(1, 51) n"
        )
    async with signed_in(api_services(pool)) as client:
        page = await page_of(client, "/settings/tokens")
        [older] = re.findall(r'href="([^"]*)" rel="next"', page)
        assert page.count("Revoke</button>") == PAGE
        rest = await page_of(client, older)
    assert rest.count("Revoke</button>") == 1
    assert 'rel="next"' not in rest


def notice(subject: Subject, **facts: object) -> Notice:
    fields = dict.fromkeys(Notice.__slots__)
    return Notice(**fields | {"subject": subject, "facts": facts})  # type: ignore[arg-type]


def test_a_notice_leads_to_the_page_of_what_it_is_about() -> None:
    assert place_of(notice(Subject.BUILD, image_id=3)) == "/images/3"
    assert place_of(notice(Subject.ROLLOUT, product_id=4, image_id=3)) == "/products/4"
    assert place_of(notice(Subject.BUILD)) is None
    assert place_of(notice(Subject.BUILD, image_id="3/../..")) is None


async def test_the_last_deliveries_are_found_by_their_index(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute(
            "insert into deliveries (guid, event, repo, body)"
            " select n::text, 'push', 'acme/' || n % 50, '' from generate_series(1, 20000) n"
        )
        await conn.execute("analyze deliveries")
        statement = load_queries("settings_page")["last_deliveries"].rstrip(";").replace("$1", "array['acme/1', 'a/b']")
        plan = "\n".join(row[0] for row in await conn.fetch(f"explain {statement}"))
    assert "deliveries_by_repo" in plan
    assert "Seq Scan on deliveries" not in plan


async def test_notices_are_shown_with_their_answers_and_by_state(pool: Pool) -> None:
    facts = {"image": HOSTILE, "image_id": 3, "github_repo": "a/b", "commit_sha": "b" * 40, "seconds": 1, "rollouts": 0}
    async with transaction(pool) as conn:
        await conn.execute("insert into channels (name, kind) values ('slack', 'slack')")
        for number, state in enumerate(("sent", "failed"), 1):
            await conn.execute(
                "insert into notices (channel_id, event, subject, subject_id, facts, state, attempt, status, answer,"
                " finished_at) values (1, 'build_succeeded', 'build', $1, $2, $3, 2, 404, $4, now())",
                number,
                facts,
                state,
                f"{HOSTILE} {state}",
            )
    async with signed_in(api_services(pool)) as client:
        page = await page_of(client, "/settings/notices")
        failed = words(await page_of(client, "/settings/notices?state=failed"))
        none = words(await page_of(client, "/settings/notices?state=pending"))
    assert HOSTILE not in page
    assert f"404 {HOSTILE} failed" in words(page)
    assert page.count('href="/images/3"') == 2
    assert f"{HOSTILE} sent" in words(page)
    assert f"{HOSTILE} sent" not in failed
    assert "No notice is pending." in none
