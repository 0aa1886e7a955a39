"""The real Docker engine that engine tests and stories share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.engine.client import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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
