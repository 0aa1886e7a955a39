"""How fast and how well it went in the last days: builds, their wait, deploys, and from a tag to running."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from app.dashboard.drawing import Series, bar_chart, line_chart, percent
from app.dashboard.wording import duration, plural
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    import asyncpg

    from app.dashboard.drawing import Chart
    from app.postgres.pool import Connection

SQL: Final = load_queries("charts")

MOST_NAMES: Final = 6
MEDIAN, SLOWEST = "median", "9 of 10 within"


@dataclass(frozen=True, slots=True)
class Total:
    """What a chart comes to over all of its days, in a sentence or two."""

    figure: str
    detail: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The charts of the last ``days`` days, each with what it comes to."""

    days: int
    lead: Chart
    lead_total: Total
    success: Chart
    success_total: Total
    wait: Chart
    wait_total: Total
    deploys: Chart
    deploys_total: Total


async def read_figures(conn: Connection, days: int) -> Figures:
    """The figures of the days up to today."""
    window = await conn.fetchrow(SQL.window_start, days)
    assert window is not None
    dates = days_up_to(window["today"], days)
    builds = by_day(await conn.fetch(SQL.build_days, window["since"]))
    deploys = by_day(await conn.fetch(SQL.deploy_days, window["since"]))
    return figures_of(dates, builds, deploys)


async def read_durations(conn: Connection, days: int, name: str | None) -> list[tuple[Chart, Total]]:
    """How long successful builds took, a chart for each of the image names that were built most, or for one."""
    window = await conn.fetchrow(SQL.window_start, days)
    assert window is not None
    rows = await conn.fetch(SQL.duration_days, window["since"], MOST_NAMES, name)
    names = list(dict.fromkeys(row["name"] for row in rows))
    dates = days_up_to(window["today"], days)
    return [duration_of(at, one, dates, by_day([r for r in rows if r["name"] == one])) for at, one in enumerate(names)]


def by_day(rows: Sequence[asyncpg.Record]) -> dict[date | None, Mapping[str, Any]]:
    """The rows by their day; the one of all days together is that of None."""
    return {row["day"]: dict(row) for row in rows}


def figures_of(
    dates: Sequence[date],
    builds: Mapping[date | None, Mapping[str, Any]],
    deploys: Mapping[date | None, Mapping[str, Any]],
) -> Figures:
    """The charts and what they come to."""
    built, deployed = builds.get(None, {}), deploys.get(None, {})
    succeeded, failed = built.get("succeeded") or 0, built.get("failed") or 0
    done, undone = deployed.get("done") or 0, deployed.get("failed") or 0
    return Figures(
        days=len(dates),
        lead=line_chart("lead", "From the tag's push to running", dates, _times(dates, deploys, "lead")),
        lead_total=Total(
            duration(deployed.get("lead")), _slowest(deployed.get("lead_most"), deployed.get("leads"), "deploy")
        ),
        success=bar_chart("success", "Builds by outcome", dates, _counts(dates, builds, "succeeded")),
        success_total=Total(percent(succeeded, succeeded + failed), f"{succeeded:,} built, {failed:,} failed"),
        wait=line_chart("wait", "Builds waiting for a worker", dates, _times(dates, builds, "waited")),
        wait_total=Total(
            duration(built.get("waited")), _slowest(built.get("waited_most"), succeeded + failed, "build")
        ),
        deploys=bar_chart("deploys", "Deploys by outcome", dates, _counts(dates, deploys, "done")),
        deploys_total=Total(f"{done / len(dates):.1f} a day", f"{done:,} came to run, {undone:,} failed"),
    )


def duration_of(
    at: int, name: str, dates: Sequence[date], rows: Mapping[date | None, Mapping[str, Any]]
) -> tuple[Chart, Total]:
    """How long builds of one name took."""
    whole = rows[None]
    chart = line_chart(f"duration-{at}", name, dates, _times(dates, rows, "took"))
    return chart, Total(duration(whole["took"]), _slowest(whole["took_most"], whole["builds"], "build"))


def days_up_to(today: date, days: int) -> list[date]:
    """So many days, the last one being today."""
    return [today - timedelta(days=back) for back in range(days - 1, -1, -1)]


def _slowest(seconds: float | None, number: int | None, thing: str) -> str:
    if seconds is None:
        return f"no {thing} yet"
    return f"9 of 10 within {duration(seconds)}; {plural(number or 0, thing)}"


def _times(dates: Sequence[date], rows: Mapping[date | None, Mapping[str, Any]], column: str) -> list[Series]:
    return [
        Series(MEDIAN, "middle", tuple(rows.get(day, {}).get(column) for day in dates)),
        Series(SLOWEST, "slowest", tuple(rows.get(day, {}).get(f"{column}_most") for day in dates)),
    ]


def _counts(dates: Sequence[date], rows: Mapping[date | None, Mapping[str, Any]], good: str) -> list[Series]:
    words = {"succeeded": "built", "done": "came to run"}
    return [
        Series(words[good], "good", tuple(rows.get(day, {}).get(good) for day in dates)),
        Series("failed", "wrong", tuple(rows.get(day, {}).get("failed") for day in dates)),
    ]
