"""The page /settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.dashboard.shell import render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def show(request: Request) -> Response:
    """The page."""
    return render(request, "settings.html", title="Settings")
