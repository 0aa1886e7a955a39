"""The web application as one value: its routes, and how errors become answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from app.api import health, images, logs, products, repositories, rollouts
from app.api.auth import BearerAuth
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
from app.problems import Problem

if TYPE_CHECKING:
    from app.api.services import Services

log = structlog.get_logger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

STATUS_OF: dict[type[AppError], HTTPStatus] = {
    GitHubNotFound: HTTPStatus.NOT_FOUND,
    SwarmUnavailable: HTTPStatus.CONFLICT,
    GitHubUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    GitHubRateLimited: HTTPStatus.SERVICE_UNAVAILABLE,
    EngineUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


def create_app(services: Services) -> Starlette:
    """The application over these services. It owns nothing: whoever made the services closes them."""
    webhook = WebhookEndpoint(services.pool, services.settings.webhook_secrets)
    app = Starlette(
        routes=[
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            by_method("/webhooks/github", POST=webhook.answer),
            Mount("/api/v1", routes=api_routes(), middleware=[Middleware(BearerAuth)]),
        ],
        exception_handlers={
            Problem: _problem,
            AppError: _app_error,
            HTTPException: _http_exception,
            Exception: _bug,
        },
    )
    app.state.services = services
    return app


def api_routes() -> list[Route]:
    """One route for each path, so that a wrong method is answered with all the right ones."""
    return [
        by_method("/repositories", GET=repositories.list_repositories, POST=repositories.register),
        by_method("/repositories/{id}", GET=repositories.read_repository),
        by_method("/images", GET=images.list_images, POST=images.create_image),
        by_method("/images/github-tags", GET=images.github_tags),
        by_method("/images/{id}", GET=images.read_image),
        by_method("/images/{id}/log", GET=logs.read_log),
        by_method("/images/{id}/builds", GET=images.list_builds),
        by_method("/images/{id}/cancel", POST=images.cancel),
        by_method("/images/{id}/rebuild", POST=images.rebuild),
        by_method("/products", GET=products.list_products, POST=products.create_product),
        by_method("/products/{id}", GET=products.read_product, PATCH=products.change_product),
        by_method("/products/{id}/start", POST=products.start_product),
        by_method("/products/{id}/stop", POST=products.stop_product),
        by_method("/products/{id}/redeploy", POST=products.redeploy_product),
        by_method("/products/{id}/rollouts", GET=products.list_rollouts),
        by_method("/rollouts/{id}", GET=rollouts.read_rollout),
    ]


def by_method(path: str, **handlers: Handler) -> Route:
    """A route whose method picks the handler."""

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return Route(path, dispatch, methods=list(handlers))


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
    return Problem(status, detail, headers=refused.headers).response()


async def _bug(_request: Request, error: Exception) -> Response:
    log.error("request_crashed", exc_info=error)
    detail = "something is broken in Tagship itself; its log says what (request_crashed)"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail).response()
