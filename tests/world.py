"""The language of the stories: a whole Tagship on a fresh database, a real engine and swarm, a local GitHub and Slack.

Everything is real except GitHub and Slack. A story that leaves a Slack message unread fails: whoever causes a message
must say so.
"""

from __future__ import annotations

import os
import secrets
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from app.engine.image import list_images, remove_image
from app.engine.service import remove_service
from app.errors import EngineRefused
from app.main import Workers, open_services, running_workers
from app.settings import Settings, load_settings
from app.trust import trust
from app.web import create_app
from tests.fakes.github import LocalGitHub
from tests.fakes.serving import serve
from tests.fakes.slack import LocalSlack, Message
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.api.services import Services
    from app.engine.client import Engine
    from app.engine.shape import ImageInfo

TOKEN: Final = "story-token-0123456789"
SECRET: Final = "It's a Secret to Everybody"

SERVER: Final = """#!/bin/sh
mkdir -p www
printf '{"version": "%s", "customer": "%s"}' "$(cat VERSION)" "$CUSTOMER" > www/index.json
trap 'exit 0' TERM INT
httpd -f -p 8080 -h www &
wait
"""
DOCKERFILE: Final = """FROM busybox
WORKDIR /srv
COPY VERSION serve ./
RUN chmod +x serve
EXPOSE 8080
CMD ["./serve"]
"""
FILES: Final = {
    "Dockerfile": DOCKERFILE,
    "serve": SERVER,
}


@dataclass
class World:
    """One running Tagship and everything around it. ``repo`` is the story's own repository, ``image`` its image's
    name.
    """

    services: Services
    settings: Settings
    github: LocalGitHub
    slack: LocalSlack
    api: httpx.AsyncClient
    url: str
    repo: str
    run: str
    outside: httpx.AsyncClient

    @property
    def image(self) -> str:
        return self.repo.partition("/")[2]

    # ------------------------------------------------------------ doing

    async def register(self, **fields: Any) -> dict[str, Any]:
        """Register the story's repository."""
        return await self.post("/repositories", {"repo": self.repo} | fields, 201)

    async def release(self, tag: str, files: dict[str, str] | None = None, *, annotated: bool = False) -> str:
        """Commit a version of the sample (or other files), push the branch, then push the tag; the commit's SHA.

        ``@RUN@`` in a file becomes this run's word, so that no builder has its steps in a cache.
        """
        fresh = {name: text.replace("@RUN@", self.run) for name, text in (files or {}).items()}
        await self.github.commit(self.repo, FILES | {"VERSION": tag} | fresh, f"release {tag}")
        return await self.github.tag(self.repo, tag, annotated=annotated)

    async def product(self, slug: str, image_id: int, **fields: Any) -> dict[str, Any]:
        """Make a product whose page answers on a free port; its slug is made unique for this run."""
        body = {
            "name": slug.title(),
            "slug": f"{slug}-{self.run}",
            "port": free_port(),
            "image_id": image_id,
            "env_vars": {"CUSTOMER": slug},
            "publish_mode": "host",
        }
        return await self.post("/products", body | fields, 201)

    async def start(self, product: dict[str, Any]) -> dict[str, Any]:
        """Start a product and wait until its rollout is final."""
        return await self.post(f"/products/{product['id']}/start?wait=120", None, 202)

    async def running(self, slug: str, **fields: Any) -> dict[str, Any]:
        """The repository registered, v1.0.0 built, and a product of it started; every message about that is read."""
        await self.register()
        await self.release("v1.0.0")
        product = await self.product(slug, (await self.image_is("v1.0.0", "success"))["id"], **fields)
        rollout = await self.start(product)
        assert rollout["state"] == "done", rollout
        await self.told_about("built in", slug.title())
        return product

    # ------------------------------------------------------------ asking

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.api.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(self, path: str, body: object, status: int) -> dict[str, Any]:
        answer = await self.api.post(path, json=body)
        assert answer.status_code == status, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def find_image(self, tag: str) -> dict[str, Any] | None:
        images = await self.get(f"/images?name={self.image}")
        return next((image for image in images if image["tag"] == tag), None)

    async def image_is(self, tag: str, status: str) -> dict[str, Any]:
        """Wait until the image of a tag has this build status."""

        async def look() -> dict[str, Any] | None:
            image = await self.find_image(tag)
            if image is not None and image["build_status"] in {"success", "failed", "cancelled"} - {status}:
                raise AssertionError(await self.get(f"/images/{image['id']}"))
            return image if image is not None and image["build_status"] == status else None

        return await until(look, f"image {self.image}:{tag} is {status}")

    async def rollout_of(self, product: dict[str, Any], reason: str) -> dict[str, Any]:
        """Wait until the product's newest rollout happened for this reason and is final."""

        async def look() -> dict[str, Any] | None:
            rollouts = await self.get(f"/products/{product['id']}/rollouts")
            newest: dict[str, Any] | None = rollouts[0] if rollouts else None
            final = newest is not None and newest["finished_at"] is not None and newest["reason"] == reason
            return newest if final else None

        return await until(look, f"a rollout of {product['slug']} for {reason} is final")

    async def page(self, product: dict[str, Any]) -> dict[str, Any]:
        """What the product's own port answers."""
        answer = await self.outside.get(f"http://127.0.0.1:{product['port']}/index.json")
        shown: dict[str, Any] = answer.json()
        return shown

    async def told(self) -> str:
        """The text of the next Slack message."""
        return (await self.next_message()).text

    async def next_message(self) -> Message:
        return await self.slack.next_message(PATIENCE_S)

    async def told_about(self, *words: str) -> None:
        """The next messages, in whatever order they come, each about one of these."""
        left = list(words)
        while left:
            text = await self.told()
            found = next((word for word in left if word in text), None)
            assert found is not None, f"nobody expected: {text}"
            left.remove(found)

    async def told_together(self, *words: str) -> None:
        """The next message is about all of these."""
        text = await self.told()
        missing = [word for word in words if word not in text]
        assert not missing, f"{missing} is not in: {text}"


def story_settings(folder: Path, database: str, github: LocalGitHub, slack: LocalSlack, **more: str) -> Settings:
    """The settings of a story: quick to judge, everything on loopback."""
    return load_settings(
        {
            "DATABASE_URL": database,
            "DOCKER_HOST": os.environ.get("DOCKER_HOST", ""),
            "GITHUB_API_URL": github.url,
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "SLACK_WEBHOOK_URL": slack.url,
            "TAGSHIP_NOTIFY_PRIVATE_NETWORKS": "127.0.0.0/8",
            "TAGSHIP_NOTIFY_PROGRESS_S": "3600",  # a busy machine must not add messages
            "TAGSHIP_API_TOKEN": TOKEN,
            "TAGSHIP_SECRET_KEY": "story-secret-key-0123456789",
            "TAGSHIP_DATA_DIR": str(folder / "data"),
            "TAGSHIP_LEASE_S": "5",
            "TAGSHIP_ROLLOUT_MONITOR_S": "2",
            "TAGSHIP_ROLLOUT_TIMEOUT_S": "60",
            "TAGSHIP_RECONCILE_INTERVAL_S": "0",  # a look would use up the failures that stories order
            "TAGSHIP_RETENTION_INTERVAL_H": "0",
            "TAGSHIP_BUILD_CACHE_GB": "0",  # the engine and its cache are everybody's
        }
        | more
    )


@asynccontextmanager
async def new_world(folder: Path, database: str, **more: str) -> AsyncIterator[World]:
    """A world for one story; what it made on the engine is removed afterwards."""
    run = secrets.token_hex(3)
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(LocalSlack.start())
        github = await stack.enter_async_context(LocalGitHub.start(folder / "github", webhook_secret=SECRET))
        repo = f"acme/bre-{run}"
        await github.create_repository(repo, FILES | {"VERSION": "none"})
        settings = story_settings(folder, database, github, slack, **more)
        workers = Workers()
        services = await stack.enter_async_context(open_services(settings, database, workers))
        stack.push_async_callback(clean_engine, services, run)
        url = await stack.enter_async_context(serve(create_app(services)))
        github.hooks.url = f"{url}/webhooks/github"
        await stack.enter_async_context(running_workers(services, workers))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        client = httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, timeout=150, verify=trust())
        api = await stack.enter_async_context(client)
        outside = await stack.enter_async_context(httpx.AsyncClient(timeout=30, verify=trust()))
        yield World(services, settings, github, slack, api, url, repo, run, outside)
        unread = [message.text for message in slack.unread]
        assert not unread, f"nobody read: {unread}"


async def clean_engine(services: Services, run: str) -> None:
    """Remove the services and images that a story made."""
    async with services.pool.acquire() as conn:
        slugs = [row["slug"] for row in await conn.fetch("select slug from products")]
    for slug in slugs:
        await remove_service(services.engine, f"tagship-{slug}")
    await clean_images(services.engine, run)


async def clean_images(engine: Engine, word: str) -> None:
    """Remove the images whose names hold a word, and what is left of those that a newer build took the name from.

    One is held until its children have gone, and the last container of a removed service.
    """

    async def gone() -> bool:
        left = [image for image in await list_images(engine) if _is_about(image, word)]
        for image in left:
            with suppress(EngineRefused):
                await remove_image(engine, image.id, force=True)
        return not left

    await until(gone, f"the images of {word} can be removed", 60)


def _is_about(image: ImageInfo, word: str) -> bool:
    source = image.labels.get("org.opencontainers.image.source", "")
    return any(word in tag for tag in image.tags) or word in source
