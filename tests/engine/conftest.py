"""A real Docker engine for the tests of this folder; everything they make carries the run's label and is removed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from app.engine.client import Engine
from app.engine.shape import Builder
from tests.engine.yard import Yard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def yard(engine: Engine) -> AsyncIterator[Yard]:
    made = Yard(engine)
    yield made
    await made.clean()
