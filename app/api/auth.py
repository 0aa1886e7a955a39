"""Everything under /api/v1 needs ``Authorization: Bearer <token>``, or a session of the dashboard; checked before any
handler and before the body is read. What a token is good for is its role, which each operation asks for.

Whoever presents wrong tokens has to pause. Nobody guesses 256 random bits: the pause spares the database. It must not
lock out the right tokens of others behind the same proxy, so that a client that has to pause is still let in with the
settings' token, and with one whose hash is among those of all valid tokens, which are read once a second at most.
"""

from __future__ import annotations

import asyncio
import hmac
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import structlog
from starlette.requests import Request

from app.access import sessions
from app.access.model import ADMINISTRATOR, Act, Principal, Role, Via, hash_of
from app.access.store import principal_of, valid_hashes
from app.access.throttle import Throttle, client_of
from app.api.services import services_of
from app.errors import DatabaseUnavailable
from app.postgres.pool import transaction
from app.problems import Problem
from app.settings import LONGEST_TOKEN

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.access.sessions import Session
    from app.postgres.pool import Pool

log = structlog.get_logger(__name__)

CLI_AGENT: Final = "tagship-cli/"
MOST_WRONG: Final = 10
WINDOW_S: Final = 60.0
FRESH_S: Final = 1.0
SAFE: Final = {"GET", "HEAD", "OPTIONS"}
CSRF_HEADER: Final = "X-CSRF-Token"


class Doorkeeper:
    """Lets in whoever presents a valid token; one for all doors of a process, so that wrong tokens count together."""

    def __init__(self) -> None:
        self._wrong = Throttle(MOST_WRONG, WINDOW_S)
        self._hashes = _ValidHashes()

    async def admit(self, request: Request, token: str) -> Principal:
        """Whoever the token stands for; raises the 401, the 429, or ``DatabaseUnavailable``."""
        services = services_of(request)
        if not token:
            raise _unauthorized()
        if hmac.compare_digest(hash_of(token), hash_of(services.api_token)):
            return Principal(ADMINISTRATOR, Role.ADMIN, None)
        client = client_of(request.client.host) if request.client else None  # None: all of a Unix socket
        now = asyncio.get_running_loop().time()
        wait_s = self._wrong.wait_s(client, now) if client is not None else 0.0
        if wait_s and not await self._hashes.hold(services.pool, token):
            raise _too_many(wait_s)
        async with transaction(services.pool) as conn:
            principal = await principal_of(conn, token)
        if principal is None:
            if client is not None and self._wrong.failed(client, now):
                log.warning("wrong_tokens_throttled", address=client, seconds=WINDOW_S)
            raise _unauthorized()
        return principal


class BearerAuth:
    """ASGI middleware: 401 as a problem unless a valid token is presented, 429 after too many wrong ones; it leaves the
    ``Principal`` in the request's state.

    The dashboard's pages call the API with the cookie of their session instead. A browser sends a cookie along
    whoever made it ask, so that a change must also carry the session's CSRF token.
    """

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper) -> None:
        self._app, self._doorkeeper = app, doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.principal = await self._authenticate(request)
        except Problem as refusal:
            await refusal.response()(scope, receive, send)
            return
        except DatabaseUnavailable as error:
            unavailable = Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": "5"})
            await unavailable.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _authenticate(self, request: Request) -> Principal:
        if "authorization" not in request.headers and (session := await session_behind(request)) is not None:
            if request.method not in SAFE:
                need_csrf_token(session, request.headers.get(CSRF_HEADER, ""))
            return session.principal
        return await self._doorkeeper.admit(request, token_of(request.headers.get("authorization", "")))


async def session_behind(request: Request) -> Session | None:
    """The session whose cookie came with this request, which its state keeps; None when nobody is signed in."""
    services, cookie = services_of(request), request.cookies.get(sessions.COOKIE, "")
    if not cookie:
        return None
    async with transaction(services.pool) as conn:
        session = await sessions.find(conn, services.vault, cookie, services.api_token)
    if session is not None:
        request.state.session = session
    return session


def need_csrf_token(session: Session, presented: str) -> None:
    """Raise the 403 unless a change carries the token that only pages of the session's own have."""
    if not hmac.compare_digest(session.csrf.encode(), presented.encode("utf-8", "surrogatepass")):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"a change by the cookie of a session must carry its CSRF token in {CSRF_HEADER}; load the page again",
        )


class _ValidHashes:
    """The hashes of all valid tokens, as they were within the last second."""

    def __init__(self) -> None:
        self._one_reads, self._read_at = asyncio.Lock(), -FRESH_S
        self._hashes: frozenset[bytes] = frozenset()

    async def hold(self, pool: Pool, token: str) -> bool:
        async with self._one_reads:
            if asyncio.get_running_loop().time() - self._read_at >= FRESH_S:
                async with transaction(pool) as conn:
                    self._hashes = await valid_hashes(conn)
                self._read_at = asyncio.get_running_loop().time()
        return hash_of(token) in self._hashes


def _unauthorized() -> Problem:
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "this needs a valid token: send the header Authorization: Bearer <token>",
        headers={"WWW-Authenticate": 'Bearer realm="tagship"'},
    )


def _too_many(wait_s: float) -> Problem:
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"too many wrong tokens came from your address; wait {math.ceil(wait_s)} s, or send a valid one",
        headers={"Retry-After": str(math.ceil(wait_s))},
    )


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
    if hasattr(request.state, "session"):
        via = Via.DASHBOARD
    address = request.client.host if request.client else None
    return Act(principal.name, principal.token_id, via, address, request.state.operation)
