"""The connection to one Docker engine: how it is opened, how it fails, and what kind of engine answers.

Owns the only ``aiodocker.Docker`` and the only place where its failures become ours. The sub-APIs of aiodocker 0.27
stop short of what a build and a rollout need (no BuildKit, no whole service spec), so everything goes through its
request methods; those are private there, and used here alone.
"""

from __future__ import annotations

import json
import os
import ssl
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import aiodocker
import aiohttp

from app.engine.shape import EngineInfo
from app.errors import EngineRefused, EngineUnavailable, SettingsInvalid, SwarmUnavailable
from app.reference import is_listed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from types import TracebackType

DEFAULT_HOST: Final = "unix:///var/run/docker.sock"
CALL_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
STREAM_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5)
PING_TIMEOUT: Final = aiohttp.ClientTimeout(total=5, sock_connect=5)
CANNOT_CONNECT: Final = 900  # what aiodocker writes in the place of an HTTP status
NOT_FOUND: Final = 404
CONFLICT: Final = 409
SERVICE_UNAVAILABLE: Final = 503  # moby: this node is not a swarm manager
IPVS_TABLE: Final = Path("/proc/net/ip_vs")


class Engine:
    """One Docker engine; make it with ``open`` inside a running event loop, and close it."""

    def __init__(self, docker: aiodocker.Docker, host: str) -> None:
        self._docker, self.host = docker, host

    @classmethod
    def open(cls, docker_host: str | None = None, *, tls_verify: bool = False, cert_path: Path | None = None) -> Engine:
        """Make a client for the engine at ``docker_host`` (None: the default socket); nothing is sent yet.

        With ``tls_verify`` a ``tcp://`` engine is spoken to over TLS with the ``ca.pem``, ``cert.pem`` and ``key.pem``
        of ``cert_path`` (None: ``~/.docker``), as the docker command does. Raises ``SettingsInvalid``.
        """
        host = docker_host or DEFAULT_HOST
        context = None
        if tls_verify and host.startswith(("tcp://", "http://", "https://")):
            context = _tls_context(cert_path or Path.home() / ".docker")
            host = "https://" + host.partition("://")[2]
        try:
            docker = aiodocker.Docker(url=host, ssl_context=context, timeout=CALL_TIMEOUT)
        except (ValueError, ImportError) as error:
            raise SettingsInvalid(
                [
                    f"DOCKER_HOST: {host} is not an address of a Docker engine ({error}); use unix:///path or tcp://host:port"
                ]
            ) from None
        return cls(docker, host)

    async def close(self) -> None:
        await self._docker.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def call(
        self,
        action: str,
        path: str,
        method: str = "GET",
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = CALL_TIMEOUT,  # noqa: ASYNC109 - aiohttp's own object; it times each phase
    ) -> Any:
        """Send one short request and return its JSON (or text); ``action`` completes "the engine refused to …"."""
        with engine_errors(action):
            try:
                return await self._docker._query_json(  # noqa: SLF001 - see the module's head
                    path, method, params=params, data=body, headers=headers, timeout=timeout
                )
            except (ValueError, TypeError, KeyError) as error:
                raise EngineUnavailable(
                    f"what answers at {self.host} does not talk like a Docker engine ({error!r}); check DOCKER_HOST"
                ) from error

    @asynccontextmanager
    async def stream(
        self,
        action: str,
        path: str,
        method: str = "GET",
        *,
        body: Any = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = STREAM_TIMEOUT,  # noqa: ASYNC109 - as in call
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield its response while it arrives; leaving, however, cuts the connection at once.

        The cut is what stops the engine's work; aiodocker leaves the connection open when its reader is cancelled.
        """
        with engine_errors(action):
            sent = {"Content-Type": content_type, **(headers or {})}
            async with self._docker._query(  # noqa: SLF001 - see the module's head
                path, method, data=body, headers=sent, timeout=timeout
            ) as response:
                try:
                    yield response
                finally:
                    response.close()

    async def answers(self) -> bool:
        """Tell whether the engine answers a ping within five seconds; never raises an ``AppError``."""
        try:
            await self.call("answer a ping", "_ping", timeout=PING_TIMEOUT)
        except (EngineUnavailable, EngineRefused, SwarmUnavailable):
            return False
        return True

    async def describe(self) -> EngineInfo:
        """Ask the engine what it is. ``ipvs`` is about this host's kernel: a guess when the engine is elsewhere."""
        version = await self.call("tell its version", "version")
        info = await self.call("describe itself", "info")
        swarm = info.get("Swarm") or {}
        major, _, minor = str(version["ApiVersion"]).partition(".")
        return EngineInfo(
            version=str(version.get("Version", "")),
            api_version=(int(major), int(minor or 0)),
            os=str(version.get("Os", "")),
            swarm_active=swarm.get("LocalNodeState") == "active",
            swarm_manager=bool(swarm.get("ControlAvailable")),
            nodes=int(swarm.get("Nodes") or 0),
            ipvs=os.access(IPVS_TABLE, os.R_OK),
            insecure_registries=_insecure(info.get("RegistryConfig") or {}),
        )

    async def is_insecure(self, host: str) -> bool:
        """Whether the engine talks to the registry at ``host[:port]`` without TLS that it could trust."""
        return is_listed(host, (await self.describe()).insecure_registries)


@contextmanager
def engine_errors(action: str) -> Iterator[None]:
    """Turn every failure of aiodocker and aiohttp inside the block into one of ours.

    Raises ``EngineUnavailable`` (no answer, or the connection was cut), ``SwarmUnavailable`` (not a manager of a
    swarm) or ``EngineRefused`` (the engine's own words).
    """
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == CANNOT_CONNECT:
            raise EngineUnavailable(
                f"cannot {action}: {error.message}; is the engine running, is DOCKER_HOST right?"
            ) from error
        if error.status == SERVICE_UNAVAILABLE:
            raise SwarmUnavailable(
                f"cannot {action}: {error.message.strip()} (run docker swarm init, or point DOCKER_HOST at a manager)"
            ) from error
        raise EngineRefused(action, error.status, error.message.strip()) from error
    except TimeoutError as error:
        raise EngineUnavailable(f"cannot {action}: the Docker engine did not answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineUnavailable(f"cannot {action}: the connection to the Docker engine was lost ({error})") from error


def parse_time(text: str | None) -> datetime | None:
    """Read the engine's RFC 3339 times (cut to microseconds); None for Go's zero time and for no time."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text)


def _insecure(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The hosts and networks whose registries the engine speaks to without TLS that it could trust."""
    hosts = (name for name, index in (config.get("IndexConfigs") or {}).items() if not index.get("Secure", True))
    return (*hosts, *(config.get("InsecureRegistryCIDRs") or ()))


def _tls_context(folder: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(folder / "ca.pem"))
        context.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
    except (OSError, ssl.SSLError) as error:
        raise SettingsInvalid(
            [f"DOCKER_CERT_PATH: {folder} must hold ca.pem, cert.pem and key.pem ({error.strerror or error})"]
        ) from None
    return context


def filters(**wanted: str) -> str:
    """Encode the engine's ``filters`` parameter."""
    return json.dumps({name: [value] for name, value in wanted.items()})
