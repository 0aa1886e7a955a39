"""The pages /settings: which repositories are watched, who is told, who may do what, and how Tagship itself is."""

from __future__ import annotations

from dataclasses import dataclass
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
from app.notices.model import ChannelKind, NoticeEvent, NoticeState, Subject
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.reconcile.hooks import PATH
from app.repositories import store as repositories
from app.repositories.model import MovedTagPolicy

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response

    from app.notices.model import Notice
    from app.postgres.pool import Connection
    from app.settings import Settings

SQL: Final = load_queries("settings_page")

PAGE: Final = 50
PAGES: Final = (
    ("/settings", "Repositories"),
    ("/settings/channels", "Channels"),
    ("/settings/notices", "Notices"),
    ("/settings/tokens", "Tokens"),
    ("/settings/system", "System"),
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """The last delivery of a repository."""

    id: int
    state: str
    received_at: datetime


async def show_repositories(request: Request) -> Response:
    """Which repositories are watched, and how GitHub is told to deliver here."""
    services, before = services_of(request), asked_id(request, "before")
    async with transaction(services.pool) as conn:
        listed = await repositories.list_page(conn, repo=None, before=before, limit=PAGE + 1)
        arrived = await _arrived(conn, [one.repo for one in listed])
    settings = services.settings
    return render(
        request,
        "settings_repositories.html",
        title="Repositories",
        pages=PAGES,
        repositories=listed[:PAGE],
        arrived=arrived,
        older=query_of({}, before=listed[PAGE - 1].id) if len(listed) > PAGE else None,
        policies=list(MovedTagPolicy),
        payload_url=f"{settings.public_url}{PATH}",
        address=reachable_finding(settings),
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
        notices=[(NoticeOut.of(one, services.settings.public_url), place_of(one)) for one in listed[:PAGE]],
        older=query_of({"state": state}, before=listed[PAGE - 1].id) if len(listed) > PAGE else None,
        states=list(NoticeState),
        wanted=state,
    )


async def show_tokens(request: Request) -> Response:
    """Who may do what; for administrators."""
    async with transaction(services_of(request).pool) as conn:
        listed = await list_tokens(conn, before=asked_id(request, "before"), limit=PAGE + 1)
        expired = {row["id"] for row in await conn.fetch(SQL.expired_tokens, [one.id for one in listed])}
    return render(
        request,
        "settings_tokens.html",
        title="Tokens",
        pages=PAGES,
        tokens=listed[:PAGE],
        expired=expired,
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
        retention=settings,
    )


async def _arrived(conn: Connection, repos: list[str]) -> dict[str, Arrived]:
    """The last delivery of each of these repositories that something has come from."""
    rows = await conn.fetch(SQL.last_deliveries, repos)
    return {row["repo"]: Arrived(row["id"], row["state"], row["received_at"]) for row in rows}


def place_of(notice: Notice) -> str | None:
    """The page of what a notice is about, below the prefix; None when facts that other code wrote do not say."""
    name, folder = ("image_id", "images") if notice.subject is Subject.BUILD else ("product_id", "products")
    found = notice.facts.get(name)
    return f"/{folder}/{found}" if isinstance(found, int) else None


def in_force(settings: Settings) -> list[tuple[str, str]]:
    """Each setting as the environment names it, with its value; of a secret only whether there is one."""
    shown = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None:
            text = "not set"
        elif isinstance(value, SecretStr):
            text = "set, secret"
        elif isinstance(value, bool):
            text = "on" if value else "off"
        else:
            text = str(value)
        shown.append((name.upper(), text))
    return shown
