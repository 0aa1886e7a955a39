"""The log of a build on its page: it follows, it is searched, it shows text as text, and no length makes it stop."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import expect

from app.builds import store as builds
from app.postgres.pool import transaction
from tests.browser import logs
from tests.browser.visitor import PATIENCE_MS, visiting
from tests.factories import claimed_build, succeed
from tests.waiting import until
from tests.world import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.async_api import Browser, Locator, Page

    from app.builds.model import ClaimedBuild
    from tests.browser.still import Still
    from tests.browser.visitor import Visitor

    Written = Callable[[str], object]

LONG: Final = 200_000
LOOK_MS: Final = 100
NOT_RELOADED: Final = "window.notReloaded === true"

AS_IN_THE_BACKGROUND: Final = """() => {
  const draw = window.requestAnimationFrame.bind(window), waiting = [];
  let hidden = true;
  window.requestAnimationFrame = (callback) => (hidden ? waiting.push(callback) : draw(callback));
  window.comeToTheFront = () => {
    hidden = false;
    for (const callback of waiting) draw(callback);
  };
  window.arrived = 0;
  const Stream = window.EventSource;
  window.EventSource = class extends Stream {
    constructor(...given) {
      super(...given);
      this.addEventListener("log", () => { window.arrived += 1; });
    }
  };
  document.addEventListener("DOMContentLoaded", () => {
    const count = document.getElementById("log-count"), follow = document.getElementById("log-follow");
    if (!count) return;
    follow.addEventListener("click", () => { window.countAtClick ??= count.textContent; });
    new MutationObserver(() => {
      if (/^[1-9].* so far$/.test(count.textContent) && !window.countAtClick) setTimeout(() => follow.click());
    }).observe(count, { childList: true });
  });
}"""
"""A window that nobody sees draws nothing, so that all of a log waits for it to come to the front; then somebody clicks
as soon as there is something to read.
"""


class Writer:
    """A build under way whose log grows when a test says so."""

    def __init__(self, still: Still, claimed: ClaimedBuild) -> None:
        self.claimed = claimed
        self._pool, self._numbers = still.services.pool, count(1)

    async def write(self, *pieces: str) -> None:
        async with transaction(self._pool) as conn:
            for piece in pieces:
                assert await builds.append_log(conn, self.claimed.lease, next(self._numbers), piece)

    async def fail(self, error: str) -> None:
        async with transaction(self._pool) as conn:
            assert await builds.fail(conn, self.claimed.lease, error)

    async def succeed(self) -> None:
        await succeed(self._pool, self.claimed)


@pytest.fixture
async def writer(still: Still) -> Writer:
    return Writer(still, await claimed_build(still.services.pool))


def lines_of(page: Page) -> Locator:
    """The rows of the log that are in the page."""
    return page.locator("#log-lines .line .text")


async def scroll_top(page: Page) -> float:
    top: float = await page.locator("#log-view").evaluate("(view) => view.scrollTop")
    return top


async def opened(visitor: Visitor, writer: Writer) -> None:
    await visitor.enter(TOKEN)
    await visitor.go(f"/images/{writer.claimed.image_id}")
    await visitor.page.evaluate("() => { window.notReloaded = true; }")


async def test_lines_come_by_themselves_until_one_reads_further_up(
    browser: Browser, still: Still, writer: Writer
) -> None:
    async with visiting(browser, still.url) as visitor:
        page = visitor.page
        await opened(visitor, writer)
        await expect(page.locator("#log-count")).to_have_text("Nothing is written yet.")
        await writer.write("the first line\n")
        await expect(lines_of(page)).to_have_text(["the first line"])
        await writer.write("".join(f"line {number}\n" for number in range(200)))
        await expect(lines_of(page).last).to_have_text("line 199")
        await expect(visitor.button("Following")).to_have_attribute("aria-pressed", "true")

        await page.locator("#log-view").press("PageUp")
        await expect(visitor.button("Follow")).to_have_attribute("aria-pressed", "false")
        kept = await until(lambda: _resting(page), "the log has scrolled")
        await writer.write("a line that nobody waits for\n")
        await expect(page.locator("#log-count")).to_have_text("202 lines so far")
        assert await scroll_top(page) == kept
        await visitor.button("Follow").click()
        await expect(lines_of(page).last).to_have_text("a line that nobody waits for")

        await writer.write("the last line\n")
        await writer.succeed()
        await expect(page.locator("#image .chip").first).to_contain_text("success")
        await expect(page.locator("#log-count")).to_have_text("203 lines")
        await expect(lines_of(page).last).to_have_text("the last line")
        await expect(page.locator("#log-follow")).to_be_hidden()
        assert await page.evaluate(NOT_RELOADED)


async def test_a_search_leads_from_match_to_match(browser: Browser, still: Still, writer: Writer) -> None:
    text = "".join(f"{'a Needle in' if number % 100 == 50 else 'only'} hay {number}\n" for number in range(300))
    await writer.write(text)
    await writer.succeed()
    async with visiting(browser, still.url) as visitor:
        page = visitor.page
        await opened(visitor, writer)
        await expect(page.locator("#log-count")).to_have_text("300 lines")
        search = page.get_by_role("searchbox", name="Search in the log")
        await search.fill("needle")
        for number, step in ((1, "Enter"), (2, "Enter"), (3, "Shift+Enter"), (2, "Shift+Enter"), (1, "")):
            await expect(page.locator("#log-found")).to_have_text(f"{number} of 3 lines")
            now = page.locator("#log-lines .hit.now")
            await expect(now).to_have_text("Needle")
            await expect(now).to_be_in_viewport()
            if step:
                await search.press(step)
        await search.fill("haystack")
        await expect(page.locator("#log-found")).to_have_text("no match")


async def test_a_failed_build_shows_the_error_first_and_again_on_demand(
    browser: Browser, still: Still, writer: Writer
) -> None:
    await writer.write("".join(f"line {number}\n" for number in range(300)), logs.FAILURE)
    await writer.fail(logs.WHY_IT_FAILED)
    async with visiting(browser, still.url) as visitor:
        page = visitor.page
        await opened(visitor, writer)
        await expect(page.locator("#image .reason")).to_contain_text(logs.WHY_IT_FAILED)
        marked = page.locator("#log-lines .marked")
        await expect(marked).to_contain_text("npm error code EUSAGE")
        await page.locator("#log-view").press("Home")
        await expect(lines_of(page).first).to_have_text("line 0")
        await page.get_by_role("group", name="Read the log").get_by_role("button", name="Jump to the error").click()
        await expect(marked).to_be_in_viewport()


async def test_what_a_container_writes_is_text_and_nothing_else(browser: Browser, still: Still, writer: Writer) -> None:
    await writer.write(logs.BEGINNING, logs.HOSTILE)
    async with visiting(browser, still.url) as visitor:
        page = visitor.page
        page.on("dialog", lambda dialog: visitor.faults.append(f"a dialog opened: {dialog.message}"))
        await opened(visitor, writer)
        line = lines_of(page).filter(has_text="alert(1)")
        await expect(line).to_contain_text(logs.SCRIPT)
        await expect(line).to_contain_text("<img src=x onerror=alert(2)>")
        await expect(lines_of(page).filter(has_text="hidden")).to_have_text(re.compile(r"^#6 5\.002 red hidden link$"))
        assert await page.locator("#log script, #log img, #log-lines .text a").count() == 0
        assert "a title" not in await page.title()


async def test_a_log_of_any_length_leaves_the_page_free_to_answer(
    browser: Browser, still: Still, writer: Writer
) -> None:
    await writer.write(*logs.endless(LONG))
    async with visiting(browser, still.url) as visitor:
        page = visitor.page
        await page.add_init_script(f"({AS_IN_THE_BACKGROUND})()")
        await opened(visitor, writer)
        await page.wait_for_function(f"() => window.arrived === {LONG // logs.PIECE_LINES}", polling=LOOK_MS)
        await page.evaluate("() => window.comeToTheFront()")
        await page.wait_for_function("() => window.countAtClick")
        taken = int(re.sub(r"\D", "", await page.evaluate("() => window.countAtClick")))
        assert 0 < taken < LONG, "a click is answered while lines are still taken in"
        await expect(page.locator("#log-count")).to_have_text(f"{LONG:,} lines so far", timeout=2 * PATIENCE_MS)
        await expect(visitor.button("Follow")).to_have_attribute("aria-pressed", "false")
        assert await lines_of(page).count() < 200, "only what one sees is in the page"

        await page.locator("#log-view").press("End")
        await expect(lines_of(page).last).to_have_text(re.compile("DONE 1.0s"))
        await page.get_by_role("searchbox", name="Search in the log").fill(f"line {LONG // 2 + 7}")
        await expect(page.locator("#log-found")).to_have_text("1 of 1 lines")
        await expect(page.locator("#log-lines .hit.now")).to_be_in_viewport()
        await visitor.button("Fold all steps").click()
        await expect(page.locator("#log-fold")).to_have_attribute("aria-pressed", "true")


async def _resting(page: Page) -> float | None:
    """How far down the log is, once it does not move any more."""
    before = await scroll_top(page)
    await page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    return before if before == await scroll_top(page) else None
