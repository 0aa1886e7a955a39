"""The pages /deliveries and /deliveries/{id}."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.asking import path_id
from app.dashboard.shell import render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def show_list(request: Request) -> Response:
    """The page of all."""
    return render(request, "deliveries.html", title="Deliveries")


async def show(request: Request) -> Response:
    """The page of one."""
    return render(request, "delivery.html", title=f"Delivery {path_id(request, 'delivery')}")
