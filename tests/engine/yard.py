"""Where the engine tests build and deploy: names that no other run has, a label on everything, removal at the end."""

from __future__ import annotations

import asyncio
import io
import tarfile
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from app.engine.build import stream_build
from app.engine.client import filters
from app.engine.image import remove_image
from app.engine.shape import Builder, BuildEvent, BuildRequest, ImageMade, LogText
from app.errors import AppError, EngineRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.engine.client import Engine

TEST_LABEL = "tagship.test"
CHUNK = 64 * 1024


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
        """A Dockerfile whose steps no builder has in its cache; labels alone would not change BuildKit's steps."""
        return "\n".join(("FROM busybox", f"LABEL {TEST_LABEL}={self.run}", f"ENV NONCE={uuid4().hex}", *lines, ""))

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
            with suppress(EngineRefused):
                await self.engine.call("clean up", f"services/{name}", "DELETE")
        await eventually(self._containers_are_gone, timeout_s=60)
        wanted = filters(label=f"{TEST_LABEL}={self.run}")
        for _ in range(2):  # a parent image can go only after its child
            for image in await self.engine.call("list", "images/json", params={"filters": wanted}) or ():
                for name in image.get("RepoTags") or [image["Id"]]:
                    with suppress(AppError):
                        await remove_image(self.engine, image["Id"] if "<none>" in name else name, force=True)

    async def _containers_are_gone(self) -> bool:
        wanted = filters(label=f"{TEST_LABEL}={self.run}")
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


async def relay(
    engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: list[asyncio.StreamWriter]
) -> None:
    """Carry bytes between a client and the engine until either side ends; both writers are added to ``lines``."""
    up_reader, up_writer = await asyncio.open_unix_connection(engine.host.removeprefix("unix://"))
    lines += [writer, up_writer]
    await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer), return_exceptions=True)
    writer.close()
    up_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
