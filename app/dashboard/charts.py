"""The page /charts: how fast and how well tags came to run in the last days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.api.services import services_of
from app.dashboard.asking import asked_text, query_of
from app.dashboard.figures import MOST_NAMES, read_durations, read_figures
from app.dashboard.shell import render
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

SPANS: Final = (7, 30)


async def show(request: Request) -> Response:
    """The page; ``?days=`` 7 or 30, ``?name=`` whose builds' duration is shown, else that of the names built most."""
    days, name = asked_days(request), asked_text(request, "name")
    async with transaction(services_of(request).pool) as conn:
        figures = await read_figures(conn, days)
        durations = await read_durations(conn, days, name)
    return render(
        request,
        "charts.html",
        title="Charts",
        figures=figures,
        durations=durations,
        name=name,
        days=days,
        spans=[(span, query_of({"days": span, "name": name})) for span in SPANS],
        most_names=MOST_NAMES,
    )


def asked_days(request: Request) -> int:
    """Over how many days; 7 unless one of the others was asked for."""
    given = request.query_params.get("days", "")
    return next((span for span in SPANS if str(span) == given), SPANS[0])
