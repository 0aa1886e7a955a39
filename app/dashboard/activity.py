"""The page /activity: who did what, to what, when and from where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from app.access.model import Via
from app.api.services import services_of
from app.dashboard.asking import asked_id, asked_text, query_of
from app.dashboard.deeds import DEEDS, KINDS, deed, details_of, door, link_of
from app.dashboard.shell import render
from app.postgres.pool import transaction
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg
    from starlette.requests import Request
    from starlette.responses import Response

    from app.postgres.pool import Connection

SQL: Final = load_queries("activity_page")

PAGE: Final = 50
MOST_ACTORS: Final = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries: of one actor, of one action, to one kind of thing, or to one thing of that kind."""

    actor: str | None
    action: str | None
    subject: str | None
    subject_id: int | None

    @classmethod
    def of(cls, request: Request) -> Filter:
        """What the page was asked for."""
        subject = asked_text(request, "subject")
        return cls(
            actor=asked_text(request, "actor"),
            action=asked_text(request, "action"),
            subject=subject,
            subject_id=asked_id(request, "subject_id") if subject else None,
        )


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry in words; ``link`` is the page of what it was done to, below the prefix, if it is still there."""

    id: int
    at: datetime
    actor: str
    did: str
    subject: str
    subject_id: int | None
    subject_name: str
    link: str | None
    door: str
    by_itself: bool
    address: str | None
    details: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the entries, newest first, and the ids behind which the pages before and after it begin."""

    entries: list[EntryRow]
    older: int | None
    newer: int | None


async def show(request: Request) -> Response:
    """The page."""
    wanted = Filter.of(request)
    async with transaction(services_of(request).pool) as conn:
        shown = await read_page(conn, wanted, before=asked_id(request, "before"), after=asked_id(request, "after"))
        actors = [row["actor"] for row in await conn.fetch(SQL.actors, MOST_ACTORS)]
    fields = asdict(wanted)
    return render(
        request,
        "activity.html",
        title="Activity",
        page=shown,
        wanted=wanted,
        filtered=any(fields.values()),
        actors=actors,
        deeds=DEEDS,
        kinds=KINDS,
        older=query_of(fields, before=shown.older),
        newer=query_of(fields, after=shown.newer),
    )


async def read_page(conn: Connection, wanted: Filter, *, before: int | None, after: int | None) -> Page:
    """The page behind ``before``, or the one that ends before ``after``, or the first."""
    asked = (wanted.actor, wanted.action, wanted.subject, wanted.subject_id)
    if after is not None:
        ids = [row["id"] for row in await conn.fetch(SQL.entries_newer, *asked, after, PAGE + 1)]
        more_newer, more_older, ids = len(ids) > PAGE, True, ids[:PAGE][::-1]
    else:
        ids = [row["id"] for row in await conn.fetch(SQL.entries_older, *asked, before, PAGE + 1)]
        more_newer, more_older, ids = before is not None, len(ids) > PAGE, ids[:PAGE]
    rows = await conn.fetch(SQL.entries_listed, ids)
    there = await _still_there(conn, rows)
    return Page(
        [_entry(row, there) for row in rows],
        older=ids[-1] if ids and more_older else None,
        newer=ids[0] if ids and more_newer else None,
    )


async def _still_there(conn: Connection, rows: list[asyncpg.Record]) -> set[tuple[str, int]]:
    """Those things with a page of their own that are not gone."""
    ids = [
        [row["subject_id"] for row in rows if row["subject"] == kind and row["subject_id"] is not None]
        for kind in ("image", "product", "delivery")
    ]
    return {(row["subject"], row["id"]) for row in await conn.fetch(SQL.still_there, *ids)}


def _entry(row: asyncpg.Record, there: set[tuple[str, int]]) -> EntryRow:
    link = link_of(row["subject"], row["subject_id"])
    gone = row["subject"] in {"image", "product", "delivery"} and (row["subject"], row["subject_id"]) not in there
    return EntryRow(
        id=row["id"],
        at=row["at"],
        actor=row["actor"],
        did=deed(row["action"]),
        subject=row["subject"],
        subject_id=row["subject_id"],
        subject_name=row["subject_name"],
        link=None if gone else link,
        door=door(row["via"]),
        by_itself=row["via"] == Via.RECONCILE,
        address=row["address"],
        details=details_of(row["details"]),
    )
