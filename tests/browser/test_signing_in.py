"""Who comes in, as what, for how long; and that no other site gets anything done with somebody's session."""

from __future__ import annotations

from contextlib import asynccontextmanager
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest
from playwright.async_api import expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from app.access.model import Role
from app.access.sessions import COOKIE
from tests.api_client import token_for
from tests.browser.visitor import visiting
from tests.factories import built_image, product
from tests.fakes.serving import serve
from tests.world import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from playwright.async_api import Browser, Page
    from starlette.requests import Request

    from tests.browser.still import Still

CALL: Final = """async ([method, path, csrf]) => {
  const token = document.querySelector('meta[name="csrf"]')?.content ?? "";
  const answer = await fetch(path, { method, headers: csrf ? { "X-CSRF-Token": token } : {} });
  return [answer.status, (await answer.text())];
}"""


async def called(page: Page, method: str, path: str, *, csrf: bool = True) -> tuple[int, str]:
    """What a script of the page's own is answered by the API."""
    status, text = await page.evaluate(CALL, [method, f"/api/v1{path}", csrf])
    return status, text


@asynccontextmanager
async def another_site(target: str, fields: Mapping[str, str]) -> AsyncIterator[str]:
    """A page of somebody else's, whose one button sends a form to Tagship. Only its port differs: to the browser it is
    another origin, but the same site, so that the session's cookie goes along.
    """
    inputs = "".join(f'<input name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items())
    form = f'<form method="post" action="{target}">{inputs}<button>Win a prize</button></form>'

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse(f"<!doctype html><title>Prizes</title>{form}")

    async with serve(Starlette(routes=[Route("/{path:path}", page)])) as url:
        yield url


@pytest.fixture(scope="module")
async def product_id(still: Still) -> int:
    return await product(still.services.pool, await built_image(still.services.pool))


async def test_a_wrong_token_is_refused_and_the_right_one_leads_on(browser: Browser, still: Still) -> None:
    async with visiting(browser, still.url) as visitor:
        visitor.expected.add(401)
        await visitor.go("/images?name=bre")
        assert visitor.path.startswith("/signin?next=")
        await visitor.sign_in("not-a-token")
        await expect(visitor.page.get_by_role("alert").filter(has_text="not a valid token")).to_be_visible()
        await expect(visitor.page.get_by_label("API token")).to_have_value("")
        await visitor.sign_in(TOKEN)
        await expect(visitor.page.get_by_role("heading", name="Images", level=1)).to_be_visible()
        assert visitor.path == "/images?name=bre"


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Browser, still: Still) -> None:
    async with visiting(browser, still.url) as visitor:
        await visitor.enter(TOKEN)
        [cookie] = await visitor.page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Lax")
        assert await visitor.page.evaluate("() => document.cookie") == ""


async def test_who_may_only_read_has_nothing_to_click_and_is_refused(
    browser: Browser, still: Still, product_id: int
) -> None:
    pages = {"/images": "Build a tag by its name", "/images/1": "Rebuild", f"/products/{product_id}": "Start"}
    for token, may in ((TOKEN, True), (await token_for(still.services.pool, Role.READ), False)):
        async with visiting(browser, still.url) as visitor:
            await visitor.enter(token)
            for path, words in pages.items():
                await visitor.go(path)
                await expect(visitor.page.locator("main h1")).to_be_visible()
                shown = await visitor.page.locator("main button, main summary").filter(has_text=words).count()
                assert bool(shown) is may, (path, words)
            if may:
                continue
            visitor.expected.add(403)
            status, text = await called(visitor.page, "POST", f"/products/{product_id}/start")
            assert (status, "needs a token with the role deploy" in text) == (403, True)
            await visitor.go("/activity")
            await expect(visitor.page.get_by_text("this page needs the role admin")).to_be_visible()


async def test_after_signing_out_neither_back_nor_the_cookie_shows_anything(browser: Browser, still: Still) -> None:
    async with visiting(browser, still.url) as visitor:
        await visitor.enter(TOKEN)
        await visitor.go("/products")
        [kept] = await visitor.page.context.cookies()
        await visitor.button("Sign out").click()
        await expect(visitor.page.get_by_label("API token")).to_be_visible()
        await visitor.page.go_back()
        await expect(visitor.page.get_by_label("API token")).to_be_visible()
        assert visitor.path.startswith("/signin")
        visitor.expected.add(401)
        await visitor.page.context.add_cookies([{"name": COOKIE, "value": kept["value"], "url": still.url}])
        await visitor.go("/products")
        await expect(visitor.page.get_by_label("API token")).to_be_visible()
        assert (await called(visitor.page, "GET", "/products"))[0] == 401


async def test_a_token_is_shown_once_and_signs_nobody_in_after_it_is_revoked(browser: Browser, still: Still) -> None:
    async with visiting(browser, still.url) as admin, visiting(browser, still.url) as holder:
        await admin.enter(TOKEN)
        await admin.go("/settings/tokens")
        if not await admin.page.get_by_label("Name").is_visible():  # it is unfolded only where there is no token yet
            await admin.page.get_by_text("Give out a token").click()
        await admin.page.get_by_label("Name").fill("lost laptop")
        await admin.page.get_by_label("Role").select_option("deploy")
        await admin.button("Make it").click()
        await expect(admin.page.locator("#new-secret")).to_contain_text("It is not shown again.")
        secret = await admin.page.locator("#secret-value").text_content() or ""
        await holder.enter(secret)
        await expect(holder.page.get_by_text("lost laptop (deploy)")).to_be_visible()
        await admin.page.reload()
        row = admin.page.get_by_role("row").filter(has_text="lost laptop")
        await expect(row).to_be_visible()
        assert secret not in await admin.page.content()

        holder.expected.add(401)
        await row.get_by_role("button", name="Revoke").click()
        await admin.confirm("Revoke")
        await expect(row).to_contain_text("revoked")
        assert (await called(holder.page, "GET", "/products"))[0] == 401
        # The page that is open notices too: its stream ends and is refused.
        await expect(holder.page.get_by_label("API token")).to_be_visible()


async def test_another_site_cannot_change_anything_with_a_session(
    browser: Browser, still: Still, product_id: int
) -> None:
    start = f"{still.url}/api/v1/products/{product_id}/start"
    async with visiting(browser, still.url) as visitor, another_site(start, {}) as elsewhere:
        await visitor.enter(TOKEN)
        visitor.expected.add(403)
        await visitor.page.goto(elsewhere)
        async with visitor.page.expect_response(start) as answered:
            await visitor.button("Win a prize").click()
        answer = await answered.value
        assert answer.status == 403
        assert COOKIE in (await answer.request.all_headers())["cookie"], "the browser did send the session along"
        assert "CSRF token" in await answer.text()
        await visitor.go("/")
        status, _ = await called(visitor.page, "POST", f"/products/{product_id}/start", csrf=False)
        assert status == 403
    async with still.services.pool.acquire() as conn:
        assert not await conn.fetchval("select wanted from products where id = $1", product_id)


async def test_another_site_can_sign_nobody_in_or_out(browser: Browser, still: Still) -> None:
    async with visiting(browser, still.url) as visitor:
        visitor.expected.add(403)
        async with another_site(f"{still.url}/signin", {"token": TOKEN}) as elsewhere:
            await visitor.page.goto(elsewhere)
            await visitor.button("Win a prize").click()
            await expect(visitor.page.get_by_text("this form came from another site")).to_be_visible()
        assert await visitor.page.context.cookies() == []
        await visitor.enter(TOKEN)
        async with another_site(f"{still.url}/signout", {"csrf": "guessed"}) as elsewhere:
            await visitor.page.goto(elsewhere)
            await visitor.button("Win a prize").click()
            await expect(visitor.page.get_by_text("must carry its CSRF token")).to_be_visible()
        await visitor.go("/products")
        await expect(visitor.page.get_by_role("heading", name="Products", level=1)).to_be_visible()


async def test_where_to_go_after_signing_in_is_never_another_site(browser: Browser, still: Still) -> None:
    wishes = ("//elsewhere.example/", "https://elsewhere.example/", "/\\elsewhere.example", "/\t/elsewhere.example")
    async with visiting(browser, still.url) as visitor:
        for wish in (*wishes, "javascript:alert(1)"):
            await visitor.go(f"/signin?next={quote(wish, safe='')}")
            await visitor.sign_in(TOKEN)
            await expect(visitor.page.get_by_role("button", name="Sign out")).to_be_visible()
            assert visitor.page.url == f"{still.url}/", wish
