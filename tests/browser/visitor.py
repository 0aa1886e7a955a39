"""Somebody in front of Debian's Chromium, who clicks and reads; and whatever the browser complains about meanwhile."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.async_api import async_playwright, expect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Locator,
        Page,
        Request,
        Response,
        ViewportSize,
        WebError,
    )

WIDE: Final[ViewportSize] = {"width": 1280, "height": 900}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
PATIENCE_MS: Final = 30_000
"""How long a click or a look waits for what it needs; a page that works needs milliseconds."""

QUIET: Final = (
    "--no-sandbox",  # Chromium's own sandbox cannot be had by root, and these pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
ARTIFACTS: Final = Path(os.environ.get("TAGSHIP_ARTIFACTS") or Path(__file__).resolve().parents[2] / ".artifacts")
"""Where pictures of pages are kept: nothing reads them but people."""


@dataclass
class Visitor:
    """One browser window at Tagship, which begins at ``url``. ``expected`` holds the bad answers that a test asks for;
    everything else that goes wrong is a fault, and the test fails with it.
    """

    page: Page
    url: str
    expected: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        """Open a page of Tagship; its scripts have run then."""
        answer = await self.page.goto(self.url + path, wait_until="load")
        assert answer is not None
        assert answer.ok or answer.status in self.expected, await answer.text()

    async def sign_in(self, token: str) -> None:
        """Fill in the form that is shown, as a person does."""
        await self.page.get_by_label("API token").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()

    async def enter(self, token: str) -> None:
        """Sign in on a fresh window; the overview is shown then."""
        await self.go("/signin")
        await self.sign_in(token)
        await expect(self.page.get_by_role("heading", name="Overview", level=1)).to_be_attached()

    async def confirm(self, button: str) -> None:
        """Answer the question that a change asks, by the button that says yes to it."""
        await self.page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()

    def button(self, name: str) -> Locator:
        """A button by the words on it."""
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def path(self) -> str:
        """Where the window is, below Tagship's own address."""
        return self.page.url.removeprefix(self.url)

    async def picture(self, name: str) -> None:
        """Keep what the window shows, all of it, among the artifacts."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)

    # ------------------------------------------------------------ faults

    def listen(self, context: BrowserContext) -> None:
        """Note from now on what the browser complains about, in whichever of its windows."""
        context.on("console", self._said)
        context.on("weberror", self._crashed)
        context.on("requestfailed", self._failed)
        context.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        # Of a bad answer the console says less than the answer itself.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"console {message.type}: {message.text}")

    def _crashed(self, error: WebError) -> None:
        self.faults.append(f"a script crashed: {error.error.stack or error.error.message}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left, or the answer became a file
            self.faults.append(f"{request.method} {request.url} failed: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= HTTPStatus.BAD_REQUEST and response.status not in self.expected:
            self.faults.append(f"{response.request.method} {response.url} was answered {response.status}")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A Chromium without a window of its own."""
    expect.set_options(timeout=PATIENCE_MS)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.fail("Chromium is missing: apt-get install chromium fonts-dejavu-core", pytrace=False)
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=program, args=QUIET) as browser,
    ):
        yield browser


@asynccontextmanager
async def visiting(browser: Browser, url: str, **options: Any) -> AsyncIterator[Visitor]:
    """A fresh window, without cookies; the block fails at its end when the browser complained about anything."""
    context = await browser.new_context(**({"viewport": WIDE, "reduced_motion": "reduce"} | options))
    context.set_default_timeout(PATIENCE_MS)
    try:
        visitor = Visitor(await context.new_page(), url)
        visitor.listen(context)
        yield visitor
    finally:
        await context.close()
    assert not visitor.faults, "\n".join(visitor.faults)
