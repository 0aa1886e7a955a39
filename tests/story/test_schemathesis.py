"""Schemathesis reads the OpenAPI document and tries what it promises, and what it forbids, against the real service."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.api import auth
from tests.world import TOKEN, new_world

if TYPE_CHECKING:
    from app.engine.client import Engine
    from tests.world import World

REPO = "acme/bre-payments"  # what the document gives as its example
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(400)
async def test_the_service_keeps_to_its_own_document(
    tmp_path: Path, database: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "MOST_WRONG", 1_000_000)  # it presents a wrong token to every call
    everywhere = "0.0.0.0/0,::/0"  # where an address leads is no matter of form either
    settings = {"SLACK_WEBHOOK_URL": "", "TAGSHIP_NOTIFY_PRIVATE_NETWORKS": everywhere}
    async with new_world(tmp_path, database, **settings) as world:
        world.services.stopping.set()  # whoever asks to wait is answered at once, as in a process that stops
        await run_schemathesis(world, tmp_path)


async def run_schemathesis(world: World, folder: Path) -> None:
    await world.github.create_repository(REPO, {"Dockerfile": "FROM busybox\n"})
    await world.github.commit(REPO, {"VERSION": "1"}, "a version")
    await world.github.tag(REPO, "v1.3.0")
    program = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        "--config-file",
        CONFIG,
        "run",
        f"{world.url}/openapi.json",
        "--url",
        world.url,
        "--header",
        f"Authorization: Bearer {TOKEN}",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await program.communicate()
    assert program.returncode == 0, said.decode(errors="replace")[-20_000:]
