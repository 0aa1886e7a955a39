"""The page /: the flow as it is now, and what needs a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.api.services import services_of
from app.builds.model import BuildState, Source, web_url
from app.dashboard import needs
from app.dashboard.charts import asked_days
from app.dashboard.figures import read_figures
from app.dashboard.fleet import names_of
from app.dashboard.flow import MOST_CELLS, NO_FLEET, WORDS, Flight, fleets_of
from app.dashboard.progress import fraction, step_of
from app.dashboard.shell import render
from app.postgres.pool import transaction
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg
    from starlette.requests import Request
    from starlette.responses import Response

    from app.dashboard.figures import Figures
    from app.dashboard.fleet import Name
    from app.dashboard.needs import Need
    from app.postgres.pool import Connection

SQL: Final = load_queries("overview")

MOST_FLIGHTS: Final = 12
MOST_ROLLOUTS: Final = 6
MOST_DELIVERIES: Final = 8
MOST_NAMES: Final = 12
MOST_NEEDS: Final = 20  # of each kind

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Products:
    """How many products are in each state, and how many of those that shall run do."""

    by_state: Mapping[str, int]
    wanted: int
    running: int

    @property
    def of_all(self) -> int:
        return sum(self.by_state.values())


@dataclass(frozen=True, slots=True)
class Now:
    """All that the page shows."""

    needs: list[Need]
    flights: list[Flight]
    queue: dict[str, Any]
    rollouts: Rows
    rollouts_in_all: int
    products: Products
    fleet: list[Name]
    deliveries: Rows
    figures: Figures


async def show(request: Request) -> Response:
    """The page; ``?days=`` is over how many days the figures go."""
    services, days = services_of(request), asked_days(request)
    async with transaction(services.pool) as conn:
        now = await read_now(conn, days)
    web = web_url(services.settings.github_api_url)
    return render(
        request, "overview.html", title="Overview", now=now, days=days, web=web, fraction=fraction, rollout_words=WORDS
    )


async def read_now(conn: Connection, days: int) -> Now:
    """Everything at one point in time."""
    rollouts = _dicts(await conn.fetch(SQL.rollouts_now, MOST_ROLLOUTS))
    queue = await conn.fetchrow(SQL.queue_now)
    return Now(
        needs=await read_needs(conn),
        flights=await read_flights(conn),
        queue=dict(queue or {}),
        rollouts=rollouts,
        rollouts_in_all=rollouts[0]["of_all"] if rollouts else 0,
        products=_products(await conn.fetch(SQL.products_by_state)),
        fleet=names_of(_dicts(await conn.fetch(SQL.fleet, MOST_NAMES))),
        deliveries=_dicts(await conn.fetch(SQL.newest_deliveries, MOST_DELIVERIES)),
        figures=await read_figures(conn, days),
    )


async def read_flights(conn: Connection) -> list[Flight]:
    """The tags in flight; of logs only the ends are read."""
    rows = _dicts(await conn.fetch(SQL.flights, MOST_FLIGHTS))
    built = [row["build_id"] for row in rows if row["state"] == BuildState.SUCCESS]
    fleets = fleets_of(_dicts(await conn.fetch(SQL.cells, built, MOST_CELLS)) if built else [])
    running = [row["build_id"] for row in rows if row["state"] == BuildState.BUILDING]
    ends = {row["build_id"]: row["text"] for row in await conn.fetch(SQL.log_ends, running)} if running else {}
    return [
        Flight(
            **row | {"state": BuildState(row["state"]), "source": Source(row["source"])},
            step=step_of(ends.get(row["build_id"], "")),
            fleet=fleets.get(row["build_id"], NO_FLEET),
        )
        for row in rows
    ]


async def read_needs(conn: Connection) -> list[Need]:
    """What needs a person, the worst first; at most so many of each kind."""
    kinds = (
        (SQL.failed_builds, needs.failed_build),
        (SQL.failed_products, needs.failed_product),
        (SQL.failed_deliveries, needs.failed_delivery),
        (SQL.channels_off, needs.channel_off),
        (SQL.failed_looks, needs.failed_look),
    )
    found = [made(row) for query, made in kinds for row in _dicts(await conn.fetch(query, MOST_NEEDS))]
    return needs.in_order(found)


def _products(rows: list[asyncpg.Record]) -> Products:
    return Products(
        by_state={row["state"]: row["products"] for row in sorted(rows, key=lambda row: -row["products"])},
        wanted=sum(row["wanted"] for row in rows),
        running=sum(row["wanted"] for row in rows if row["state"] == "running"),
    )


def _dicts(rows: list[asyncpg.Record]) -> Rows:
    return [dict(row) for row in rows]
