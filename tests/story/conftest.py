"""A world for every story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.log import configure_logging
from tests.postgres import fresh_database
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine


@pytest.fixture(scope="session", autouse=True)
def logging() -> None:
    """Events as users see them, beside a failing story."""
    configure_logging("console")


@pytest.fixture
async def world(tmp_path: Path, database: str, engine: Engine) -> AsyncIterator[World]:
    """A whole Tagship; needs the engine to be a swarm manager, which the fixture ``engine`` makes sure of."""
    async with new_world(tmp_path, database) as made:
        yield made


@pytest.fixture(scope="module")
async def quiet_world(
    tmp_path_factory: pytest.TempPathFactory, server: str, template: str, engine: Engine
) -> AsyncIterator[World]:
    """One Tagship for all stories of a module that leave nothing behind which another would see."""
    async with (
        fresh_database(server, template) as database,
        new_world(tmp_path_factory.mktemp("world"), database) as made,
    ):
        yield made
