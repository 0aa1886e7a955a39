"""The composition root: opens every part in order, runs the workers, and takes all down again in the reverse order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from app.api.services import Services
from app.engine.client import Engine
from app.github.client import GitHubClient
from app.log import configure_logging
from app.metrics.instruments import Metrics
from app.metrics.lag import watch_lag
from app.notices import channels
from app.postgres.embedded import EmbeddedPostgres
from app.postgres.listen import Wakeups
from app.postgres.migrate import migrate
from app.postgres.pool import create_pool, transaction, waiting
from app.queue.loop import POLL_S, Loop
from app.receivers.client import Sender
from app.receivers.guard import Guard
from app.registry.client import RegistryClient
from app.reports import store as reports
from app.sealing import Vault, load_or_create_secret
from app.stages import stages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Pool
    from app.settings import Settings

log = structlog.get_logger(__name__)

POOL_SIZE: Final = 20
STALLED_AFTER_S: Final = 30.0
CLOSE_S: Final = 2.0
SECRET_BYTES: Final = 32


class Workers:
    """The background loops of one process."""

    def __init__(self) -> None:
        self.loops: list[Loop[Any]] = []
        self.stopping = asyncio.Event()

    def stalled(self) -> list[str]:
        """The names of loops that have not turned for a while, although they turn every few seconds."""
        return [loop.stage.name for loop in self.loops if loop.turn_age() > STALLED_AFTER_S + POLL_S]

    def stop(self) -> None:
        """Claim nothing more and hand back what runs."""
        self.stopping.set()
        for loop in self.loops:
            loop.stop()


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """The DSN of the configured database, or of the embedded server, which runs as long as this context."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    server = await EmbeddedPostgres.start(settings.tagship_data_dir / "postgres")
    try:
        yield server.dsn
    finally:
        await server.stop()


@asynccontextmanager
async def open_services(settings: Settings, dsn: str, workers: Workers) -> AsyncIterator[Services]:
    """Every part a process needs, migrated and connected; closed again on leaving, the last opened first.

    Raises ``DatabaseUnavailable`` when there is no database. An engine that does not answer is no obstacle: it may
    come.
    """
    applied = await migrate(dsn)
    if applied:
        log.info("database_migrated", migrations=applied)
    async with AsyncExitStack() as stack:
        pool = await create_pool(dsn, size=POOL_SIZE)
        stack.push_async_callback(close_pool, pool)
        engine = Engine.open(
            settings.docker_host, tls_verify=settings.docker_tls_verify, cert_path=settings.docker_cert_path
        )
        stack.push_async_callback(engine.close)
        github = GitHubClient.open(
            api_url=settings.github_api_url,
            token=settings.github_token,
            app_id=settings.github_app_id,
            app_private_key=settings.github_app_private_key,
        )
        stack.push_async_callback(github.close)
        sender = Sender(Guard(settings.private_networks))
        stack.push_async_callback(sender.close)
        registry = open_registry(settings, engine)
        if registry is not None:
            stack.push_async_callback(registry.close)
        wakeups = Wakeups(dsn)
        listening = asyncio.create_task(wakeups.run())
        stack.callback(listening.cancel)
        metrics = open_metrics(pool, wakeups)
        sampling = asyncio.create_task(watch_lag(metrics.loop_lag.observe))
        stack.callback(sampling.cancel)
        await declare(settings, pool)
        token, key = api_token(settings), secret_key(settings)
        configure_logging(settings.tagship_log_format, secrets=all_secrets(settings))
        yield Services(
            settings=settings,
            pool=pool,
            engine=engine,
            github=github,
            wakeups=wakeups,
            vault=Vault.from_secret(key),
            api_token=token,
            stalled=workers.stalled,
            stopping=workers.stopping,
            sender=sender,
            registry=registry,
            metrics=metrics,
        )


def open_metrics(pool: Pool, wakeups: Wakeups) -> Metrics:
    """The instruments of this process, which tell at each scrape how its pool and its listener are."""
    metrics = Metrics()
    metrics.set_pool_limit(pool.get_max_size())
    metrics.watch_pool(size=pool.get_size, idle=pool.get_idle_size, waiting=partial(waiting, pool))
    metrics.watch_listener(lambda: wakeups.listening)
    return metrics


async def declare(settings: Settings, pool: Pool) -> None:
    """Write down whom the settings want told. Never the other way round: a process that was not given a setting must
    not silence those that were.
    """
    async with transaction(pool) as conn:
        if settings.slack_webhook_url is not None:
            await channels.ensure_settings_channel(conn)
        if settings.reports_to_github or settings.tagship_github_reports == "off":
            await reports.configure(conn, enabled=settings.reports_to_github)


def open_registry(settings: Settings, engine: Engine) -> RegistryClient | None:
    """The registry of the settings; None when images stay on the engine."""
    if settings.registry is None:
        return None
    return RegistryClient.open(
        settings.registry, settings.registry_username, settings.registry_password, insecure=engine.is_insecure
    )


async def close_pool(pool: Pool) -> None:
    """Close the pool; connections that do not come back in time are cut, so that stopping never hangs on them."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def api_token(settings: Settings) -> str:
    """The administrator's token: the configured one, or the one made at the first start."""
    if settings.tagship_api_token is not None:
        return settings.tagship_api_token.get_secret_value()
    return load_or_create_secret(settings.tagship_data_dir / "admin-token", SECRET_BYTES)


def secret_key(settings: Settings) -> str:
    """What env values are sealed with: the configured key, or the one made at the first start."""
    if settings.tagship_secret_key is not None:
        return settings.tagship_secret_key.get_secret_value()
    return load_or_create_secret(settings.tagship_data_dir / "secret-key", SECRET_BYTES)


def all_secrets(settings: Settings) -> list[str]:
    """Every secret of this process, also those that it has made itself."""
    return [*settings.secret_values(), api_token(settings), secret_key(settings)]


@asynccontextmanager
async def running_workers(services: Services, workers: Workers) -> AsyncIterator[None]:
    """The background loops, running until this context is left; then their jobs are handed back first."""
    settings = services.settings
    (settings.tagship_data_dir / "spool").mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        tasks = []
        for topic, stage in stages(services, all_secrets(settings)):
            wake = stack.enter_context(services.wakeups.subscribe(topic))
            loop: Loop[Any] = Loop(stage, wake, watch=services.metrics.watch(stage.name))
            services.metrics.watch_turns(stage.name, loop.turn_age)
            stack.callback(services.metrics.forget_turns, stage.name)
            workers.loops.append(loop)
            tasks.append(asyncio.create_task(loop.run()))
        try:
            yield
        finally:
            workers.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
            workers.loops.clear()
