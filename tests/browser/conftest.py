"""Real Chromium in front of the real service: with workers for stories, and without any where nothing shall move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.log import configure_logging
from tests.browser.still import Still, standing_still
from tests.browser.visitor import chromium
from tests.postgres import fresh_database
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from app.engine.client import Engine


@pytest.fixture(scope="session", autouse=True)
def logging() -> None:
    """Events as users see them, beside a failing test."""
    configure_logging("console")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests of a process; each opens windows of its own in it."""
    async with chromium() as started:
        yield started


@pytest.fixture(scope="module")
async def still(
    tmp_path_factory: pytest.TempPathFactory, server: str, template: str, engine: Engine
) -> AsyncIterator[Still]:
    """One Tagship that stands still, for all tests of a module; needs the engine because pages ask it."""
    async with (
        fresh_database(server, template) as database,
        standing_still(tmp_path_factory.mktemp("still"), database) as made,
    ):
        yield made


@pytest.fixture(scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, server: str, template: str, engine: Engine
) -> AsyncIterator[World]:
    """One whole Tagship for all stories of a module."""
    async with (
        fresh_database(server, template) as database,
        new_world(tmp_path_factory.mktemp("world"), database) as made,
    ):
        yield made
