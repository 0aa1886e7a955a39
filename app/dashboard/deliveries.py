"""The pages /deliveries and /deliveries/{id}: what GitHub sent, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from app.api.asking import found, path_id
from app.api.services import services_of
from app.builds.model import web_url
from app.dashboard import payloads
from app.dashboard.asking import asked_choice, asked_id, asked_text, query_of
from app.dashboard.shell import render
from app.deliveries import inbox
from app.deliveries.model import DeliveryState
from app.postgres.pool import transaction
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg
    from starlette.requests import Request
    from starlette.responses import Response

    from app.postgres.pool import Connection

SQL: Final = load_queries("inbox_page")

PAGE: Final = 50
MOST_REPOS: Final = 500
MOST_BUILDS: Final = 5  # of each delivery in the list
MOST_SHOWN: Final = 200  # on its own page
MOST_ACTS: Final = 50


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries: in that state, of the repository of that name."""

    state: DeliveryState | None
    repo: str | None

    @classmethod
    def of(cls, request: Request) -> Filter:
        """What the page was asked for."""
        return cls(state=asked_choice(request, "state", DeliveryState), repo=asked_text(request, "repo"))


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A build that a delivery led to; of all of them the delivery led to ``of_all``."""

    id: int
    state: str
    image_id: int
    name: str
    tag: str
    created_at: datetime
    error: str | None
    of_all: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery of the list, with the first of its builds."""

    id: int
    guid: str
    event: str
    repo: str | None
    ref: str | None
    state: str
    reason: str | None
    received_at: datetime
    replays: int
    actor: str | None
    builds: tuple[BuildRow, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the deliveries, newest first, and the ids behind which the pages before and after it begin."""

    deliveries: list[DeliveryRow]
    older: int | None
    newer: int | None


async def show_list(request: Request) -> Response:
    """The page of all."""
    wanted = Filter.of(request)
    async with transaction(services_of(request).pool) as conn:
        shown = await read_page(conn, wanted, before=asked_id(request, "before"), after=asked_id(request, "after"))
        repos = [row["repo"] for row in await conn.fetch(SQL.repos_known, MOST_REPOS)]
    fields = asdict(wanted)
    return render(
        request,
        "deliveries.html",
        title="Deliveries",
        page=shown,
        wanted=wanted,
        filtered=any(fields.values()),
        states=list(DeliveryState),
        repos=repos,
        older=query_of(fields, before=shown.older),
        newer=query_of(fields, after=shown.newer),
    )


async def read_page(conn: Connection, wanted: Filter, *, before: int | None, after: int | None) -> Page:
    """The page behind ``before``, or the one that ends before ``after``, or the first."""
    if after is not None:
        ids = [row["id"] for row in await conn.fetch(SQL.deliveries_newer, wanted.state, wanted.repo, after, PAGE + 1)]
        more_newer, more_older, ids = len(ids) > PAGE, True, ids[:PAGE][::-1]
    else:
        ids = [row["id"] for row in await conn.fetch(SQL.deliveries_older, wanted.state, wanted.repo, before, PAGE + 1)]
        more_newer, more_older, ids = before is not None, len(ids) > PAGE, ids[:PAGE]
    rows = await conn.fetch(SQL.deliveries_listed, ids)
    builds = await _builds_of(conn, ids, MOST_BUILDS)
    return Page(
        [DeliveryRow(**row, builds=tuple(builds.get(row["id"], ()))) for row in rows],
        older=ids[-1] if ids and more_older else None,
        newer=ids[0] if ids and more_newer else None,
    )


async def show(request: Request) -> Response:
    """The page of one, with as much of its payload as a page bears."""
    services, delivery_id = services_of(request), path_id(request, "delivery")
    async with transaction(services.pool) as conn:
        delivery = found(await inbox.read(conn, delivery_id), "delivery", delivery_id)
        beginning = await conn.fetchval(SQL.body_beginning, delivery_id, payloads.PRETTY_BYTES)
        builds = (await _builds_of(conn, [delivery_id], MOST_SHOWN)).get(delivery_id, [])
        rollouts = _by_build(await conn.fetch(SQL.rollouts_of_delivery, delivery_id))
        acts = [dict(row) for row in await conn.fetch(SQL.acts_on_delivery, delivery_id, MOST_ACTS)]
    return render(
        request,
        "delivery.html",
        title=f"Delivery {delivery_id}",
        delivery=delivery,
        payload=payloads.shown(delivery.content_type, beginning or b"", delivery.size_bytes),
        builds=builds,
        rollouts=rollouts,
        acts=acts,
        web=web_url(services.settings.github_api_url),
    )


async def _builds_of(conn: Connection, deliveries: list[int], most: int) -> dict[int, list[BuildRow]]:
    made: dict[int, list[BuildRow]] = {}
    for row in await conn.fetch(SQL.builds_of_deliveries, deliveries, most):
        fields: dict[str, Any] = {name: row[name] for name in BuildRow.__slots__}
        made.setdefault(row["delivery_id"], []).append(BuildRow(**fields))
    return made


def _by_build(rows: list[asyncpg.Record]) -> dict[int, list[tuple[str, int]]]:
    """Of each build, how many rollouts are in which state."""
    counted: dict[int, list[tuple[str, int]]] = {}
    for row in rows:
        counted.setdefault(row["build_id"], []).append((row["state"], row["products"]))
    return counted
