"""Everything under /api/v1 needs ``Authorization: Bearer <token>``; checked before any handler and before the body
is read. What a token is good for is its role, which each operation asks for.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from starlette.requests import Request

from app.access.model import ADMINISTRATOR, Act, Principal, Role, Via, hash_of
from app.access.store import principal_of
from app.api.services import services_of
from app.errors import DatabaseUnavailable
from app.postgres.pool import transaction
from app.problems import Problem
from app.settings import LONGEST_TOKEN

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.api.services import Services

CLI_AGENT: Final = "tagship-cli/"


class BearerAuth:
    """ASGI middleware: 401 as a problem unless a valid token is presented; it leaves the ``Principal`` in the
    request's state.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.principal = await authenticate(services_of(request), request.headers.get("authorization", ""))
        except Problem as refusal:
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def authenticate(services: Services, header: str) -> Principal:
    """Whoever an Authorization header stands for; raises the 401, or 503 when tokens cannot be looked up."""
    token = token_of(header)
    if token and hmac.compare_digest(hash_of(token), hash_of(services.api_token)):
        return Principal(ADMINISTRATOR, Role.ADMIN, None)
    try:
        async with transaction(services.pool) as conn:
            principal = await principal_of(conn, token) if token else None
    except DatabaseUnavailable as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": "5"}) from error
    if principal is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "this needs a valid token: send the header Authorization: Bearer <token>",
            headers={"WWW-Authenticate": 'Bearer realm="tagship"'},
        )
    return principal


def token_of(header: str) -> str:
    """The token that an Authorization header presents, "" when it presents none."""
    scheme, _, presented = header.partition(" ")
    token = presented.strip()
    return token if scheme.lower() == "bearer" and len(token) <= LONGEST_TOKEN else ""


def principal_behind(request: Request) -> Principal:
    """Whoever sent this request."""
    return cast("Principal", request.state.principal)


def need_role(request: Request, needed: Role) -> None:
    """Raise the 403 unless whoever sent this request may do what needs that role."""
    principal = principal_behind(request)
    if not principal.role.allows(needed):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"this needs a token with the role {needed}, and the token {principal.name} has the role {principal.role}",
        )


def act_of(request: Request) -> Act:
    """What this request does, for the audit log; ``operation`` is put into its state when it is dispatched."""
    principal = principal_behind(request)
    via = Via.CLI if request.headers.get("user-agent", "").startswith(CLI_AGENT) else Via.API
    address = request.client.host if request.client else None
    return Act(principal.name, principal.token_id, via, address, request.state.operation)
