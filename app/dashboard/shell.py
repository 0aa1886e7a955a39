"""What every page stands in: the templates, who is signed in, and how a page answers when something is wrong.

A page reads and shows; whatever it changes goes through the API, which its buttons call (static/tagship.js). So there
is one place that checks, changes and writes the audit log.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.parse import quote

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from app.access.model import Role
from app.api.auth import session_behind
from app.api.services import services_of
from app.dashboard import wording
from app.dashboard.prefix import prefix_of
from app.dashboard.static import static_url
from app.errors import AppError
from app.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from app.access.sessions import Session

    Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

log = structlog.get_logger(__name__)

NAV: Final = (
    ("/", "Overview"),
    ("/images", "Images"),
    ("/products", "Products"),
    ("/deliveries", "Deliveries"),
    ("/activity", "Activity"),
    ("/settings", "Settings"),
)
ADMINS_ONLY: Final = {"/activity"}  # as the audit log in the API
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= wording.FILTERS


def render(
    request: Request, template: str, *, title: str, status: HTTPStatus = HTTPStatus.OK, **values: Any
) -> HTMLResponse:
    """A page made from ``templates/<template>``.

    Every template has ``base`` (what links begin with), ``title``, ``nav``, ``principal`` and ``csrf`` (None when
    nobody is signed in), ``may(role)`` and ``static(name)`` (the address of a file in static/).
    """
    base = prefix_of(services_of(request).settings.public_url)
    session = session_of(request)
    shown = {
        "base": base,
        "title": title,
        "nav": _nav_of(session),
        "path": request.url.path.removeprefix(base) or "/",
        "principal": session.principal if session else None,
        "csrf": session.csrf if session else None,
        "may": lambda role: session is not None and session.principal.role.allows(Role(role)),
        "static": lambda name: base + static_url(name),
    }
    html = TEMPLATES.get_template(template).render(shown | values)
    return HTMLResponse(html, status, headers={"Content-Security-Policy": POLICY})


def _nav_of(session: Session | None) -> list[tuple[str, str]]:
    """The pages that whoever is signed in may see."""
    is_admin = session is not None and session.principal.role is Role.ADMIN
    return [(path, name) for path, name in NAV if is_admin or path not in ADMINS_ONLY]


def session_of(request: Request) -> Session | None:
    """Who is signed in, as the request's state has it; None for nobody."""
    return cast("Session | None", getattr(request.state, "session", None))


def page(path: str, handler: Handler, *, role: Role = Role.READ) -> Route:
    """A route to a page for those who are signed in with at least that role; others are sent to sign in. What goes
    wrong is shown as a page too.
    """

    async def answer(request: Request) -> Response:
        try:
            session = await session_behind(request)
            if session is None:
                return to_sign_in(request)
            request.state.principal = session.principal
            if not session.principal.role.allows(role):
                sentence = f"this page needs the role {role}, and {session.principal.name} has {session.principal.role}"
                return wrong(request, HTTPStatus.FORBIDDEN, sentence)
            return await handler(request)
        except Problem as problem:
            return wrong(request, problem.status, problem.detail)
        except HTTPException as refused:
            return wrong(request, HTTPStatus(refused.status_code), refused.detail)
        except AppError as error:
            log.warning("page_failed", path=path, reason=str(error))
            return wrong(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    return Route(path, answer, methods=["GET"])


def to_sign_in(request: Request) -> Response:
    """Where to sign in; afterwards one comes back to this page."""
    base = prefix_of(services_of(request).settings.public_url)
    here = request.url.path.removeprefix(base) or "/"
    if request.url.query:
        here += f"?{request.url.query}"
    return RedirectResponse(f"{base}/signin?next={quote(here, safe='')}", HTTPStatus.SEE_OTHER)


def wrong(request: Request, status: HTTPStatus, sentence: str) -> Response:
    """The page that says what is wrong."""
    return render(request, "wrong.html", title=status.phrase, status=status, sentence=sentence)
