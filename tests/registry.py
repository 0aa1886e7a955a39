"""A real container registry (Debian's docker-registry) on a free loopback port, for tests that push and pull."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from pydantic import SecretStr

from app.engine.credentials import RegistryAccess
from app.engine.distribution import push_image
from app.engine.shape import ImagePushed, LogText
from app.registry.client import RegistryClient
from app.trust import trust
from tests.ports import free_port
from tests.processes import DIES_WITH_US
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine

USERNAME: Final = "tagship"
PASSWORD: Final = "hunter-2-hunter"
# `htpasswd -nbB -C 4 tagship hunter-2-hunter`, written down so that no test needs a program that makes it.
HTPASSWD: Final = f"{USERNAME}:$2b$04$EelAZl.oUmmuPbJgVHESh.xGladnZ3IV3jKHG4ZFxmbrlAZblrzua\n"
OTHER_PASSWORD: Final = "another-password"
OTHER_HTPASSWD: Final = f"{USERNAME}:$2b$04$KNSLxdIHsarRYYHz5G6ehuWwHnBYvS1u6YpRXvKPkbjv6FNNHKttu\n"


class LocalRegistry:
    """A registry process that a test may stop and start again; it keeps its port and what was pushed."""

    def __init__(self, folder: Path, auth: dict[str, Any] | None, *, deletes: bool) -> None:
        self._folder, self._auth, self._deletes = folder, auth, deletes
        self._process: asyncio.subprocess.Process | None = None
        self.host = f"127.0.0.1:{free_port()}"

    def access(self, path: str = "", password: str = PASSWORD) -> RegistryAccess:
        """What the engine needs to push to ``path`` here."""
        return RegistryAccess(self.host + path, USERNAME, SecretStr(password))

    def client(self, path: str = "", password: str = PASSWORD) -> RegistryClient:
        return RegistryClient.open(self.host + path, USERNAME, SecretStr(password))

    async def start(self) -> None:
        """Start it and wait until it answers."""
        config = self._folder / "registry.json"  # JSON is YAML
        config.write_text(json.dumps(self._config()))
        with (self._folder / "registry.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(*DIES_WITH_US, "docker-registry", "serve", str(config)), stdout=output, stderr=output
            )

        async def answers() -> bool:
            try:
                async with httpx.AsyncClient(trust_env=False, verify=trust()) as http:
                    return (await http.get(f"http://{self.host}/v2/")).status_code in {200, 401}
            except httpx.HTTPError:
                return False

        await until(answers, "the local registry answers", 30)

    async def stop(self) -> None:
        """Stop it and wait until it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def change_password(self) -> str:
        """From now on the one password is another, which is returned."""
        (self._folder / "htpasswd").write_text(OTHER_HTPASSWD)
        return OTHER_PASSWORD

    def log(self) -> str:
        """What it has written so far, one line per request."""
        return (self._folder / "registry.log").read_text(errors="replace")

    def _config(self) -> dict[str, Any]:
        storage = {"filesystem": {"rootdirectory": str(self._folder / "images")}, "delete": {"enabled": self._deletes}}
        config: dict[str, Any] = {"version": "0.1", "storage": storage, "http": {"addr": self.host}}
        return config if self._auth is None else config | {"auth": self._auth}


@asynccontextmanager
async def local_registry(
    folder: Path, *, open_to_all: bool = False, deletes: bool = True
) -> AsyncIterator[LocalRegistry]:
    """A registry with its files below ``folder``; it knows ``USERNAME`` with ``PASSWORD``, unless it is open to all."""
    passwords = folder / "htpasswd"
    passwords.write_text(HTPASSWD)
    auth = None if open_to_all else {"htpasswd": {"realm": "tests", "path": str(passwords)}}
    async with registry_with(folder, auth, deletes=deletes) as registry:
        yield registry


@asynccontextmanager
async def registry_with(
    folder: Path, auth: dict[str, Any] | None, *, deletes: bool = True
) -> AsyncIterator[LocalRegistry]:
    """A registry with this ``auth`` part in its configuration."""
    if shutil.which("docker-registry") is None:
        pytest.fail("this test needs a registry: apt-get install docker-registry, or run ops/test", pytrace=False)
    registry = LocalRegistry(folder, auth, deletes=deletes)
    await registry.start()
    try:
        yield registry
    finally:
        await registry.stop()


async def push(engine: Engine, access: RegistryAccess | None, reference: str) -> tuple[str, str]:
    """Push, and return the digest with the log."""
    log, digest = "", ""
    async with aclosing(push_image(engine, access, reference)) as events:
        async for event in events:
            match event:
                case LogText(text):
                    log += text
                case ImagePushed(pushed):
                    digest = pushed
    return digest, log


@dataclass
class SlowWay:
    """A way to a registry on which uploads crawl until ``hurry``; ``deserted`` when nobody is on it any more."""

    registry: LocalRegistry
    host: str = ""
    uploading: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    deserted: asyncio.Event = field(default_factory=asyncio.Event)
    travellers: set[asyncio.Task[None]] = field(default_factory=set)

    def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        traveller = asyncio.create_task(self._carry(reader, writer))
        self.travellers.add(traveller)
        self.deserted.clear()
        traveller.add_done_callback(self._left)

    def _left(self, traveller: asyncio.Task[None]) -> None:
        self.travellers.discard(traveller)
        if not self.travellers:
            self.deserted.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.registry.host.rpartition(":")
        try:
            up_reader, up_writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            writer.close()
            return
        back = asyncio.create_task(self._back(up_reader, writer))
        try:
            with suppress(ConnectionError):
                while data := await reader.read(4096):
                    up_writer.write(data)
                    await up_writer.drain()
                    if data.startswith(b"PATCH"):
                        self.uploading.set()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self.hurry.wait(), 0.05 if self.uploading.is_set() else 0)
        finally:
            back.cancel()
            up_writer.close()
            writer.close()

    @staticmethod
    async def _back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def slow_way(registry: LocalRegistry) -> AsyncIterator[SlowWay]:
    way = SlowWay(registry)
    async with await asyncio.start_server(way.enter, "127.0.0.1", 0) as server:
        way.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield way
        for traveller in set(way.travellers):
            traveller.cancel()
        await asyncio.gather(*way.travellers, return_exceptions=True)
