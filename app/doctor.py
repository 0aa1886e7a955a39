"""tagship doctor: look at every part once and say in a line what is wrong and how to mend it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.engine.client import Engine
from app.errors import AppError
from app.github.client import GitHubClient
from app.main import database
from app.postgres.migrate import migrate
from app.postgres.pool import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.settings import Settings

LEAST_FREE_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``needed`` parts that fail make ``doctor`` fail; others are advice."""

    part: str
    ok: bool
    sentence: str
    needed: bool = True


async def examine(settings: Settings) -> list[Finding]:
    """Look at database, engine, Swarm, GitHub, registry and disk, in that order."""
    engine = Engine.open(
        settings.docker_host, tls_verify=settings.docker_tls_verify, cert_path=settings.docker_cert_path
    )
    try:
        return [
            await _tried("database", lambda: _database(settings)),
            await _tried("engine", lambda: _engine(engine)),
            await _tried("swarm", lambda: _swarm(engine)),
            await _tried("github", lambda: _github(settings)),
            _webhook(settings),
            _disk(settings),
        ]
    finally:
        await engine.close()


async def _tried(part: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await look()
    except AppError as error:
        return Finding(part, ok=False, sentence=str(error))


async def _database(settings: Settings) -> Finding:
    async with database(settings) as dsn:
        await migrate(dsn)
        conn = await connect(dsn)
        try:
            version = await conn.fetchval("show server_version")
        finally:
            await conn.close()
    kind = "embedded" if settings.database_url is None else "from DATABASE_URL"
    return Finding("database", ok=True, sentence=f"PostgreSQL {version}, {kind}, schema up to date")


async def _engine(engine: Engine) -> Finding:
    info = await engine.describe()
    version = ".".join(map(str, info.api_version))
    return Finding("engine", ok=True, sentence=f"Docker {info.version} (API {version}) at {engine.host}")


async def _swarm(engine: Engine) -> Finding:
    info = await engine.describe()
    if not info.swarm_active or not info.swarm_manager:
        return Finding(
            "swarm", ok=False, sentence="the engine is not a manager of a swarm; run `docker swarm init` on it"
        )
    if info.nodes > 1:
        sentence = (
            f"{info.nodes} nodes, and images are only on this engine: products cannot start before a registry is set"
        )
        return Finding("swarm", ok=False, sentence=sentence)
    if not info.ipvs:
        sentence = "active; this kernel lacks IPVS, so ports answer only with publish_mode host"
        return Finding("swarm", ok=True, sentence=sentence)
    return Finding("swarm", ok=True, sentence="active, one node")


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


def _webhook(settings: Settings) -> Finding:
    if not settings.webhook_secrets:
        sentence = "no secret: set GITHUB_WEBHOOK_SECRET, or every delivery is refused"
        return Finding("webhook", ok=False, sentence=sentence)
    return Finding("webhook", ok=True, sentence=f"deliveries go to {settings.public_url}/webhooks/github")


def _disk(settings: Settings) -> Finding:
    folder = settings.tagship_data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    sentence = f"{free / 1024**3:.1f} GiB free under {settings.tagship_data_dir}"
    if free < LEAST_FREE_BYTES:
        return Finding("disk", ok=False, sentence=f"only {sentence}; make room", needed=False)
    return Finding("disk", ok=True, sentence=sentence)
