"""The log of a build in a real browser, measured: how long until all of it can be read, and what it weighs then.

Shows so many lines (200,000) with colours and steps in the page of an image, from an answer that is there at once, and
the same lines as what is simplest: an element each. Prints both, and their ratio.

    python -m tests.bench.log_viewer [LINES]
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from playwright.async_api import async_playwright

from app.builds.model import BuildId, BuildState, Image, ImageId, Source
from app.dashboard.image import BuildRow, Shown, why
from app.dashboard.shell import NAV, TEMPLATES
from app.dashboard.static import FOLDER, TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Page, Route

LINES: Final = 200_000
PER_STEP: Final = 50
PIECE: Final = 64 * 1024
SITE: Final = "http://tagship.test"
CHROMIUM: Final = "/usr/bin/chromium"
ARGUMENTS: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
NOW: Final = datetime(2026, 11, 27, 12, tzinfo=UTC)
NAIVE: Final = """(text) => {
  const box = document.body.appendChild(document.createElement("pre"));
  for (const line of text.split("\\n")) box.appendChild(document.createElement("div")).textContent = line;
  return box.offsetHeight;
}"""


def log_text(count: int) -> str:
    """So many lines as BuildKit would have them."""
    lines = []
    for number in range(count):
        step = number // PER_STEP + 1
        head = f"#{step} [{step}/{count // PER_STEP}] RUN make part-{step}"
        said = f"#{step} 0.{number % PER_STEP:03d} \x1b[3{number % 8}mcompiled\x1b[0m part-{number}.c"
        lines.append(said if number % PER_STEP else head)
    return "\n".join(lines) + "\n"


def stream(text: str) -> Iterator[str]:
    """The events of a log, as the API would send them."""
    for number, start in enumerate(range(0, len(text), PIECE), 1):
        data = json.dumps({"at": "2026-11-27T12:00:00.000Z", "text": text[start : start + PIECE]})
        yield f"id: 7.{number}\nevent: log\ndata: {data}\n\n"
    yield "event: end\ndata: success\n\n"


def page_html() -> str:
    """The page of an image, as the dashboard renders it."""
    image = Image(
        ImageId(5), "bre", "v1", "acme/bre", "refs/tags/v1", "a" * 40, BuildState.SUCCESS, None, 1, BuildId(7),
        None, None, None, None, None, None, NOW, None,
    )  # fmt: skip
    build = BuildRow(
        7, "success", Source.API, "a" * 40, 1, None, None, None, None, NOW, NOW, NOW, None,
        {"dockerfile": "Dockerfile", "context": ".", "target": None, "build_args": {}}, False, 1.0, 0.0,
        None, None, None, None,
    )  # fmt: skip
    return TEMPLATES.get_template("image.html").render(
        base="", title="bre:v1", nav=NAV, path="/images/5", principal=None, csrf=None, may=lambda _role: False,
        static=lambda name: f"/static/{name}", shown=Shown(image, build, build, [build], None, [], 0, None),
        image=image, chosen=None, older="", web="https://github.test", why=why,
        what_rebuilding_does="", what_deleting_does="",
    )  # fmt: skip


async def seconds_of_viewer(page: Page, text: str, count: int) -> float:
    async def answer(route: Route) -> None:
        path = route.request.url.removeprefix(SITE).partition("?")[0]
        if path.startswith("/static/"):
            file = FOLDER / path.removeprefix("/static/")
            await route.fulfill(body=file.read_bytes(), content_type=TYPES[file.suffix])
        elif path == "/api/v1/images/5/log":
            await route.fulfill(body="".join(stream(text)), content_type="text/event-stream")
        elif path == "/images/5":
            await route.fulfill(body=page_html(), content_type="text/html; charset=utf-8")
        else:
            await route.fulfill(status=204)

    await page.route(f"{SITE}/**", answer)
    began = time.perf_counter()
    await page.goto(f"{SITE}/images/5")
    await page.get_by_text(f"{count:,} lines", exact=True).wait_for(timeout=600_000)
    return time.perf_counter() - began


async def seconds_of_naive(page: Page, text: str) -> float:
    began = time.perf_counter()
    await page.evaluate(NAIVE, text)
    return time.perf_counter() - began


async def elements(page: Page) -> int:
    return int(await page.evaluate("document.querySelectorAll('*').length"))


async def main(count: int) -> None:
    text = log_text(count)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()
        ours = await seconds_of_viewer(page, text, count)
        our_elements = await elements(page)
        page = await browser.new_page()
        naive = await seconds_of_naive(page, text)
        naive_elements = await elements(page)
        await browser.close()
    print(f"{count:,} lines, {len(text) / 2**20:.0f} MiB")
    print(f"viewer          {ours:6.1f} s  {our_elements:9,} elements  {count / ours:11,.0f} lines/s")
    print(
        f"an element each {naive:6.1f} s  {naive_elements:9,} elements  {count / naive:11,.0f} lines/s, without colours"
    )
    print(f"ratio           {naive / ours:6.1f}    {naive_elements / our_elements:9,.0f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else LINES))
