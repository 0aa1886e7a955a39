"""A world for every story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.conftest import engine  # noqa: F401
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine


@pytest.fixture
async def world(tmp_path: Path, database: str, engine: Engine) -> AsyncIterator[World]:
    """A whole Tagship; needs the engine to be a swarm manager, which the fixture ``engine`` makes sure of."""
    async with new_world(tmp_path, database) as made:
        yield made
