"""The dashboard's pages over a real database, as the browser of somebody who is signed in asks for them; and what is
wrong with a page.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from html.parser import HTMLParser
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import httpx

from app.web import create_app
from tests.api_client import ADDRESS, ADMIN_TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.api.services import Services

FIELDS: Final = {"input", "select", "textarea"}
EMPTY: Final = {"area", "br", "col", "hr", "img", "input", "link", "meta"}
INLINE: Final = {"a", "b", "code", "span", "time"}
NAMED: Final = {"a", "button"}
SPOKEN: Final = ("aria-label", "aria-labelledby")


@asynccontextmanager
async def signed_in(services: Services, token: str = ADMIN_TOKEN) -> AsyncIterator[httpx.AsyncClient]:
    """A browser of somebody who has signed in with a token; what crashes in a page crashes in the test."""
    transport = httpx.ASGITransport(create_app(services), client=(ADDRESS, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://tagship") as client:
        answer = await client.post("/signin", data={"token": token})
        assert answer.status_code == HTTPStatus.SEE_OTHER, answer.text
        yield client


async def page_of(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    """The HTML of a page, without flaws."""
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    assert flaws(answer.text) == []
    return answer.text


def words(html: str) -> str:
    """What one reads of a page, each run of blanks as one."""
    page = _Page()
    page.feed(html)
    return " ".join("".join(page.text).split())


def flaws(html: str) -> list[str]:
    """What is wrong with a page for those who hear it, who use its keys, or whom its policy protects."""
    page = _Page()
    page.feed(html)
    page.close()
    levels = page.headings
    skipped = [f"h{level} after h{before}" for before, level in pairwise(levels) if level > before + 1]
    nameless = [f"{tag} without a label" for tag, ids in page.fields if not ids & (page.labels | {"spoken"})]
    twice = sorted({f"id {one} twice" for one in page.ids if page.ids.count(one) > 1})
    headless = [] if levels.count(1) == 1 else [f"{levels.count(1)} headings of the first level"]
    return [*page.flaws, *skipped, *nameless, *twice, *headless, *([f"open: {page.open}"] if page.open else [])]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.flaws: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.labels: set[str] = set()
        self.fields: list[tuple[str, set[str]]] = []
        self.open: list[str] = []
        self._names: list[tuple[str, int, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in INLINE:
            self.text.append(" ")
        if tag not in EMPTY:
            self.open.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.flaws += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit() and given.get("id") != "confirm-title":
            self.headings.append(int(tag[1]))
        if tag == "label":
            self.labels.add(given.get("for", ""))
        if tag in FIELDS and given.get("type") != "hidden":
            spoken = {"spoken"} if any(name in given for name in SPOKEN) else set()
            self.fields.append((tag, {given.get("id", "-")} | spoken))
        if tag == "th" and "scope" not in given:
            self.flaws.append("th without a scope")
        if tag == "img" and "alt" not in given:
            self.flaws.append("img without alt")
        if tag in NAMED:
            is_filled = given.get("id") == "confirm-yes" or any(name in given for name in SPOKEN)
            self._names.append((tag, len(self.text), is_filled))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.flaws.append(f"</{tag}> ends nothing")
        if tag in NAMED:
            name, start, spoken = self._names.pop()
            if not spoken and not "".join(self.text[start:]).strip():
                self.flaws.append(f"{name} without words")

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)
