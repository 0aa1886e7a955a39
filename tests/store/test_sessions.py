"""Signing in to the dashboard: who gets a session, what it is good for, and what ends it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.access.model import Role
from app.access.sessions import COOKIE
from app.postgres.pool import transaction
from app.web import create_app
from tests.api_client import ADDRESS, ADMIN_TOKEN, api_services, token_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Pool

PAGES = ("/", "/images", "/products", "/deliveries", "/activity", "/settings")


@asynccontextmanager
async def browser(pool: Pool, *, public_url: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps cookies and is signed in as nobody."""
    transport = httpx.ASGITransport(
        create_app(api_services(pool, TAGSHIP_PUBLIC_URL=public_url)), client=(ADDRESS, 4711)
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://tagship") as client:
        yield client


async def signed_in(client: httpx.AsyncClient, token: str = ADMIN_TOKEN) -> str:
    """Sign in; the session's CSRF token."""
    answer = await client.post("/signin", data={"token": token})
    assert answer.status_code == HTTPStatus.SEE_OTHER
    return csrf_of((await client.get("/activity")).text)


def csrf_of(html: str) -> str:
    return html.partition('name="csrf" content="')[2].partition('"')[0]


@pytest.mark.parametrize("path", PAGES)
async def test_nobody_sees_a_page_without_signing_in_and_comes_back_to_it(pool: Pool, path: str) -> None:
    async with browser(pool) as client:
        sent = await client.get(path, params={"name": "a&b"})
        assert sent.status_code == HTTPStatus.SEE_OTHER
        where = urlsplit(sent.headers["location"])
        assert where.path == "/signin"
        wanted = parse_qs(where.query)["next"][0]
        answer = await client.post("/signin", data={"token": ADMIN_TOKEN, "next": wanted})
        assert answer.headers["location"] == f"{path}?name=a%26b"


async def test_the_cookie_is_httponly_samesite_and_secure_where_people_come_by_https(pool: Pool) -> None:
    async with browser(pool, public_url="https://ops.example/tagship") as client:
        answer = await client.post("/signin", data={"token": ADMIN_TOKEN})
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=lax", "secure", "path=/tagship"))
    assert ADMIN_TOKEN not in cookie
    assert answer.headers["location"] == "/tagship/"


async def test_a_wrong_token_begins_nothing_and_is_not_repeated(pool: Pool) -> None:
    async with browser(pool) as client:
        answer = await client.post("/signin", data={"token": "tagship_mistyped"})
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert "not a valid token" in answer.text
        assert "mistyped<" not in answer.text.replace("is mistyped", "")
        assert COOKIE not in client.cookies


async def test_wrong_tokens_have_to_pause_at_this_door_too(pool: Pool) -> None:
    async with browser(pool) as client:
        answers = [await client.post("/signin", data={"token": f"wrong-{number}"}) for number in range(11)]
        assert answers[9].status_code == HTTPStatus.UNAUTHORIZED
        assert answers[10].status_code == HTTPStatus.TOO_MANY_REQUESTS
        api = await client.get("/api/v1/images", headers={"Authorization": "Bearer wrong-too"})
        assert api.status_code == HTTPStatus.TOO_MANY_REQUESTS


async def test_a_form_of_another_site_signs_nobody_in(pool: Pool) -> None:
    async with browser(pool) as client:
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
            answer = await client.post("/signin", data={"token": ADMIN_TOKEN}, headers=headers)
            assert answer.status_code == HTTPStatus.FORBIDDEN
            assert COOKIE not in client.cookies
        answer = await client.post("/signin", data={"token": ADMIN_TOKEN}, headers={"origin": "http://tagship"})
        assert answer.status_code == HTTPStatus.SEE_OTHER


async def test_a_session_may_what_its_token_may_and_changes_need_the_csrf_token(pool: Pool) -> None:
    async with browser(pool) as client:
        csrf = await signed_in(client, await token_for(pool, Role.DEPLOY))
        product = {"name": "Allianz", "slug": "allianz", "port": 8001}
        assert (await client.get("/api/v1/products")).json() == []
        for wrong in (b"", b"x" * len(csrf), "ü".encode()):
            refused = await client.post("/api/v1/products", json=product, headers={b"X-CSRF-Token": wrong})
            assert refused.status_code == HTTPStatus.FORBIDDEN
            assert "CSRF" in refused.json()["detail"]
        made = await client.post("/api/v1/products", json=product, headers={"X-CSRF-Token": csrf})
        assert made.status_code == HTTPStatus.CREATED
        refused = await client.post(
            "/api/v1/tokens", json={"name": "a", "role": "read"}, headers={"X-CSRF-Token": csrf}
        )
        assert refused.status_code == HTTPStatus.FORBIDDEN
        assert "role" in refused.json()["detail"]
    async with transaction(pool) as conn:
        doors = await conn.fetch("select action, via from audit_log order by id")
    assert [tuple(row) for row in doors] == [("sign_in", "dashboard"), ("create_product", "dashboard")]


async def test_the_csrf_token_of_one_session_is_of_no_use_in_another(pool: Pool) -> None:
    async with browser(pool) as one, browser(pool) as other:
        foreign = await signed_in(other)
        await signed_in(one)
        refused = await one.post("/api/v1/retention", headers={"X-CSRF-Token": foreign})
        assert refused.status_code == HTTPStatus.FORBIDDEN


async def test_whoever_signs_out_leaves_nothing_behind(pool: Pool) -> None:
    async with browser(pool) as client:
        csrf = await signed_in(client)
        kept = dict(client.cookies)
        assert (await client.post("/signout", data={"csrf": "wrong"})).status_code == HTTPStatus.FORBIDDEN
        assert (await client.get("/")).status_code == HTTPStatus.OK
        assert (await client.post("/signout", data={"csrf": csrf})).status_code == HTTPStatus.SEE_OTHER
        assert COOKIE not in client.cookies
        client.cookies.update(kept)
        assert (await client.get("/")).status_code == HTTPStatus.SEE_OTHER
        assert (await client.get("/api/v1/images")).status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    "ends",
    [
        "update tokens set revoked_at = now()",
        "update tokens set expires_at = now()",
        "update sessions set expires_at = now()",
        "delete from sessions",
    ],
)
async def test_a_session_ends_with_its_token_and_with_its_time(pool: Pool, ends: str) -> None:
    async with browser(pool) as client:
        await signed_in(client, await token_for(pool, Role.READ))
        async with transaction(pool) as conn:
            await conn.execute(ends)
        assert (await client.get("/")).status_code == HTTPStatus.SEE_OTHER
        assert (await client.get("/live")).status_code == HTTPStatus.UNAUTHORIZED


async def test_the_administrators_sessions_end_when_the_settings_name_another_token(pool: Pool) -> None:
    async with browser(pool) as client:
        await signed_in(client)
        async with transaction(pool) as conn:
            await conn.execute("update sessions set token_hash = sha256('another')")
        assert (await client.get("/")).status_code == HTTPStatus.SEE_OTHER


async def test_a_cookie_that_was_tampered_with_is_nobodys(pool: Pool) -> None:
    async with browser(pool) as client:
        await signed_in(client)
        good = client.cookies[COOKIE]
        secret, _, signature = good.partition(".")
        for bad in (secret, f"{secret}.", f".{signature}", f"{secret[:-1]}x.{signature}", "x" * 10_000, f"{good}.x"):
            client.cookies.clear()
            answer = await client.get("/", headers={"Cookie": f"{COOKIE}={bad}"})
            assert answer.status_code == HTTPStatus.SEE_OTHER, bad


async def test_the_database_keeps_nothing_that_would_let_anybody_in(pool: Pool) -> None:
    async with browser(pool) as client:
        await signed_in(client)
        cookie = client.cookies[COOKIE]
    async with transaction(pool) as conn:
        [row] = await conn.fetch("select s::text as kept from sessions s")
    assert cookie.partition(".")[0] not in row["kept"]
    assert ADMIN_TOKEN not in row["kept"]


async def test_pages_allow_no_inline_script_and_are_kept_nowhere(pool: Pool) -> None:
    async with browser(pool) as client:
        await signed_in(client)
        for path in PAGES:
            answer = await client.get(path)
            policy = answer.headers["content-security-policy"]
            assert "unsafe" not in policy
            assert "script-src 'self'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert "<script>" not in answer.text
            assert " style=" not in answer.text


async def test_behind_a_path_every_link_begins_with_it_whether_the_proxy_takes_it_away_or_not(pool: Pool) -> None:
    async with browser(pool, public_url="http://ops.example/tagship") as client:
        await client.post("/signin", data={"token": ADMIN_TOKEN})
        cookie = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
        for path in ("/products", "/tagship/products"):
            page = await client.get(path, headers=cookie)
            assert page.status_code == HTTPStatus.OK
            links = [part.partition('"')[0] for part in page.text.split('href="')[1:]]
            assert [link for link in links if link.startswith("/")] == [
                link for link in links if link.startswith("/tagship/")
            ]
            assert any(link.endswith("/tagship.css") for link in links)
            assert (await client.get(path.replace("products", "api/v1/images"), headers=cookie)).json() == []
        style = next(link for link in links if link.endswith("/tagship.css"))
        assert (await client.get(style)).headers["content-type"].startswith("text/css")


@pytest.mark.parametrize(
    "name", ["../shell.py", "..%2fshell.py", "%2e%2e/shell.py", "nothing.css", "", "tagship.css/x"]
)
async def test_static_files_are_those_of_their_folder_only(pool: Pool, name: str) -> None:
    async with browser(pool) as client:
        assert (await client.get(f"/static/x/{name}")).status_code == HTTPStatus.NOT_FOUND


async def test_an_address_that_is_no_page_is_a_page_for_people_and_a_problem_for_programs(pool: Pool) -> None:
    async with browser(pool) as client:
        page = await client.get("/nothing<b>", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        problem = await client.get("/nothing")
    assert page.status_code == problem.status_code == HTTPStatus.NOT_FOUND
    assert "there is nothing at /nothing&lt;b&gt;" in page.text.replace("%3Cb%3E", "&lt;b&gt;")
    assert problem.headers["content-type"] == "application/problem+json"
