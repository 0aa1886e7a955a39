"""One process from its start to its end: it listens, answers and works until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import AddressUnusable
from app.main import Workers, database, open_services, running_workers
from app.web import create_app, create_watched_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from app.settings import Settings

log = structlog.get_logger(__name__)

GRACE_S: Final = 3
MOST_BESIDES: Final = 512 * 1024
HEAD_S: Final = 10.0


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one place for that, and it is ``stop_signal``."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request has very much beside its body, or a head that does not come to its end in time:
    whatever stands in the head, or behind the body, is collected and waited for without end otherwise, from anybody.
    """

    _besides = 0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._besides += len(data)
        if self._besides > MOST_BESIDES and not self.transport.is_closing():
            log.warning("request_head_refused", bytes=self._besides)
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._besides = 0
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._besides -= len(body)
        super().on_body(body)

    def _await_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def spare_the_collector() -> None:
    """From now on the garbage collector does not look through what was made so far, mostly modules, which stay: each
    time that held the event loop for more than 80 ms.
    """
    gc.collect()
    gc.freeze()


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
        spare_the_collector()
        log.info("started", url=settings.public_url, workers=with_workers)
        await answer_until(stop, create_app(services), listener, workers)
    log.info("stopped")


async def answer_until(stop: asyncio.Event, app: ASGIApp, listener: socket.socket, workers: Workers) -> None:
    """Answer requests until ``stop``; then the workers hear of it at once, and requests under way get some seconds."""
    config = uvicorn.Config(
        app,
        http=_BoundedProtocol,
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


def listen(settings: Settings, port: int | None = None) -> socket.socket:
    """The socket to answer on, at the settings' port unless another is given. Raises ``AddressUnusable`` when the
    address is taken, or not one of this machine.
    """
    host, port = settings.tagship_host, port or settings.tagship_port
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        advice = "end what uses it, or choose another TAGSHIP_PORT"
        if error.errno != errno.EADDRINUSE:
            advice = "check TAGSHIP_HOST and TAGSHIP_PORT: the host must be an address of this machine"
        reason = (error.strerror or str(error)).partition(" (while attempting")[0]
        raise AddressUnusable(f"cannot listen on {host}:{port}: {reason}; {advice}") from error
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, which create_server's do not;
    # without it the body of an answer waits 40 ms for the acknowledgement of its headers (Nagle, RFC 1122 4.2.3.2).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def work(settings: Settings, *, port: int | None = None) -> None:
    """Work without answering requests, until SIGTERM or SIGINT; on ``port`` only those of whoever watches it."""
    stop, workers = stop_signal(), Workers()
    async with AsyncExitStack() as stack:
        listener = None if port is None else stack.enter_context(listen(settings, port))
        dsn = await stack.enter_async_context(database(settings))
        services = await stack.enter_async_context(open_services(settings, dsn, workers))
        await stack.enter_async_context(running_workers(services, workers))
        spare_the_collector()
        log.info("started", workers=True)
        if listener is None:
            await stop.wait()
        else:
            await answer_until(stop, create_watched_app(services), listener, workers)
    log.info("stopped")
