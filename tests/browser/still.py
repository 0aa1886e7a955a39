"""A Tagship whose workers do not run: pages and API over a database, the real engine, and a local GitHub and Slack."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.main import Workers, open_services
from app.web import create_app
from tests.fakes.github import LocalGitHub
from tests.fakes.serving import serve
from tests.fakes.slack import LocalSlack
from tests.world import SECRET, story_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.api.services import Services


@dataclass(frozen=True)
class Still:
    """Its rows change only by hand."""

    url: str
    services: Services
    github: LocalGitHub


@asynccontextmanager
async def standing_still(folder: Path, database: str, **more: str) -> AsyncIterator[Still]:
    """Serve one over this database for the length of the block."""
    async with LocalSlack.start() as slack, LocalGitHub.start(folder / "github", webhook_secret=SECRET) as github:
        settings = story_settings(folder, database, github, slack, **more)
        async with open_services(settings, database, Workers()) as services, serve(create_app(services)) as url:
            yield Still(url, services, github)
