"""Signing in with an API token, and out again.

The cookie is signed, HttpOnly and SameSite=Lax, so that a link in Slack still finds one signed in; what changes things
carries the session's CSRF token besides. A sign-in has no session yet: there, the browser's own word on where the form
came from must say that it was ours.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.access import audit, sessions
from app.access.model import Act, Subject, Via
from app.api.auth import need_csrf_token, session_behind
from app.api.services import services_of
from app.body import read_body
from app.dashboard.prefix import prefix_of
from app.dashboard.shell import render, to_sign_in, wrong
from app.errors import AppError
from app.postgres.pool import transaction
from app.problems import Problem
from app.settings import LONGEST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from app.api.auth import Doorkeeper

MOST_FORM_BYTES: Final = 16 * 1024
LONGEST_NEXT: Final = 2000
ELSEWHERE: Final = "this form came from another site; open Tagship and sign in there"


def signin_routes(doorkeeper: Doorkeeper) -> list[BaseRoute]:
    """The routes to sign in and out."""

    async def sign_in(request: Request) -> Response:
        """Begin a session and go on to where one wanted to go; the form again, with the reason, for a wrong token."""
        try:
            form = await _form(request)
            if not _is_ours(request):
                return wrong(
                    request, HTTPStatus.FORBIDDEN, "this form came from another site; open Tagship and sign in there"
                )
            return await _begin(request, doorkeeper, form)
        except Problem as problem:
            return wrong(request, problem.status, problem.detail)
        except AppError as error:
            return wrong(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    return [
        Route("/signin", _show, methods=["GET"]),
        Route("/signin", sign_in, methods=["POST"]),
        Route("/signout", _sign_out, methods=["POST"]),
    ]


async def _show(request: Request) -> Response:
    return _signin_page(request, request.query_params.get("next", ""))


async def _begin(request: Request, doorkeeper: Doorkeeper, form: Mapping[str, str]) -> Response:
    services, token, wanted = services_of(request), form.get("token", "").strip(), form.get("next", "")
    if not token or len(token) > LONGEST_TOKEN:
        return _signin_page(request, wanted, "Paste an API token.", HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        principal = await doorkeeper.admit(request, token)
    except Problem as refusal:
        sentence = "This is not a valid token: it is mistyped, revoked or expired."
        if refusal.status is HTTPStatus.TOO_MANY_REQUESTS:
            sentence = refusal.detail
        return _signin_page(request, wanted, sentence, refusal.status)
    async with transaction(services.pool) as conn:
        cookie = await sessions.begin(conn, services.vault, principal, token)
        address = request.client.host if request.client else None
        act = Act(principal.name, principal.token_id, Via.DASHBOARD, address, "sign_in")
        await audit.record(conn, act, Subject("token", principal.token_id, principal.name))
    base = prefix_of(services.settings.public_url)
    response = RedirectResponse(base + here_only(wanted), HTTPStatus.SEE_OTHER)
    response.set_cookie(
        sessions.COOKIE,
        cookie,
        path=base or "/",
        secure=services.settings.public_url.startswith("https://"),
        httponly=True,
        samesite="lax",
    )
    return response


async def _sign_out(request: Request) -> Response:
    """End the session, also in the database; whoever kept the cookie has nothing."""
    services = services_of(request)
    base = prefix_of(services.settings.public_url)
    try:
        session = await session_behind(request)
        if session is None:
            return to_sign_in(request)
        need_csrf_token(session, (await _form(request)).get("csrf", ""))
        async with transaction(services.pool) as conn:
            await sessions.end(conn, services.vault, request.cookies[sessions.COOKIE])
    except Problem as problem:
        return wrong(request, problem.status, problem.detail)
    except AppError as error:
        return wrong(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    response = RedirectResponse(f"{base}/signin", HTTPStatus.SEE_OTHER)
    response.delete_cookie(sessions.COOKIE, path=base or "/")
    return response


def here_only(wanted: str) -> str:
    """Where to go after the sign-in: a path of ours, never another site.

    >>> here_only("/images?name=a"), here_only("//evil.example"), here_only("https://evil.example"), here_only("")
    ('/images?name=a', '/', '/', '/')
    """
    if (
        not wanted.startswith("/")
        or wanted[1:2] in {"/", "\\"}
        or len(wanted) > LONGEST_NEXT
        or not wanted.isprintable()
    ):
        return "/"
    return wanted


def _is_ours(request: Request) -> bool:
    """Whether a form was sent from one of our pages, by the browser's word: Fetch Metadata, or else Origin."""
    if site := request.headers.get("sec-fetch-site"):
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    if origin is None:
        return True  # no browser of this decade: nobody whom another site could make ask
    own = {request.headers.get("host", ""), urlsplit(services_of(request).settings.public_url).netloc}
    return urlsplit(origin).netloc in own


async def _form(request: Request) -> dict[str, str]:
    body = await read_body(request, MOST_FORM_BYTES)
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
    return {name: values[-1] for name, values in fields.items()}


def _signin_page(request: Request, wanted: str, sentence: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
    return render(request, "signin.html", title="Sign in", status=status, next=here_only(wanted), sentence=sentence)
