"""A real Docker engine for the tests of this folder; everything they make carries the run's label and is removed."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import pytest_asyncio

from app.engine.build import stream_build
from app.engine.client import Engine
from app.engine.image import remove_image
from app.engine.service import remove_service
from app.engine.shape import Builder, BuildEvent, BuildRequest, ImageMade, LogText
from app.errors import AppError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TEST_LABEL = "tagship.test"
CHUNK = 64 * 1024


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "builder" in metafunc.fixturenames:
        metafunc.parametrize("builder", list(Builder))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """The engine of DOCKER_HOST or the default socket, a manager of a swarm."""
    if request.config.getoption("--no-engine", default=False):
        pytest.skip("--no-engine was given")
    host = os.environ.get("DOCKER_HOST")
    cert_path = os.environ.get("DOCKER_CERT_PATH")
    opened = Engine.open(
        host,
        tls_verify=bool(os.environ.get("DOCKER_TLS_VERIFY")),
        cert_path=Path(cert_path) if cert_path else None,
    )
    async with opened as client:
        if not await client.answers():
            pytest.fail(
                f"no Docker engine answers at {client.host}: start one, set DOCKER_HOST, or run pytest --no-engine",
                pytrace=False,
            )
        if not (await client.describe()).swarm_manager:
            pytest.fail("the Docker engine is not a swarm manager: run `docker swarm init` first", pytrace=False)
        yield client


@dataclass
class Yard:
    """Where tests build and deploy: it names things so that no other run has them, and removes them at the end."""

    engine: Engine
    run: str = field(default_factory=lambda: uuid4().hex[:10])
    services: set[str] = field(default_factory=set)

    def name(self, word: str) -> str:
        return f"tagship-test-{self.run}-{word}-{uuid4().hex[:6]}"

    def service_name(self, word: str) -> str:
        name = self.name(word)
        self.services.add(name)
        return name

    def dockerfile(self, *lines: str) -> str:
        return "\n".join(("FROM busybox", f"LABEL {TEST_LABEL}={self.run}", *lines, ""))

    def request(self, builder: Builder, *, tag: str | None = None, target: str | None = None) -> BuildRequest:
        return BuildRequest(
            builder=builder,
            dockerfile="Dockerfile",
            tags=(tag or f"{self.name('image')}:v1",),
            build_id=uuid4().hex,
            target=target,
            build_args={"WHO": "wörld & co"},
            labels={TEST_LABEL: self.run, "org.opencontainers.image.version": "v1+a b"},
        )

    async def build(self, builder: Builder, *lines: str) -> Built:
        """Build a Dockerfile that begins from busybox; the log may not have come after the image."""
        return await self.run_build(self.request(builder), {"Dockerfile": self.dockerfile(*lines)})

    async def run_build(self, request: BuildRequest, files: dict[str, str]) -> Built:
        built = Built()
        async with aclosing(stream_build(self.engine, request, tar_chunks(files))) as events:
            async for event in events:
                built.take(event)
        return built

    async def clean(self) -> None:
        for name in self.services:
            with suppress(AppError):
                await remove_service(self.engine, name)
        await eventually(self._containers_are_gone, timeout_s=60)
        wanted = json.dumps({"label": [f"{TEST_LABEL}={self.run}"]})
        for _ in range(2):  # a parent image can go only after its child
            for image in await self.engine.call("list", "images/json", params={"filters": wanted}) or ():
                for name in image.get("RepoTags") or [image["Id"]]:
                    with suppress(AppError):
                        await remove_image(self.engine, image["Id"] if "<none>" in name else name, force=True)

    async def _containers_are_gone(self) -> bool:
        wanted = json.dumps({"label": [f"{TEST_LABEL}={self.run}"]})
        params = {"filters": wanted, "all": "1"}
        return not await self.engine.call("list", "containers/json", params=params)


@dataclass
class Built:
    """What a build said and made."""

    log: str = ""
    image_id: str = ""

    def take(self, event: BuildEvent) -> None:
        assert not self.image_id, "nothing may follow the image"
        match event:
            case LogText(text):
                self.log += text
            case ImageMade(image_id):
                self.image_id = image_id


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def yard(engine: Engine) -> AsyncIterator[Yard]:
    made = Yard(engine)
    yield made
    await made.clean()


@pytest.fixture
def wait_until() -> Callable[..., object]:
    return eventually


@pytest.fixture
def processes() -> Callable[[str], list[int]]:
    """Find the processes of this host whose command line holds a word: builds run there as plain processes."""
    return processes_with


@pytest.fixture
def tar_of() -> Callable[[dict[str, str]], AsyncIterator[bytes]]:
    return tar_chunks


async def eventually(condition: Callable[[], object], *, timeout_s: float = 30) -> None:
    """Wait until ``condition``, a plain or an async function, is true."""
    async with asyncio.timeout(timeout_s):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.05)


def processes_with(word: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                if word.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


async def tar_chunks(files: dict[str, str]) -> AsyncIterator[bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    data = packed.getvalue()
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]
