"""The web application as one value: its routes, and how errors become answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Mount, Route

from app.api import health
from app.api.asking import prefers
from app.api.auth import BearerAuth, Doorkeeper
from app.api.docs import docs_routes
from app.api.headers import SecurityHeaders
from app.api.metrics import Scrapes
from app.api.operation import routes_of
from app.api.operations import OPERATIONS
from app.dashboard.pages import dashboard_routes
from app.dashboard.prefix import PathPrefix
from app.dashboard.shell import wrong
from app.deliveries.http import WebhookEndpoint
from app.errors import (
    AppError,
    DatabaseUnavailable,
    EngineUnavailable,
    GitHubNotFound,
    GitHubRateLimited,
    GitHubUnavailable,
    SwarmUnavailable,
)
from app.metrics.requests import MeasuredRequests
from app.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from app.api.services import Services

log = structlog.get_logger(__name__)

API: Final = "/api/v1"

STATUS_OF: dict[type[AppError], HTTPStatus] = {
    GitHubNotFound: HTTPStatus.NOT_FOUND,
    SwarmUnavailable: HTTPStatus.CONFLICT,
    GitHubUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    GitHubRateLimited: HTTPStatus.SERVICE_UNAVAILABLE,
    EngineUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


def create_app(services: Services) -> ASGIApp:
    """The application over these services. It owns nothing: whoever made the services closes them."""
    webhook = WebhookEndpoint(services.pool, services.settings.webhook_secrets, metrics=services.metrics)
    doorkeeper = Doorkeeper()
    app = Starlette(
        routes=[
            *watching_routes(services),
            Route("/webhooks/github", webhook.answer, methods=["POST"]),
            *docs_routes(OPERATIONS, prefix=API),
            Mount(API, routes=routes_of(OPERATIONS), middleware=[Middleware(BearerAuth, doorkeeper)]),
            *dashboard_routes(services, doorkeeper),
        ],
        exception_handlers=HANDLERS,
    )
    app.state.services = services
    public_url = services.settings.public_url
    measured = MeasuredRequests(app, services.metrics.requests)
    return SecurityHeaders(PathPrefix(measured, public_url), https=public_url.startswith("https://"))


def watching_routes(services: Services) -> list[Route]:
    """What whoever watches a process asks it, without a token."""
    return [
        Route("/healthz", health.healthz),
        Route("/readyz", health.readyz),
        Route("/metrics", Scrapes(services).answer),
    ]


def create_watched_app(services: Services) -> ASGIApp:
    """What a process that only works answers: how it is, and nothing else."""
    app = Starlette(routes=watching_routes(services), exception_handlers=HANDLERS)
    app.state.services = services
    return SecurityHeaders(app, https=False)


async def _problem(_request: Request, error: Exception) -> Response:
    return cast("Problem", error).response()


async def _app_error(_request: Request, error: Exception) -> Response:
    status = STATUS_OF.get(type(cast("AppError", error)), HTTPStatus.BAD_GATEWAY)
    headers = {}
    if isinstance(error, GitHubRateLimited):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "5"
    log.warning("request_failed", reason=str(error), status=status.value)
    return Problem(status, str(error), headers=headers).response()


async def _http_exception(request: Request, error: Exception) -> Response:
    refused = cast("HTTPException", error)
    status = HTTPStatus(refused.status_code)
    detail = {
        HTTPStatus.NOT_FOUND: f"there is nothing at {request.url.path[:200]}",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not a method of {request.url.path[:200]}",
    }.get(status, refused.detail)
    if request.method == "GET" and prefers(request, "text/html", over="application/json"):
        return wrong(request, status, detail)  # a person mistyped an address, or followed an old link
    return Problem(status, detail, headers=refused.headers).response()


async def _abandoned(request: Request, _error: Exception) -> Response:
    """Whoever asks went away before all of the body had come: nobody reads this, and nothing here is broken."""
    log.info("request_abandoned", method=request.method, path=request.url.path[:200])
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _bug(_request: Request, error: Exception) -> Response:
    log.error("request_crashed", exc_info=error)
    detail = "something is broken in Tagship itself; its log says what (request_crashed)"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail).response()


HANDLERS: Final = {
    Problem: _problem,
    AppError: _app_error,
    HTTPException: _http_exception,
    ClientDisconnect: _abandoned,
    Exception: _bug,
}
