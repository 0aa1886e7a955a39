"""The pages /products and /products/{id}."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.asking import path_id
from app.dashboard.shell import render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def show_list(request: Request) -> Response:
    """The page of all."""
    return render(request, "products.html", title="Products")


async def show(request: Request) -> Response:
    """The page of one."""
    return render(request, "product.html", title=f"Product {path_id(request, 'product')}")
