"""The composition root: opens every part in order, runs web and workers, and takes them down again in the reverse
order.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn

from app.api.app import create_app
from app.api.services import Services
from app.builds import store as builds
from app.builds.work import BuildStage
from app.engine.client import Engine
from app.errors import AddressUnusable
from app.github.client import GitHubClient
from app.log import configure_logging
from app.notices import store as notices
from app.notices.work import NoticeStage
from app.postgres.embedded import EmbeddedPostgres
from app.postgres.listen import Wakeups
from app.postgres.migrate import migrate
from app.postgres.pool import create_pool, transaction
from app.queue.loop import POLL_S, Loop
from app.rollouts import store as rollouts
from app.rollouts.work import RolloutStage
from app.sealing import Vault, load_or_create_secret
from app.slack.client import SlackClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.applications import Starlette

    from app.postgres.pool import Pool
    from app.queue.lease import Stage
    from app.settings import Settings

log = structlog.get_logger(__name__)

POOL_SIZE: Final = 20
ROLLOUT_CONCURRENCY: Final = 8
NOTICE_CONCURRENCY: Final = 2
STALLED_AFTER_S: Final = 30.0
GRACE_S: Final = 3
CLOSE_S: Final = 2.0
SECRET_BYTES: Final = 32


class Workers:
    """The background loops of one process."""

    def __init__(self) -> None:
        self.loops: list[Loop[Any]] = []
        self.stopping = asyncio.Event()

    def stalled(self) -> list[str]:
        """The names of loops that have not turned for a while, although they turn every few seconds."""
        now = asyncio.get_running_loop().time()
        return [loop.stage.name for loop in self.loops if now - loop.turned_at > STALLED_AFTER_S + POLL_S]

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
        wakeups = Wakeups(dsn)
        listening = asyncio.create_task(wakeups.run())
        stack.callback(listening.cancel)
        if settings.slack_webhook_url is not None:
            # Never the other way round: a process that was not given the setting must not silence those that were.
            async with transaction(pool) as conn:
                await notices.set_channel(conn, "slack", "slack", enabled=True)
        token, key = api_token(settings), secret_key(settings)
        configure_logging(settings.tagship_log_format, secrets=[*settings.secret_values(), token, key])
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


def stages(services: Services, slack: SlackClient | None) -> list[tuple[str, Stage[Any]]]:
    """Every stage that this process works on, with the topic that wakes it."""
    settings, pool, engine = services.settings, services.pool, services.engine
    worker = f"{socket.gethostname()}:{os.getpid()}"
    build = BuildStage(
        pool,
        engine,
        services.github,
        worker=worker,
        concurrency=settings.tagship_build_concurrency,
        lease_s=settings.tagship_lease_s,
        timeout_s=settings.tagship_build_timeout_s,
        spool_dir=settings.tagship_data_dir / "spool",
        github_api_url=settings.github_api_url,
    )
    rollout = RolloutStage(
        pool,
        engine,
        services.vault,
        worker=worker,
        concurrency=ROLLOUT_CONCURRENCY,
        lease_s=settings.tagship_lease_s,
        monitor_s=settings.tagship_rollout_monitor_s,
        timeout_s=settings.tagship_rollout_timeout_s,
    )
    found: list[tuple[str, Stage[Any]]] = [(builds.TOPIC, build), (rollouts.TOPIC, rollout)]
    if slack is not None:
        notice = NoticeStage(pool, slack, worker=worker, concurrency=NOTICE_CONCURRENCY, public_url=settings.public_url)
        found.append((notices.TOPIC, notice))
    return found


@asynccontextmanager
async def running_workers(services: Services, workers: Workers) -> AsyncIterator[None]:
    """The background loops, running until this context is left; then their jobs are handed back first."""
    settings = services.settings
    (settings.tagship_data_dir / "spool").mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        slack = SlackClient(settings.slack_webhook_url) if settings.slack_webhook_url else None
        if slack is not None:
            stack.push_async_callback(slack.close)
        tasks = []
        for topic, stage in stages(services, slack):
            loop: Loop[Any] = Loop(stage, stack.enter_context(services.wakeups.subscribe(topic)))
            workers.loops.append(loop)
            tasks.append(asyncio.create_task(loop.run()))
        try:
            yield
        finally:
            workers.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
            workers.loops.clear()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one place for that, and it is ``stop_signal``."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on, instead of ending the process where it stands."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def serve(settings: Settings, *, with_workers: bool) -> None:
    """Answer requests, and work unless told not to, until SIGTERM or SIGINT."""
    stop, workers = stop_signal(), Workers()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings))
        dsn = await stack.enter_async_context(database(settings))
        services = await stack.enter_async_context(open_services(settings, dsn, workers))
        if with_workers:
            await stack.enter_async_context(running_workers(services, workers))
        log.info("started", url=settings.public_url, workers=with_workers)
        await answer_until(stop, create_app(services), listener, workers)
    log.info("stopped")


async def answer_until(stop: asyncio.Event, app: Starlette, listener: socket.socket, workers: Workers) -> None:
    """Answer requests until ``stop``; then the workers hear of it at once, and requests under way get some seconds."""
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config)
    answering = asyncio.create_task(server.serve(sockets=[listener]))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({answering, stopped}, return_when=asyncio.FIRST_COMPLETED)
    workers.stop()
    server.handle_exit(signal.SIGTERM, None)
    await answering
    stopped.cancel()


def listen(settings: Settings) -> socket.socket:
    """The socket to answer on. Raises ``AddressUnusable`` when the address is taken, or not one of this machine."""
    host, port = settings.tagship_host, settings.tagship_port
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise AddressUnusable(
            f"cannot listen on {host}:{port}: {error.strerror}; end what uses it, or choose another TAGSHIP_PORT"
        ) from error


async def work(settings: Settings) -> None:
    """Work without answering requests, until SIGTERM or SIGINT."""
    stop, workers = stop_signal(), Workers()
    async with (
        database(settings) as dsn,
        open_services(settings, dsn, workers) as services,
        running_workers(services, workers),
    ):
        log.info("started", workers=True)
        await stop.wait()
    log.info("stopped")
