"""The pictures of the README, drawn anew: ``python -m tests.browser.screens FOLDER``, with Chromium and an engine."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.async_api import expect

from app.postgres.embedded import EmbeddedPostgres
from tests.browser.scenery import set_up
from tests.browser.still import standing_still
from tests.browser.visitor import chromium, visiting
from tests.world import TOKEN

if TYPE_CHECKING:
    from playwright.async_api import Route, ViewportSize

    from tests.browser.visitor import Visitor

SIZE: Final[ViewportSize] = {"width": 1280, "height": 880}
TALL: Final[ViewportSize] = {"width": 1280, "height": 1000}


async def main(folder: Path) -> None:
    """Put ``readme-overview.png`` and ``readme-image.png`` into a folder."""
    with tempfile.TemporaryDirectory(prefix="tagship-screens-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)  # PostgreSQL drops to another account and has to pass
        postgres = await EmbeddedPostgres.start(place / "postgres", durable=False)
        try:
            async with (
                standing_still(place, postgres.dsn) as still,
                chromium() as browser,
                visiting(browser, still.url, viewport=SIZE) as visitor,
            ):
                scene = await set_up(still.services, still.github, trouble=False)
                await _draw(visitor, folder, scene.failed)
        finally:
            await postgres.stop()


async def _draw(visitor: Visitor, folder: Path, image: int) -> None:
    page = visitor.page
    await page.route("**/api/v1/drift", _in_step)  # nothing of the scenery stands on the engine
    await visitor.enter(TOKEN)
    await expect(page.locator("#live-state")).to_have_text("live")
    await page.screenshot(path=folder / "readme-overview.png")
    await page.set_viewport_size(TALL)
    await visitor.go(f"/images/{image}")
    await expect(page.locator("#live-state")).to_have_text("live")
    await page.get_by_role("button", name="Jump to the error").first.click()
    await expect(page.locator("#log-lines .marked")).to_be_in_viewport()
    await page.evaluate("() => scrollTo(0, 0)")
    await page.screenshot(path=folder / "readme-image.png")


async def _in_step(route: Route) -> None:
    now = datetime.now(UTC).isoformat()
    await route.fulfill(json={"checked_at": now, "compared": 16, "drifted": []})


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
