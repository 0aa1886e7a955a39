"""Real Chromium in front of the real service: with workers for stories, and without any where nothing shall move."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from app.log import configure_logging
from app.main import Workers, open_services
from app.web import create_app
from tests.browser.visitor import chromium
from tests.fakes.github import LocalGitHub
from tests.fakes.serving import serve
from tests.fakes.slack import LocalSlack
from tests.postgres import fresh_database
from tests.world import SECRET, World, new_world, story_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser

    from app.api.services import Services
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


@dataclass(frozen=True)
class Still:
    """A Tagship whose workers do not run: its rows change only by hand."""

    url: str
    services: Services
    github: LocalGitHub


@asynccontextmanager
async def standing_still(folder: Path, database: str, **more: str) -> AsyncIterator[Still]:
    """Pages and API over a database, with the real engine and a local GitHub and Slack."""
    async with LocalSlack.start() as slack, LocalGitHub.start(folder / "github", webhook_secret=SECRET) as github:
        settings = story_settings(folder, database, github, slack, **more)
        async with open_services(settings, database, Workers()) as services, serve(create_app(services)) as url:
            yield Still(url, services, github)


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
