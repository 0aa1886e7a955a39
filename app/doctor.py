"""tagship doctor: look at every part once and say in a line what is wrong and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg

from app.engine.client import Engine
from app.errors import DatabaseUnavailable
from app.findings import (
    MOST_REFUSALS,
    Finding,
    database_finding,
    disk_finding,
    engine_finding,
    github_finding,
    registry_finding,
    reports_finding,
    swarm_finding,
    tried,
    webhook_finding,
)
from app.github.client import GitHubClient
from app.main import database, open_registry
from app.postgres.pool import connect, place, reason
from app.reports.store import refusals

if TYPE_CHECKING:
    from app.reports.store import Refusal
    from app.settings import Settings

CLOSE_S: Final = 5.0


async def examine(settings: Settings) -> list[Finding]:
    """Look at database, engine, Swarm, GitHub, webhook, registry and disk, in that order; change nothing."""
    engine = Engine.open(
        settings.docker_host, tls_verify=settings.docker_tls_verify, cert_path=settings.docker_cert_path
    )
    try:
        return [
            await tried("database", lambda: _database(settings)),
            await tried("engine", lambda: engine_finding(engine)),
            await tried("swarm", lambda: swarm_finding(settings, engine)),
            await tried("github", lambda: _github(settings)),
            await reports_finding(settings, lambda: _refusals(settings)),
            webhook_finding(settings),
            await tried("registry", lambda: _registry(settings, engine)),
            await disk_finding(settings, engine),
        ]
    finally:
        await engine.close()


async def _database(settings: Settings) -> Finding:
    """Whether the database answers and has our schema; nothing is changed, though the embedded server may be started
    for it, and stopped again.
    """
    async with database(settings) as dsn:
        conn = await connect(dsn)
        try:
            return await database_finding(settings, conn)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailable(f"the database {place(dsn)} cannot be examined: {reason(error)}") from error
        finally:
            await conn.close(timeout=CLOSE_S)


async def _github(settings: Settings) -> Finding:
    github = GitHubClient.open(
        api_url=settings.github_api_url,
        token=settings.github_token,
        app_id=settings.github_app_id,
        app_private_key=settings.github_app_private_key,
    )
    try:
        return await github_finding(github)
    finally:
        await github.close()


async def _refusals(settings: Settings) -> list[Refusal]:
    async with database(settings) as dsn:
        conn = await connect(dsn)
        try:
            if await conn.fetchval("select to_regclass('report_refusals')") is None:
                return []
            return await refusals(conn, MOST_REFUSALS)
        finally:
            await conn.close(timeout=CLOSE_S)


async def _registry(settings: Settings, engine: Engine) -> Finding:
    registry = open_registry(settings, engine)
    if registry is None:
        return await registry_finding(None)
    async with registry:
        return await registry_finding(registry)
