"""The page /images/{id}: one image, its builds with their logs, and the products that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.access.model import Via
from app.api.asking import found, missing, path_id
from app.api.impact import impact_of
from app.api.services import services_of
from app.builds import store
from app.builds.model import BuildState, Image, Source, web_url
from app.dashboard.asking import asked_id, query_of
from app.dashboard.shell import render
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.products import store as products

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg
    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.schema.impact import ImpactOut
    from app.postgres.pool import Connection

SQL: Final = load_queries("images")

PAGE: Final = 50
MOST_PRODUCTS: Final = 100
NAMED: Final = 5
ACTIVE: Final = frozenset({BuildState.PENDING, BuildState.BUILDING})


@dataclass(frozen=True, slots=True)
class BuildRow:
    """One build. ``actor`` asked for it ``via`` a door of the audit log; ``waited`` and ``seconds`` are how long it
    waited for a worker and how long it took.
    """

    id: int
    state: str
    source: Source
    commit_sha: str | None
    attempt: int
    digest: str | None
    exact_ref: str | None
    size_bytes: int | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    removed_at: datetime | None
    recipe: Mapping[str, Any]
    cancelling: bool
    seconds: float | None
    waited: float | None
    delivery_id: int | None
    delivery_guid: str | None
    actor: str | None
    via: str | None


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product that is pinned to the image, or was last brought to what its build ``build_id`` made, since then;
    ``runs`` is the ``name:tag`` that it was last brought to.
    """

    id: int
    slug: str
    name: str
    status: str
    track: str | None
    pinned: bool
    held_build_id: int | None
    build_id: int | None
    since: datetime | None
    runs: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """All that the page shows. ``latest`` is the build that the image's state speaks of, ``build`` the one whose log
    is shown; of the products ``products_in_all`` there are.
    """

    image: Image
    latest: BuildRow
    build: BuildRow
    builds: list[BuildRow]
    older: int | None
    products: list[ProductRow]
    products_in_all: int
    impact: ImpactOut | None

    @property
    def is_active(self) -> bool:
        return self.image.build_status in ACTIVE

    @property
    def can_go(self) -> bool:
        """Whether nothing that the page shows is in the way of deleting the image."""
        return not self.is_active and not self.products


async def show(request: Request) -> Response:
    """The page of one; ``?build=`` is the build whose log it shows, else the latest."""
    image_id, services = path_id(request, "image"), services_of(request)
    async with transaction(services.pool) as conn:
        shown = await _read(conn, image_id, asked_id(request, "build"), asked_id(request, "before"))
    image = shown.image
    return render(
        request,
        "image.html",
        title=f"{image.name}:{image.tag}",
        shown=shown,
        image=image,
        chosen=asked_id(request, "build"),
        older=query_of({"build": asked_id(request, "build"), "before": shown.older}),
        web=web_url(services.settings.github_api_url),
        why=why,
        what_rebuilding_does=what_rebuilding_does(shown),
        what_deleting_does=what_deleting_does(image),
    )


async def _read(conn: Connection, image_id: int, build_id: int | None, before: int | None) -> Shown:
    image = found(await store.read_image(conn, image_id), "image", image_id)
    builds = [_build_row(row) for row in await conn.fetch(SQL.builds_listed, image_id, before, PAGE + 1)]
    latest = await _build(conn, image, image.latest_build_id, builds)
    rows = await conn.fetch(SQL.products_of_image, image_id, MOST_PRODUCTS)
    known = await products.pinned_to_name(conn, image.name, image.tag)
    return Shown(
        image=image,
        latest=latest,
        build=latest if build_id is None else await _build(conn, image, build_id, builds),
        builds=builds[:PAGE],
        older=builds[PAGE - 1].id if len(builds) > PAGE else None,
        products=[ProductRow(**{name: row[name] for name in ProductRow.__slots__}) for row in rows],
        products_in_all=rows[0]["of_all"] if rows else 0,
        impact=impact_of(image.name, image.tag, *known) if known else None,
    )


async def _build(conn: Connection, image: Image, build_id: int, read: Sequence[BuildRow]) -> BuildRow:
    """One build of the image, if it is not among those that were read."""
    for build in read:
        if build.id == build_id:
            return build
    rows = await conn.fetch(SQL.builds_listed, image.id, build_id + 1, 1)
    if not rows or rows[0]["id"] != build_id:
        raise missing(f"build of {image.name}:{image.tag} with the number", build_id)
    return _build_row(rows[0])


def _build_row(row: asyncpg.Record) -> BuildRow:
    return BuildRow(**dict(row) | {"source": Source(row["source"])})


def why(build: BuildRow) -> str:
    """Who asked for a build, and how."""
    who = build.actor
    match build.source:
        case Source.DELIVERY if build.via not in {None, Via.WEBHOOK}:
            return f"{who} had the delivery decided anew"
        case Source.DELIVERY:
            return f"{who} pushed the tag" if who else "the tag was pushed"
        case Source.API:
            return f"{who} asked for it ({build.via})" if who else "asked for by hand"
        case Source.REBUILD:
            return f"{who} had it rebuilt ({build.via})" if who else "rebuilt by hand"
        case Source.RECONCILE:
            return "Tagship found the tag on GitHub"


def what_rebuilding_does(shown: Shown) -> str:
    """What one is asked before a rebuild: what is built, and which products will follow."""
    image = shown.image
    sentence = f"{image.name}:{image.tag} is built again from the commit that the tag has on GitHub now."
    if shown.is_active:
        sentence += f" Build {shown.latest.id}, which is not over, is given up for it."
    moves = [move for move in (shown.impact.moves if shown.impact else []) if move.runs]
    if not moves:
        return f"{sentence} No product that runs will change."
    names = named([move.name for move in moves])
    return f"{sentence} When it succeeds, {names} will be rolled out again."


def what_deleting_does(image: Image) -> str:
    """What one is asked before an image goes."""
    return (
        f"{image.name}:{image.tag} goes for good: its record, its builds and their logs here, and what they made on the"
        " engine and in the registry. No product can be rolled back to it afterwards. The tag on GitHub stays."
    )


def named(names: Sequence[str]) -> str:
    """Names in a sentence, the first few of many.

    >>> named(["A"]), named(["A", "B"]), named([*"ABCDEFG"])
    ('A', 'A and B', 'A, B, C, D, E and 2 more')
    """
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
