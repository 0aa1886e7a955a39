"""Behind a reverse proxy, below a path: every link, file, call and stream stays below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import expect

from app.dashboard.shell import NAV
from app.postgres.pool import transaction
from app.repositories import store as repositories
from app.repositories.model import MovedTagPolicy
from app.repositories.recipe import Recipe
from tests.browser.proxy import Proxy
from tests.browser.still import standing_still
from tests.browser.visitor import visiting
from tests.factories import queue_build
from tests.world import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

    from app.engine.client import Engine
    from tests.browser.still import Still

PREFIX: Final = "/ops/tagship"


async def _waiting_image(still: Still) -> int:
    await still.github.create_repository("acme/bre", {"Dockerfile": "FROM busybox\n"})
    await still.github.tag("acme/bre", "v1.0.0")
    async with transaction(still.services.pool) as conn:
        await repositories.insert(
            conn,
            repo="acme/bre",
            image_name="bre",
            tag_pattern="*",
            recipe=Recipe(),
            on_moved_tag=MovedTagPolicy.REBUILD,
        )
    image, _ = await queue_build(still.services.pool, tag="v2.0.0")
    return image


@pytest.mark.parametrize("strips", [True, False], ids=["the path is taken away", "the path is passed on"])
async def test_everything_works_below_a_path(
    browser: Browser, tmp_path: Path, database: str, engine: Engine, strips: bool
) -> None:
    proxy = Proxy(PREFIX, strips=strips)
    async with proxy.serving() as root:
        url = root + PREFIX
        async with standing_still(tmp_path, database, TAGSHIP_PUBLIC_URL=url) as still:
            proxy.target = still.url
            image = await _waiting_image(still)
            async with visiting(browser, url) as visitor:
                page = visitor.page
                await visitor.go("/images?of=acme/bre")
                await visitor.sign_in(TOKEN)
                await expect(page.get_by_text("v1.0.0").first).to_be_visible()
                assert visitor.path == "/images?of=acme/bre"
                [cookie] = await page.context.cookies()
                assert cookie["path"] == PREFIX

                for path, name in NAV:
                    await (
                        page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name=name).click()
                    )
                    await expect(page).to_have_url(url + path)
                    await expect(page.locator("#live-state")).to_have_text("live")

                await visitor.go(f"/images/{image}")
                await expect(page.locator("#log-count")).to_have_text("Nothing is written yet.")
                await visitor.button("Cancel build").click()
                await visitor.confirm("Cancel the build")
                await expect(page.locator("#image .chip")).to_contain_text("cancelled")
                await expect(page.locator("#log-count")).to_have_text("There is no log.")
                await visitor.button("Delete").click()
                await visitor.confirm("Delete")
                await expect(page).to_have_url(f"{url}/images")

                await visitor.button("Sign out").click()
                await expect(page).to_have_url(f"{url}/signin")
                assert await page.context.cookies() == []
