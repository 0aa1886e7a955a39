"""tagship doctor: look at every part once and say in a line what is wrong and how to mend it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from app.engine.client import Engine
from app.errors import AppError, DatabaseUnavailable
from app.github.client import GitHubClient
from app.main import database, open_registry
from app.postgres.migrate import plan, read_migrations
from app.postgres.pool import connect, place, reason
from app.postgres.queries import sql_folder
from app.reports.store import refusals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.postgres.pool import Dedicated
    from app.reports.store import Refusal
    from app.settings import Settings

MIB: Final = 1024**2
GIB: Final = 1024**3
LEAST_FREE_BYTES: Final = 2 * GIB
CLOSE_S: Final = 5.0
MOST_REFUSALS: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``needed`` parts that fail make ``doctor`` fail; others are advice."""

    part: str
    ok: bool
    sentence: str
    needed: bool = True


async def examine(settings: Settings) -> list[Finding]:
    """Look at database, engine, Swarm, GitHub, webhook, registry and disk, in that order; change nothing."""
    engine = Engine.open(
        settings.docker_host, tls_verify=settings.docker_tls_verify, cert_path=settings.docker_cert_path
    )
    try:
        return [
            await _tried("database", lambda: _database(settings)),
            await _tried("engine", lambda: _engine(engine)),
            await _tried("swarm", lambda: _swarm(settings, engine)),
            await _tried("github", lambda: _github(settings)),
            await _reports(settings),
            _webhook(settings),
            await _tried("registry", lambda: _registry(settings, engine)),
            await _disk(settings, engine),
        ]
    finally:
        await engine.close()


async def _tried(part: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await look()
    except AppError as error:
        return Finding(part, ok=False, sentence=str(error))


async def _database(settings: Settings) -> Finding:
    """Whether the database answers and has our schema; nothing is changed, though the embedded server may be started
    for it, and stopped again.
    """
    async with database(settings) as dsn:
        conn = await connect(dsn)
        try:
            version = await conn.fetchval("show server_version")
            waiting = len(plan(read_migrations(sql_folder() / "migrations"), await _applied(conn)))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailable(f"the database {place(dsn)} cannot be examined: {reason(error)}") from error
        finally:
            await conn.close(timeout=CLOSE_S)
    kind = "embedded" if settings.database_url is None else "from DATABASE_URL"
    schema = f"{waiting} migration{'s' * (waiting != 1)} to apply, run `tagship migrate`" if waiting else "up to date"
    return Finding("database", ok=True, sentence=f"PostgreSQL {version}, {kind}, schema: {schema}")


async def _applied(conn: Dedicated) -> dict[int, tuple[str, str]]:
    """Name and checksum of each migration that the database has had, by version."""
    if await conn.fetchval("select to_regclass('schema_migrations')") is None:
        return {}
    rows = await conn.fetch("select version, name, checksum from schema_migrations")
    return {row["version"]: (row["name"], row["checksum"]) for row in rows}


async def _engine(engine: Engine) -> Finding:
    info = await engine.describe()
    version = ".".join(map(str, info.api_version))
    return Finding("engine", ok=True, sentence=f"Docker {info.version} (API {version}) at {engine.host}")


async def _swarm(settings: Settings, engine: Engine) -> Finding:
    info = await engine.describe()
    if not info.swarm_active or not info.swarm_manager:
        return Finding(
            "swarm", ok=False, sentence="the engine is not a manager of a swarm; run `docker swarm init` on it"
        )
    if info.nodes > 1 and settings.registry is None:
        sentence = f"{info.nodes} nodes, and images are only on this engine: set REGISTRY, or remove the other nodes"
        return Finding("swarm", ok=False, sentence=sentence)
    if not info.ipvs:
        sentence = "active; this kernel lacks IPVS, so ports answer only with publish_mode host"
        return Finding("swarm", ok=True, sentence=sentence)
    nodes = "one node" if info.nodes == 1 else f"{info.nodes} nodes"
    return Finding("swarm", ok=True, sentence=f"active, {nodes}")


async def _github(settings: Settings) -> Finding:
    github = GitHubClient.open(
        api_url=settings.github_api_url,
        token=settings.github_token,
        app_id=settings.github_app_id,
        app_private_key=settings.github_app_private_key,
    )
    try:
        return Finding("github", ok=True, sentence=await github.check())
    finally:
        await github.close()


async def _reports(settings: Settings) -> Finding:
    """Whether builds and rollouts are told to GitHub, and where it refused that; advice at most."""
    if settings.tagship_github_reports == "off":
        return Finding("reports", ok=True, sentence="GitHub is told nothing: TAGSHIP_GITHUB_REPORTS is off")
    if not settings.reports_to_github:
        sentence = "GitHub is told nothing: that needs GITHUB_TOKEN or a GitHub App"
        return Finding("reports", ok=True, sentence=sentence)
    try:
        refused = await _refusals(settings)
    except (AppError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        sentence = "where GitHub refuses reports is not known without the database"
        return Finding("reports", ok=False, sentence=sentence, needed=False)
    if not refused:
        return Finding("reports", ok=True, sentence="builds are commit statuses on GitHub, and rollouts deployments")
    first = refused[0]
    count = f"{MOST_REFUSALS} or more" if len(refused) == MOST_REFUSALS else str(len(refused))
    since, again = (f"{time:%Y-%m-%d %H:%M} UTC" for time in (first.refused_at, first.retry_at))
    sentence = (
        f"GitHub refused {count} kind{'s' * (len(refused) != 1)} of report, so they are left out: {first.kind} of"
        f" {first.repo} since {since}, tried again at {again} ({first.reason}); let our credentials write commit"
        " statuses and deployments, or set TAGSHIP_GITHUB_REPORTS=off"
    )
    return Finding("reports", ok=False, sentence=sentence, needed=False)


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
        return Finding("registry", ok=True, sentence="none configured; images stay on this engine")
    async with registry:
        return Finding("registry", ok=True, sentence=await registry.check())


def _webhook(settings: Settings) -> Finding:
    if not settings.webhook_secrets:
        sentence = "no secret: set GITHUB_WEBHOOK_SECRET, or every delivery is refused"
        return Finding("webhook", ok=False, sentence=sentence)
    return Finding("webhook", ok=True, sentence=f"deliveries go to {settings.public_url}/webhooks/github")


async def _disk(settings: Settings, engine: Engine) -> Finding:
    """Room for our own files, and for the engine's where they are on this machine; advice, for it may suffice."""
    places = [(_free_bytes(settings.tagship_data_dir), str(settings.tagship_data_dir))]
    if (folder := await _data_of(engine)) is not None:
        places.append((_free_bytes(folder), f"{folder} (the engine's)"))
    said = ", ".join(f"{_size(free)} free under {place}" for free, place in places)
    short = [place for free, place in places if free < LEAST_FREE_BYTES]
    if not short:
        return Finding("disk", ok=True, sentence=said)
    return Finding("disk", ok=False, sentence=f"only {said}; make room under {' and '.join(short)}", needed=False)


async def _data_of(engine: Engine) -> Path | None:
    """Where the engine keeps its images, if it can be looked at: it runs here, and we may."""
    if not engine.host.startswith("unix://"):
        return None
    try:
        told = (await engine.call("describe itself", "info")).get("DockerRootDir")
    except AppError:
        return None
    return Path(told) if told and os.access(told, os.R_OK | os.X_OK) else None


def _free_bytes(folder: Path) -> int:
    """What is free where the folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"
