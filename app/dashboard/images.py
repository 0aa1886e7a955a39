"""The page /images: what was built and is being built, and the tags on GitHub that images can be made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from app.api.services import services_of
from app.builds.model import BuildState, web_url
from app.dashboard.asking import asked_choice, asked_id, asked_text, query_of
from app.dashboard.shell import render
from app.postgres.pool import transaction
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response

    from app.postgres.pool import Connection

SQL: Final = load_queries("images")

PAGE: Final = 50
MOST_REPOS: Final = 500


@dataclass(frozen=True, slots=True)
class Filter:
    """Which images: their name, tag and repository contain these texts, and their latest build is in that state."""

    name: str | None
    tag: str | None
    repo: str | None
    status: BuildState | None

    @classmethod
    def of(cls, request: Request) -> Filter:
        """What the page was asked for."""
        return cls(
            name=asked_text(request, "name"),
            tag=asked_text(request, "tag"),
            repo=asked_text(request, "repo"),
            status=asked_choice(request, "status", BuildState),
        )


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image of the list. ``seconds`` is what its latest build took; ``pinned`` and ``running`` count products."""

    id: int
    name: str
    tag: str
    github_repo: str
    commit_sha: str | None
    build_status: str
    build_error: str | None
    size_bytes: int | None
    built_at: datetime | None
    removed_at: datetime | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    pinned: int
    running: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the images, newest first, and the ids behind which the pages before and after it begin."""

    images: list[ImageRow]
    older: int | None
    newer: int | None


async def read_page(conn: Connection, wanted: Filter, *, before: int | None, after: int | None) -> Page:
    """The page behind ``before``, or the one that ends before ``after``, or the first."""
    asked = (wanted.name, wanted.tag, wanted.repo, wanted.status)
    if after is not None:
        ids = [row["id"] for row in await conn.fetch(SQL.images_newer, *asked, after, PAGE + 1)]
        more_newer, more_older = len(ids) > PAGE, True
        ids = ids[:PAGE][::-1]
    else:
        ids = [row["id"] for row in await conn.fetch(SQL.images_older, *asked, before, PAGE + 1)]
        more_newer, more_older = before is not None, len(ids) > PAGE
        ids = ids[:PAGE]
    images = [ImageRow(**row) for row in await conn.fetch(SQL.images_listed, ids)]
    return Page(
        images,
        older=ids[-1] if ids and more_older else None,
        newer=ids[0] if ids and more_newer else None,
    )


async def show_list(request: Request) -> Response:
    """The page of all. The tags on GitHub are loaded by themselves (``tags``): GitHub may be slow, or away."""
    wanted, services = Filter.of(request), services_of(request)
    async with transaction(services.pool) as conn:
        shown = await read_page(conn, wanted, before=asked_id(request, "before"), after=asked_id(request, "after"))
        repos = [row["repo"] for row in await conn.fetch(SQL.registered_repos, MOST_REPOS)]
    of = asked_text(request, "of") or (repos[0] if len(repos) == 1 else None)
    fields = asdict(wanted)
    return render(
        request,
        "images.html",
        title="Images",
        page=shown,
        wanted=wanted,
        filtered=any(fields.values()),
        states=list(BuildState),
        repos=repos,
        of=of if of in repos else None,
        tags_at=query_of({"repo": of}),
        older=query_of(fields, of=of, before=shown.older),
        newer=query_of(fields, of=of, after=shown.newer),
        web=web_url(services.settings.github_api_url),
    )
