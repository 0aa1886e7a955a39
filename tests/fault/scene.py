"""What a fault is played in: a GitHub, a Slack, a database and an engine that stay, whatever becomes of Tagship."""

from __future__ import annotations

import os
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.engine.client import Engine
from app.engine.service import remove_service
from app.postgres.pool import connect
from tests.fakes.github import LocalGitHub
from tests.fakes.slack import LocalSlack
from tests.fault.process import Tagship, events_of
from tests.ports import free_port
from tests.waiting import until
from tests.world import FILES, SECRET, TOKEN, clean_images

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.fakes.slack import Message


@dataclass
class Scene:
    """A repository ``repo`` whose tags become the image ``image``; ``environment`` is what a process is started with,
    ``log`` what all of them write.
    """

    github: LocalGitHub
    slack: LocalSlack
    engine: Engine
    folder: Path
    run: str
    environment: dict[str, str]
    slugs: list[str] = field(default_factory=list)

    @property
    def repo(self) -> str:
        return f"acme/bre-{self.run}"

    @property
    def image(self) -> str:
        return f"bre-{self.run}"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def tagship(
        self, *arguments: str, stop_at: str | None = None, ready: bool = True, log: str = "log", **more: str
    ) -> AbstractAsyncContextManager[Tagship]:
        """A process of this scene, with a ``log`` of its own if so named; see ``Tagship.start``."""
        return Tagship.start(self.folder / log, self.environment | more, *arguments, stop_at=stop_at, ready=ready)

    async def prepare(self, tagship: Tagship, *, products: int = 1, release: str = "v1.0.0") -> list[dict[str, Any]]:
        """Register the repository, push a tag, and run products of it that follow newer tags; every message about that
        is read.
        """
        self.listen(tagship)
        await tagship.post("/repositories", {"repo": self.repo})
        await self.release(release)
        image = await self.image_of(tagship, release)
        await tagship.becomes(f"/images/{image['id']}", "build_status", "success")
        made = [await self.product(tagship, image["id"]) for _ in range(products)]
        for product in made:
            rollout = await tagship.post(f"/products/{product['id']}/start?wait=120")
            assert rollout["state"] == "done", rollout
        for _ in range(products + 1):
            await self.slack.next_message(90)
        return made

    def listen(self, tagship: Tagship) -> None:
        """Let GitHub's webhook point to this process."""
        self.github.hooks.url = f"{tagship.url}/webhooks/github"

    async def release(self, tag: str, files: dict[str, str] | None = None) -> str:
        """Commit a version of the sample (or other files) and push the tag; the commit. ``@RUN@`` becomes this run's
        word, so that no builder has its steps in a cache.
        """
        fresh = {name: text.replace("@RUN@", self.run) for name, text in (files or {}).items()}
        await self.github.commit(self.repo, FILES | {"VERSION": tag} | fresh, f"release {tag}")
        return await self.github.tag(self.repo, tag)

    async def product(self, tagship: Tagship, image_id: int, **fields: Any) -> dict[str, Any]:
        """Make a product that follows ``^1`` and whose page answers on a free port."""
        slug = f"p{len(self.slugs)}-{self.run}"
        self.slugs.append(slug)
        body = {
            "name": slug.upper(),
            "slug": slug,
            "port": free_port(),
            "publish_mode": "host",
            "image_id": image_id,
            "track": "^1",
        }
        made: dict[str, Any] = await tagship.post("/products", body | fields)
        return made

    async def image_of(self, tagship: Tagship, tag: str) -> dict[str, Any]:
        """Wait for the image of a tag."""

        async def look() -> dict[str, Any] | None:
            found: list[dict[str, Any]] = await tagship.get(f"/images?name={self.image}&tag={tag}")
            return found[0] if found else None

        return await until(look, f"there is an image {self.image}:{tag}")

    async def runs(self, tagship: Tagship, product: dict[str, Any], tag: str) -> dict[str, Any]:
        """Wait until the product really runs this tag, and nothing is under way; the product."""

        async def look() -> dict[str, Any] | None:
            shown: dict[str, Any] = await tagship.get(f"/products/{product['id']}")
            live = shown["live"]
            right = live is not None and live["image_name"] == f"{self.image}:{tag}"
            return shown if right and shown["status"] == "running" else None

        try:
            return await until(look, f"{product['slug']} runs {tag}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()}") from None

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """What the database itself holds, whatever the API makes of it."""
        conn = await connect(self.environment["DATABASE_URL"])
        try:
            return [dict(row) for row in await conn.fetch(query, *arguments)]
        finally:
            await conn.close()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of ``log`` with this event, oldest first."""
        return events_of(self.log, name)

    async def read_everything(self) -> None:
        """Take every message for read: they have been counted, or will be."""
        while self.slack.unread:
            await self.slack.next_message()

    async def told(self) -> Message:
        """The next message of Slack."""
        return await self.slack.next_message(90)


@asynccontextmanager
async def new_scene(folder: Path, database: str, **more: str) -> AsyncIterator[Scene]:
    """A scene on a database of its own; what was made on the engine is removed afterwards. Fails when a message was
    left unread: whoever causes one must say so.
    """
    run = secrets.token_hex(3)
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(LocalSlack.start())
        github = await stack.enter_async_context(LocalGitHub.start(folder / "github", webhook_secret=SECRET))
        engine_host = more.get("DOCKER_HOST") or os.environ.get("DOCKER_HOST", "")
        engine = await stack.enter_async_context(Engine.open(engine_host or None))
        environment = {
            "DATABASE_URL": database,
            "DOCKER_HOST": engine_host,
            "GITHUB_API_URL": github.url,
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "SLACK_WEBHOOK_URL": slack.url,
            "TAGSHIP_API_TOKEN": TOKEN,
            "TAGSHIP_SECRET_KEY": "fault-secret-key-0123456789",
            "TAGSHIP_DATA_DIR": str(folder / "data"),
            "TAGSHIP_LEASE_S": "3",
            "TAGSHIP_ROLLOUT_MONITOR_S": "1",
            "TAGSHIP_ROLLOUT_TIMEOUT_S": "60",
            "TAGSHIP_NOTIFY_PROGRESS_S": "3600",  # a busy machine must not add messages
            "TAGSHIP_RETENTION_INTERVAL_H": "0",
            "TAGSHIP_BUILD_CACHE_GB": "0",  # the engine and its cache are everybody's
        } | more
        scene = Scene(github, slack, engine, folder, run, environment)
        await github.create_repository(scene.repo, FILES | {"VERSION": "none"})
        try:
            yield scene
        finally:
            for slug in scene.slugs:
                await remove_service(engine, f"tagship-{slug}")
            await clean_images(engine, run)
        unread = [message.text for message in slack.unread]
        assert not unread, f"nobody read: {unread}"
