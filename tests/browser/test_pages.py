"""Every page, in light and dark, wide and on a phone: it asks nobody else, breaks nothing, and keeps nobody out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import expect
from starlette.routing import Route

from app.api.auth import Doorkeeper
from app.builds import store as builds
from app.dashboard.pages import dashboard_routes
from app.postgres.pool import transaction
from tests.browser.axe import grave_findings
from tests.browser.looks import findings_in_both_schemes
from tests.browser.scenery import HOSTILE, set_up
from tests.browser.visitor import PATIENCE_MS, PHONE, WIDE, visiting
from tests.world import TOKEN

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Request

    from tests.browser.scenery import Scene
    from tests.browser.still import Still
    from tests.browser.visitor import Visitor

PAGES: Final = {
    "signin": "/signin",
    "overview": "/",
    "charts": "/charts",
    "images": "/images?of=acme/bre-payments",
    "tags": "/images/tags?repo=acme/bre-payments",
    "image-built": "/images/{built}",
    "image-failed": "/images/{failed}",
    "image-building": "/images/{building}",
    "image-pending": "/images/{pending}",
    "image-cancelled": "/images/{cancelled}",
    "products": "/products",
    "product-new": "/products/new",
    "product-running": "/products/{running}",
    "product-rolled-back": "/products/{rolled_back}",
    "product-stopped": "/products/{stopped}",
    "product-broken": "/products/{broken}",
    "deliveries": "/deliveries",
    "delivery": "/deliveries/1",
    "delivery-hostile": "/deliveries/{hostile}",
    "activity": "/activity",
    "settings": "/settings",
    "settings-channels": "/settings/channels",
    "settings-notices": "/settings/notices",
    "settings-tokens": "/settings/tokens",
    "settings-system": "/settings/system",
    "wrong": "/images/999999",
}
WRONG: Final = {"wrong"}
NO_PAGES: Final = {"/static/{version}/{name}", "/live"}
NARROWEST: Final = 360
NOWHERE: Final = -1
MOST_STOPS: Final = 12  # in one field

OVERHANGS: Final = """() => [...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .slice(0, 5).map((one) => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`)"""

REACHABLE: Final = """() => {
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")];
  return all.filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled && one.tabIndex >= 0);
}"""
NAMES: Final = f"""() => ({REACHABLE})().map((one) => {{
  const words = one.ariaLabel ?? one.textContent;
  return `${{one.tagName}} ${{words.trim().slice(0, 40)}}`;
}})"""
UNFOLD: Final = "() => { for (const one of document.querySelectorAll('details')) one.open = true; }"
FROM_THE_TOP: Final = """() => {
  scrollTo(0, 0);
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute("tabindex");
}"""
FOCUSED: Final = f"""() => {{
  const {{ activeElement }} = document;
  return [({REACHABLE})().indexOf(activeElement), getComputedStyle(activeElement).outlineStyle !== "none"];
}}"""


@pytest.fixture(scope="module")
async def scene(still: Still) -> Scene:
    """What the paths of pages name."""
    return await set_up(still.services, still.github)


def test_every_page_that_there_is_is_looked_at(still: Still) -> None:
    routes = dashboard_routes(still.services, Doorkeeper())
    served = {route.path for route in routes if isinstance(route, Route) and "GET" in (route.methods or ())}
    kinds = {path.partition("?")[0].split("/{")[0] for path in PAGES.values()}
    missing = {path for path in served - NO_PAGES if path.split("/{")[0] not in kinds}
    assert not missing, f"add to PAGES: {sorted(missing)}"


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_works_for_everybody(browser: Browser, still: Still, scene: Scene, name: str) -> None:
    async with visiting(browser, still.url) as visitor:
        if name != "signin":
            await visitor.enter(TOKEN)
        if name in WRONG:
            visitor.expected.add(404)
        await _opened(visitor, PAGES[name].format_map(vars(scene)))
        if name != "signin":  # whose field has the focus from the start
            await _skips_the_navigation(visitor.page)
        await visitor.page.evaluate(UNFOLD)
        await _all_of_it_is_reached_by_keys(visitor.page)
        findings = []
        for width, size in (("1280", WIDE), ("390", PHONE)):
            await visitor.page.set_viewport_size(size)
            findings += await findings_in_both_schemes(visitor, f"{name}-{width}")
        assert not findings, "\n".join(findings)
        await visitor.page.set_viewport_size({"width": NARROWEST, "height": 640})
        assert await visitor.page.evaluate("() => document.documentElement.scrollWidth") <= NARROWEST, (
            f"it scrolls sideways: {await visitor.page.evaluate(OVERHANGS)}"
        )


async def _opened(visitor: Visitor, path: str) -> None:
    """Go to a page and wait until it follows, has read itself anew once, and has all that it asks for afterwards."""
    page, read_anew = visitor.page, asyncio.Event()

    def finished(request: Request) -> None:
        if request.resource_type == "fetch" and request.url == page.url.partition("#")[0]:
            read_anew.set()

    page.on("requestfinished", finished)
    await visitor.go(path)
    if await page.locator("#live-state").count():
        await expect(page.locator("#live-state")).to_have_text("live")
    if await page.locator("[data-live]").count():
        async with asyncio.timeout(PATIENCE_MS / 1000):
            await read_anew.wait()
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)


async def _skips_the_navigation(page: Page) -> None:
    """The first stop of the keys leads past the navigation."""
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()


async def _all_of_it_is_reached_by_keys(page: Page) -> None:
    """Tab goes through everything that can be used, in the order in which it is read, and one sees where one is."""
    names = await page.evaluate(NAMES)
    await page.evaluate(FROM_THE_TOP)
    stops: list[int] = []
    for _ in range(MOST_STOPS * len(names)):
        await page.keyboard.press("Tab")
        stop, is_seen = await page.evaluate(FOCUSED)
        if stop in stops[-1:]:
            continue  # a field for a time has several stops
        if stop == NOWHERE or stop in stops:
            break
        assert is_seen, f"nobody sees that {names[stop]} has the focus"
        stops.append(stop)
    missed = [name for number, name in enumerate(names) if number not in stops]
    assert not missed, f"not reached by Tab: {missed}"
    assert stops == sorted(stops), f"reached out of order: {[names[stop] for stop in stops]}"


async def test_what_strangers_sent_stands_there_as_text(browser: Browser, still: Still, scene: Scene) -> None:
    async with visiting(browser, still.url) as visitor:
        await visitor.enter(TOKEN)
        await visitor.go(f"/deliveries/{scene.hostile}")
        await expect(visitor.page.locator("pre.payload")).to_contain_text(HOSTILE)
        assert await visitor.page.locator("main script, main img").count() == 0


async def test_the_keyboard_stays_where_it_was_when_a_part_is_renewed(
    browser: Browser, still: Still, scene: Scene
) -> None:
    async with visiting(browser, still.url) as visitor:
        await visitor.enter(TOKEN)
        flights = visitor.page.get_by_role("region", name="In flight")
        link = flights.get_by_role("link", name=f"{scene.build.name}:{scene.build.tag}")
        await link.focus()
        before = await link.element_handle()
        async with transaction(still.services.pool) as conn:
            assert await builds.append_log(conn, scene.build.lease, 2, "#7 [5/6] COPY . .\n")
        await expect(flights).to_contain_text("step 5 of 6")
        await expect(link).to_be_focused()
        assert not await before.evaluate("(one) => one.isConnected"), "it is another link than the one of before"


async def test_the_document_of_the_api_needs_nobody_else(browser: Browser, still: Still) -> None:
    async with visiting(browser, still.url) as visitor:
        await visitor.go("/docs")
        await expect(visitor.page.locator(".opblock").first).to_be_visible()


async def test_whatever_a_page_breaks_fails_its_test(browser: Browser, still: Still) -> None:
    """The watch itself: each kind of fault is seen, so that a page without any has none."""
    async with visiting(browser, still.url) as visitor:
        await visitor.go("/signin")
        await visitor.page.evaluate("() => document.body.setAttribute('style', 'color: red')")
        await visitor.page.evaluate("() => { setTimeout(() => { throw new Error('a bug'); }) }")
        await visitor.page.evaluate("() => fetch('/nothing/here').then(() => null)")
        await visitor.page.evaluate("() => { document.querySelector('label').remove() }")
        assert any("label" in one for one in await grave_findings(visitor.page))
        for word in ("style-src", "a bug", "answered 404"):
            assert any(word in fault for fault in visitor.faults), (word, visitor.faults)
        visitor.faults.clear()
