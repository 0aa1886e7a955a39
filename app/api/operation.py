"""One call of the API as a value: its route, who may call it, what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response

from app.api.auth import need_role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import Receive, Scope, Send

    from app.access.model import Role
    from app.api.schema.base import In

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """``answer`` is the type of what comes back with ``status``: a model, a list of one, or None for no body.

    ``media`` names answers that are no JSON (server-sent events, text); ``refuses`` the statuses of problems that are
    this operation's own, beside those that any may give (401, 403, 404 for ids, 422, 429, 503). ``later`` is what comes
    back with 202 when it is not finished at once; ``bodiless`` says that the body may be left out.
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
    later: Any = None
    bodiless: bool = False

    @property
    def id(self) -> str:
        """Its name, in the OpenAPI document and in the audit log."""
        return self.handler.__name__

    @property
    def description(self) -> str:
        """What it does, in the words of its handler."""
        return " ".join((self.handler.__doc__ or "").split())


class _Methods:
    """Answers one path: each method by its operation, and every other with 405 and what there is.

    It takes the place of a route's list of methods, under which ``DELETE /images/github-tags`` would go on to the
    route of ``/images/{id}``.
    """

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations
        self._allowed = ", ".join(sorted({*operations, *({"HEAD"} if "GET" in operations else ())}))
        self._app = request_response(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        operation = self._operations.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": self._allowed})
        need_role(request, operation.role)
        request.state.operation = operation.id
        return await operation.handler(request)


def routes_of(operations: Iterable[Operation]) -> list[Route]:
    """One route for each path, whatever the method."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [Route(path, _Methods(methods)) for path, methods in by_path.items()]
