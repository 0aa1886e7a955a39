"""The page /activity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.dashboard.shell import render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def show(request: Request) -> Response:
    """The page."""
    return render(request, "activity.html", title="Activity")
