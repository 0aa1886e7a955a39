"""One call of the API as a value: its route, who may call it, what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.api.auth import need_role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from app.access.model import Role
    from app.api.schema.base import In

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """``answer`` is the type of what comes back with ``status``: a model, a list of one, or None for no body.

    ``media`` names answers that are no JSON (server-sent events, text); ``refuses`` the statuses of problems that are
    this operation's own, beside those that any may give (401, 403, 404 for ids, 422, 503).
    """

    method: str
    path: str
    handler: Handler
    role: Role
    answer: Any = None
    status: HTTPStatus = HTTPStatus.OK
    body: type[In] | None = None
    query: type[In] | None = None
    media: tuple[str, ...] = ()
    refuses: tuple[HTTPStatus, ...] = ()

    @property
    def id(self) -> str:
        """Its name, in the OpenAPI document and in the audit log."""
        return self.handler.__name__

    @property
    def description(self) -> str:
        """What it does, in the words of its handler."""
        return " ".join((self.handler.__doc__ or "").split())


def routes_of(operations: Iterable[Operation]) -> list[Route]:
    """One route for each path, so that a wrong method is answered with all the right ones."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [_route(path, methods) for path, methods in by_path.items()]


def _route(path: str, methods: Mapping[str, Operation]) -> Route:
    async def dispatch(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        need_role(request, operation.role)
        request.state.operation = operation.id
        return await operation.handler(request)

    return Route(path, dispatch, methods=list(methods))
