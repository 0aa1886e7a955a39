"""How much the process grows while a large repository goes through it into a real engine build.

``python -m tests.bench.context_memory [megabytes] [classic|buildkit]`` makes a tarball of incompressible files in
another process as it is read, sends all of it through ``open_context`` into ``COPY . /ctx``, prints the growth of the
resident set, and exits 1 when that reaches 64 MB or the engine did not get the bytes.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import sys
import tarfile
import tempfile
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from app.builds.stream import open_context
from app.engine.build import stream_build
from app.engine.client import Engine
from app.engine.image import inspect_image, remove_image
from app.engine.shape import Builder, BuildRequest
from app.repositories.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE_MEGABYTES = 20
MB = 1_000_000
MOST_GROWTH = 64 * MB
DOCKERFILE = b"FROM scratch\nCOPY . /ctx\n"


def produce(megabytes: int) -> None:
    """Write the tarball to standard output; the Dockerfile comes last, so that all of it has to wait in the spool."""
    with (
        gzip.GzipFile(fileobj=sys.stdout.buffer, mode="wb", compresslevel=1) as packed,
        tarfile.open(fileobj=cast("Any", packed), mode="w|", pax_headers={"comment": COMMIT}) as tar,
    ):
        top = tarfile.TarInfo("owner-repo-0123456")
        top.type = tarfile.DIRTYPE
        tar.addfile(top)
        for number in range(megabytes // FILE_MEGABYTES):
            entry = tarfile.TarInfo(f"{top.name}/file-{number:04}")
            entry.size = FILE_MEGABYTES * MB
            tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
        entry = tarfile.TarInfo(f"{top.name}/zz.Dockerfile")
        entry.size = len(DOCKERFILE)
        tar.addfile(entry, io.BytesIO(DOCKERFILE))


class Watch(threading.Thread):
    """Samples the resident set of this process until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_bytes = self.peak_bytes = resident_bytes()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.02):
            self.peak_bytes = max(self.peak_bytes, resident_bytes())

    def stop(self) -> int:
        """End the sampling; how many bytes the process grew by at most."""
        self._over.set()
        self.join()
        return self.peak_bytes - self.start_bytes


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


async def tarball(megabytes: int) -> AsyncIterator[bytes]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.context_memory", "--produce", str(megabytes), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        while piece := await process.stdout.read(64 * 1024):
            yield piece
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def measure(megabytes: int, builder: Builder, spool_dir: Path) -> tuple[int, int]:
    """Bytes by which this process grew, and bytes that the image holds."""
    tag = f"tagship-bench-{uuid4().hex[:10]}:v1"
    async with Engine.open(os.environ.get("DOCKER_HOST")) as engine:
        await engine.describe()
        watch = Watch()
        watch.start()
        try:
            recipe = Recipe(dockerfile="zz.Dockerfile")
            async with open_context(tarball(megabytes), recipe=recipe, commit=COMMIT, spool_dir=spool_dir) as context:
                request = BuildRequest(builder, context.dockerfile, (tag,), uuid4().hex)
                async with aclosing(stream_build(engine, request, context.chunks(builder))) as events:
                    async for _ in events:
                        pass
            image = await inspect_image(engine, tag)
        finally:
            grown = watch.stop()
            await remove_image(engine, tag, force=True)
    return grown, image.size if image else 0


def main() -> int:
    if sys.argv[1:2] == ["--produce"]:
        produce(int(sys.argv[2]))
        return 0
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    builder = Builder(sys.argv[2]) if len(sys.argv) > 2 else Builder.CLASSIC
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        grown, sent = asyncio.run(measure(megabytes, builder, Path(folder)))
    seconds = time.monotonic() - started
    print(f"{sent / MB:.0f} MB into the image in {seconds:.0f} s ({builder}); the process grew by {grown / MB:.1f} MB")
    return 0 if grown < MOST_GROWTH and sent >= megabytes * MB else 1


if __name__ == "__main__":
    sys.exit(main())
