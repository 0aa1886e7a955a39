"""The pages /settings: which repositories are watched, who is told, who may do what, and how Tagship itself is."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from app.access.model import Role
from app.access.store import list_tokens
from app.api.schema.notices import NoticeOut
from app.api.services import services_of
from app.builds.model import web_url
from app.dashboard.asking import asked_choice, asked_id, query_of
from app.dashboard.shell import render
from app.findings import reachable_finding
from app.mask import MASK
from app.notices import channels
from app.notices import store as notices
from app.notices.model import ChannelKind, NoticeEvent, NoticeState
from app.postgres.pool import transaction
from app.reconcile.hooks import PATH
from app.repositories import store as repositories
from app.repositories.model import MovedTagPolicy

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from app.settings import Settings

PAGE: Final = 50
PAGES: Final = (
    ("/settings", "Repositories"),
    ("/settings/channels", "Channels"),
    ("/settings/notices", "Notices"),
    ("/settings/tokens", "Tokens"),
    ("/settings/system", "System"),
)


async def show_repositories(request: Request) -> Response:
    """Which repositories are watched, and how GitHub is told to deliver here."""
    services, before = services_of(request), asked_id(request, "before")
    async with transaction(services.pool) as conn:
        listed = await repositories.list_page(conn, repo=None, before=before, limit=PAGE + 1)
    settings = services.settings
    return render(
        request,
        "settings_repositories.html",
        title="Repositories",
        pages=PAGES,
        repositories=listed[:PAGE],
        older=query_of({}, before=listed[PAGE - 1].id) if len(listed) > PAGE else None,
        policies=list(MovedTagPolicy),
        payload_url=f"{settings.public_url}{PATH}",
        address=reachable_finding(settings.public_url),
        has_secret=bool(settings.webhook_secrets),
        github=web_url(settings.github_api_url),
    )


async def show_channels(request: Request) -> Response:
    """Who is told of what."""
    async with transaction(services_of(request).pool) as conn:
        listed = await channels.list_page(conn, before=asked_id(request, "before"), limit=PAGE + 1)
    return render(
        request,
        "settings_channels.html",
        title="Channels",
        pages=PAGES,
        channels=listed[:PAGE],
        older=query_of({}, before=listed[PAGE - 1].id) if len(listed) > PAGE else None,
        kinds=list(ChannelKind),
        events=list(NoticeEvent),
        mask=MASK,
    )


async def show_notices(request: Request) -> Response:
    """What was sent where, with the answers."""
    services, state = services_of(request), asked_choice(request, "state", NoticeState)
    async with transaction(services.pool) as conn:
        listed = await notices.list_page(
            conn, state=state, event=None, channel_id=None, before=asked_id(request, "before"), limit=PAGE + 1
        )
    return render(
        request,
        "settings_notices.html",
        title="Notices",
        pages=PAGES,
        notices=[NoticeOut.of(notice, services.settings.public_url) for notice in listed[:PAGE]],
        older=query_of({"state": state}, before=listed[PAGE - 1].id) if len(listed) > PAGE else None,
        states=list(NoticeState),
        wanted=state,
    )


async def show_tokens(request: Request) -> Response:
    """Who may do what; for administrators."""
    async with transaction(services_of(request).pool) as conn:
        listed = await list_tokens(conn, before=asked_id(request, "before"), limit=PAGE + 1)
    return render(
        request,
        "settings_tokens.html",
        title="Tokens",
        pages=PAGES,
        tokens=listed[:PAGE],
        older=query_of({}, before=listed[PAGE - 1].id) if len(listed) > PAGE else None,
        roles=list(Role),
    )


async def show_system(request: Request) -> Response:
    """How Tagship is, what retention would remove, and the settings in force. Their secrets are not among them."""
    settings = services_of(request).settings
    return render(
        request,
        "settings_system.html",
        title="System",
        pages=PAGES,
        version=version("tagship"),
        settings=in_force(settings),
    )


def in_force(settings: Settings) -> list[tuple[str, str]]:
    """Each setting as the environment names it, with its value; of a secret only whether there is one."""
    shown = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None:
            text = "not set"
        elif isinstance(value, SecretStr):
            text = "set, secret"
        else:
            text = str(value)
        shown.append((name.upper(), text))
    return shown
