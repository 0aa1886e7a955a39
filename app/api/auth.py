"""Everything under /api/v1 needs ``Authorization: Bearer <token>``; checked before any handler and before the body
is read.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.requests import Request

from app.api.services import services_of
from app.problems import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class BearerAuth:
    """ASGI middleware: 401 as a problem unless the administrator's token is presented."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if scope["type"] == "http" and not token_matches(
            request.headers.get("authorization", ""), services_of(request).api_token
        ):
            refusal = Problem(
                HTTPStatus.UNAUTHORIZED,
                "this needs a valid token: send the header Authorization: Bearer <token>",
                headers={"WWW-Authenticate": 'Bearer realm="tagship"'},
            )
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


def token_matches(header: str, token: str) -> bool:
    """Whether an Authorization header presents the token; takes the same time wherever they differ."""
    scheme, _, presented = header.partition(" ")
    digests = [sha256(value.encode("utf-8", "surrogateescape")).digest() for value in (presented.strip(), token)]
    return scheme.lower() == "bearer" and hmac.compare_digest(*digests)
