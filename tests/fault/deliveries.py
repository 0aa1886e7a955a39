"""A process that takes deliveries in and builds none, and signed deliveries for it, each for a tag of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx

from app.github.signature import sign
from tests.fault.postgres import ask
from tests.fault.process import Tagship
from tests.waiting import until
from tests.world import SECRET, TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GITHUB_WAITS_S: Final = 10.0
REPO: Final = "acme/bre-faults"
NUMBERS: Final = itertools.count(1)


@dataclass
class Delivery:
    """One push of a tag. ``status`` is the last answer, None when there was none in the time that GitHub waits."""

    number: int = field(default_factory=lambda: next(NUMBERS))
    padding: str = ""
    guid: str = field(default_factory=lambda: secrets.token_hex(16))
    status: int | None = None
    retry_after: str | None = None
    said: str = ""

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused_well(self) -> bool:
        """Whether GitHub shows it as failed, for a reason that passes."""
        return self.status is None or (self.status == 503 and bool(self.retry_after))

    @property
    def body(self) -> bytes:
        push = {
            "ref": f"refs/tags/v1.0.{self.number}",
            "before": "0" * 40,
            "after": f"{self.number:040x}",
            "created": True,
            "deleted": False,
            "forced": False,
            "head_commit": {"id": f"{self.number:040x}", "padding": self.padding},
            "repository": {"id": 1, "full_name": REPO},
            "pusher": {"name": "ada"},
        }
        return json.dumps(push).encode()


async def send(tagship: Tagship, delivery: Delivery) -> Delivery:
    """Send it once, again under the same GUID; never raises."""
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": delivery.guid,
        "X-Hub-Signature-256": sign(SECRET, delivery.body),
    }
    delivery.status, delivery.retry_after, delivery.said = None, None, ""
    try:
        async with httpx.AsyncClient(timeout=GITHUB_WAITS_S, trust_env=False) as client:
            answer = await client.post(f"{tagship.url}/webhooks/github", content=delivery.body, headers=headers)
    except httpx.HTTPError as error:
        delivery.said = type(error).__name__
        return delivery
    delivery.status, delivery.retry_after, delivery.said = (
        answer.status_code,
        answer.headers.get("retry-after"),
        answer.text,
    )
    return delivery


@asynccontextmanager
async def intake(folder: Path, *arguments: str, **more: str) -> AsyncIterator[Tagship]:
    """``tagship serve --no-workers`` (or other arguments) without an engine, on whatever database ``more`` names; it
    knows ``REPO``.
    """
    environment = {
        "DOCKER_HOST": "unix:///nowhere.sock",
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "TAGSHIP_API_TOKEN": TOKEN,
        "TAGSHIP_SECRET_KEY": "fault-secret-key-0123456789",
        "TAGSHIP_DATA_DIR": str(folder / "data"),
    }
    folder.mkdir(exist_ok=True)
    arguments = arguments or ("serve", "--no-workers")
    async with Tagship.start(folder / "log", environment | more, *arguments, ready=False) as tagship:
        await takes_in(tagship)
        if not await tagship.get("/repositories"):
            await tagship.post("/repositories", {"repo": REPO})
        yield tagship


async def parts(tagship: Tagship) -> dict[str, str]:
    """What /readyz says of each part; nothing while nobody answers. Fails when the process has ended."""
    assert tagship.process.returncode is None, tagship.log.read_text()
    try:
        answer = await tagship.api.get(f"{tagship.url}/readyz", timeout=GITHUB_WAITS_S)
    except httpx.TransportError:
        return {}
    said: dict[str, str] = answer.json()["parts"]
    return said


async def takes_in(tagship: Tagship) -> None:
    """Wait until the process has a database that it can write to."""

    async def look() -> bool:
        return (await parts(tagship)).get("database") == "ok"

    await until(look, "tagship has a database")


async def send_all(tagship: Tagship, deliveries: list[Delivery]) -> None:
    """Send deliveries all at once, and wait until each was answered or given up."""
    await asyncio.gather(*(send(tagship, delivery) for delivery in deliveries))


async def kept(dsn: str, deliveries: list[Delivery]) -> tuple[int, int, int]:
    """Of these deliveries: how many are stored, how many of them were accepted, and how many builds they led to."""
    of_these = "from deliveries d where d.guid = any($1)"
    guids = [delivery.guid for delivery in deliveries]
    return (
        await ask(dsn, f"select count(*) {of_these}", guids),
        await ask(dsn, f"select count(*) {of_these} and d.state = 'accepted'", guids),
        await ask(dsn, f"select count(*) from builds b where b.delivery_id in (select d.id {of_these})", guids),
    )
