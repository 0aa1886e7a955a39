"""Faults injected for real into whole processes, and the state in which everything ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fault.private_engine import PrivateEngine, private_engine
from tests.fault.scene import Scene, new_scene
from tests.fault.succession import Succession
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine


@pytest.fixture
async def scene(tmp_path: Path, database: str, engine: Engine) -> AsyncIterator[Scene]:
    """A scene on the shared engine, which the fixture ``engine`` makes sure of."""
    async with new_scene(tmp_path, database) as made:
        yield made


@pytest.fixture(scope="module")
async def succession(
    tmp_path_factory: pytest.TempPathFactory, server: str, template: str, engine: Engine
) -> AsyncIterator[Succession]:
    """One scene for all tests of a module, each of which breaks the process that the one before has left."""
    async with (
        fresh_database(server, template) as database,
        new_scene(tmp_path_factory.mktemp("scene"), database) as scene,
        Succession(scene) as made,
    ):
        yield made


@pytest.fixture(scope="module")
async def mortal(engine: Engine) -> AsyncIterator[PrivateEngine]:
    """An engine that the tests of a module may kill, one after the other; who kills it starts it again."""
    async with private_engine(engine) as made:
        yield made
