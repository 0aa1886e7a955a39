"""The part of /images that asks GitHub: the tags of a repository, and which of them are built.

It is a page of its own, which static/images.js puts into the other: GitHub may be slow, away, or tired of us, and the
rest is shown all the same. What GitHub said, or that it said nothing, is kept for a minute, so that the part can follow
builds without asking GitHub each time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from app.builds.model import web_url
from app.dashboard.asking import asked_id, asked_text, query_of
from app.dashboard.shell import page, render
from app.dashboard.tag_rows import Made, image_names, tag_rows
from app.errors import AppError, GitHubUnavailable
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.repositories import store as repositories

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from app.api.services import Services
    from app.dashboard.tag_rows import TagRow
    from app.github.client import GitHubClient
    from app.github.tags import Tag
    from app.postgres.pool import Connection

SQL: Final = load_queries("images")

PAGE: Final = 10
MOST_REGISTRATIONS: Final = 20
KEPT_S: Final = 60.0
PATIENCE_S: Final = 30.0
MOST_KEPT: Final = 30


@dataclass(frozen=True, slots=True)
class Listing:
    """What GitHub answered, and when: tags, or why there are none as a sentence."""

    tags: list[Tag]
    at: datetime
    until: float
    problem: str | None = None


class Shelf:
    """What GitHub said of each repository within the last minute. Whoever asks meanwhile waits for the same answer."""

    def __init__(self, github: GitHubClient) -> None:
        self._github = github
        self._listings: dict[str, Listing] = {}
        self._asking: dict[str, asyncio.Task[Listing]] = {}

    async def listing(self, repo: str, *, anew: bool = False) -> Listing:
        """The tags of a repository, asked for anew when what is known is older than a minute."""
        key, now = repo.lower(), asyncio.get_running_loop().time()
        kept = self._listings.get(key)
        if kept is not None and kept.until > now and not anew:
            return kept
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key, repo))
        return await asyncio.shield(asking)

    async def _ask(self, key: str, repo: str) -> Listing:
        tags: list[Tag] = []
        problem = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                tags = await self._github.list_tags(repo)
        except TimeoutError:
            problem = str(GitHubUnavailable(f"GitHub has not answered within {PATIENCE_S:.0f} s; look again"))
        except AppError as error:
            problem = str(error)
        finally:
            del self._asking[key]
        until = asyncio.get_running_loop().time() + KEPT_S
        listing = Listing(tags, datetime.now(UTC), until, problem)
        self._listings.pop(key, None)
        self._listings[key] = listing
        while len(self._listings) > MOST_KEPT:
            del self._listings[next(iter(self._listings))]
        return listing


def tags_page(services: Services) -> Route:
    """The page /images/tags?repo=owner/name, ten tags at a time; ``anew`` asks GitHub again."""
    shelf = Shelf(services.github)

    async def show(request: Request) -> Response:
        repo, wanted = asked_text(request, "repo"), asked_text(request, "tag")
        start = asked_id(request, "from") or 0
        async with transaction(services.pool) as conn:
            known = await conn.fetchval(SQL.is_registered, repo or "")
        listing = await shelf.listing(known, anew="anew" in request.query_params) if known else None
        tags = [tag for tag in listing.tags if not wanted or wanted.lower() in tag.name.lower()] if listing else []
        async with transaction(services.pool) as conn:
            rows = await _rows(conn, known, tags[start : start + PAGE]) if known else []
        fields = {"repo": known, "tag": wanted}
        return render(
            request,
            "tags.html",
            title=f"Tags of {known}" if known else "Tags",
            repo=known,
            asked=repo,
            wanted=wanted,
            listing=listing,
            rows=rows,
            first=start + 1,
            in_all=len(tags),
            newer=query_of(fields, **{"from": max(start - PAGE, 0)}) if start and known else None,
            older=query_of(fields, **{"from": start + PAGE}) if start + PAGE < len(tags) else None,
            again=query_of(fields, anew=1),
            web=web_url(services.settings.github_api_url),
        )

    return page("/images/tags", show)


async def _rows(conn: Connection, repo: str, tags: list[Tag]) -> list[TagRow]:
    registrations = await repositories.list_page(conn, repo=repo, before=None, limit=MOST_REGISTRATIONS)
    registrations.reverse()
    names = image_names(repo, registrations)
    found = await conn.fetch(SQL.images_of_tags, names, [tag.name for tag in tags])
    return tag_rows(tags, repo, registrations, [Made(**row) for row in found])
