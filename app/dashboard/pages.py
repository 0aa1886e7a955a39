"""The table of contents of the dashboard: every route of it, and the module that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.access.model import Role
from app.dashboard import activity, charts, deliveries, image, images, overview, product, products, settings
from app.dashboard.live import live_route
from app.dashboard.shell import page
from app.dashboard.signin import signin_routes
from app.dashboard.static import STATIC_ROUTES
from app.dashboard.tags import tags_page

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from app.api.auth import Doorkeeper
    from app.api.services import Services


def dashboard_routes(services: Services, doorkeeper: Doorkeeper) -> list[BaseRoute]:
    """Every route of the dashboard."""
    return [
        *signin_routes(doorkeeper),
        *STATIC_ROUTES,
        live_route(services),
        page("/", overview.show),
        page("/charts", charts.show),
        page("/images", images.show_list),
        tags_page(services),
        page("/images/{id}", image.show),
        page("/products", products.show_list),
        products.NEW_PAGE,
        page("/products/{id}", product.show),
        page("/deliveries", deliveries.show_list),
        page("/deliveries/{id}", deliveries.show),
        page("/activity", activity.show, role=Role.ADMIN),
        page("/settings", settings.show_repositories),
        page("/settings/channels", settings.show_channels),
        page("/settings/notices", settings.show_notices),
        page("/settings/tokens", settings.show_tokens, role=Role.ADMIN),
        page("/settings/system", settings.show_system, role=Role.ADMIN),
    ]
