"""The API over a real database, asked in this process: for tests that need no engine and no workers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final, cast

import httpx

from app.access.model import Role, new_token
from app.access.store import insert_token
from app.api.services import Services
from app.postgres.listen import Wakeups
from app.postgres.pool import transaction
from app.receivers.client import Sender
from app.receivers.guard import Guard
from app.settings import load_settings
from app.web import create_app
from tests.factories import VAULT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from app.engine.client import Engine
    from app.github.client import GitHubClient
    from app.postgres.pool import Pool

ADMIN_TOKEN: Final = "the-administrators-token"
SECRET: Final = "a webhook secret"
ADDRESS: Final = "192.0.2.7"
LOOPBACK: Final = (ip_network("127.0.0.0/8"),)


def api_services(pool: Pool, *, github: GitHubClient | None = None, **environment: str) -> Services:
    """What handlers work with, without an engine; settings as in the environment given."""
    return Services(
        settings=load_settings({"GITHUB_WEBHOOK_SECRET": SECRET} | environment),
        pool=pool,
        engine=cast("Engine", None),
        github=cast("GitHubClient", github),
        wakeups=Wakeups(""),
        vault=VAULT,
        api_token=ADMIN_TOKEN,
        stalled=list,
        stopping=asyncio.Event(),
        sender=Sender(Guard(LOOPBACK)),
        registry=None,
    )


@asynccontextmanager
async def asking(services: Services, token: str = ADMIN_TOKEN, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API; what crashes in a handler crashes in the test."""
    transport = httpx.ASGITransport(create_app(services), client=(ADDRESS, 4711))
    sent = {"Authorization": f"Bearer {token}"} | headers
    async with httpx.AsyncClient(transport=transport, base_url="http://tagship/api/v1", headers=sent) as client:
        yield client
    await services.sender.close()


async def token_for(pool: Pool, role: Role, *, name: str | None = None, expires_at: datetime | None = None) -> str:
    """A valid token with that role."""
    token = new_token()
    async with transaction(pool) as conn:
        made = await insert_token(conn, name=name or f"a {role} token", role=role, token=token, expires_at=expires_at)
    assert made is not None
    return token


async def audit_rows(pool: Pool) -> list[dict[str, Any]]:
    """The audit log, oldest first."""
    async with transaction(pool) as conn:
        return [dict(row) for row in await conn.fetch("select * from audit_log order by id")]


def refused_fields(answer: httpx.Response) -> list[str]:
    """The fields that a problem names, each by its own name."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return [error["loc"][0] for error in answer.json().get("errors", [])]


async def waits_for_a_lock(pool: Pool) -> bool:
    """Whether another transaction of this database waits for one that is under way."""
    async with pool.acquire() as conn:
        return bool(
            await conn.fetchval(
                "select exists (select 1 from pg_stat_activity"
                " where wait_event_type = 'Lock' and datname = current_database())"
            )
        )
