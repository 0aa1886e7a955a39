"""The real Docker engine that engine tests and stories share."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from app.engine.client import Engine
from tests.processes import DIES_WITH_US
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STOP_S: Final = 30.0


@pytest.fixture(scope="session")
async def engine() -> AsyncIterator[Engine]:
    """The engine of DOCKER_HOST or the default socket, a manager of a swarm."""
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


@asynccontextmanager
async def private_dockerd(folder: Path) -> AsyncIterator[PrivateEngine]:
    """A Docker engine of its own below ``folder`` (a short path), without swarm or network, for tests that stop it."""
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        pytest.fail("this test starts a dockerd of its own: run as root where docker.io is installed, or --no-engine")
    private = PrivateEngine(folder)
    await private.start()
    try:
        yield private
    finally:
        await private.stop()


class PrivateEngine:
    """A dockerd that a test may stop, kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.host = f"unix://{folder}/docker.sock"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        places = [f"--{name}={self._folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        with (self._folder / "log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                # In a network namespace of its own: a dockerd without a bridge removes the one of its neighbour.
                *(*DIES_WITH_US, "unshare", "--net", "--", "dockerd", f"--host={self.host}"),
                *places,
                *("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
                stdout=output,
                stderr=output,
            )
        async with Engine.open(self.host) as client:

            async def answers() -> bool:
                return await client.answers()

            await until(answers, "the private dockerd answers", 30)

    async def stop(self) -> None:
        """Stop it and wait until it has ended; one that does not stop is killed."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
