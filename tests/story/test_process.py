"""Tagship as a process: started as users start it, stopped as systemd stops it."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.fakes.github import LocalGitHub
from tests.fault.process import Tagship
from tests.ports import free_port
from tests.waiting import until
from tests.world import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from app.engine.client import Engine


@dataclass
class Ended:
    code: int
    output: str
    seconds: float


async def run(*arguments: str, **environment: str) -> Ended:
    """Run a command of the program to its end."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        *arguments,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return Ended(process.returncode or 0, output.decode(), loop.time() - begun)


def docker_host() -> dict[str, str]:
    return {"DOCKER_HOST": os.environ["DOCKER_HOST"]} if "DOCKER_HOST" in os.environ else {}


async def test_wrong_settings_are_listed_all_together_and_end_with_2() -> None:
    ended = await run("serve", TAGSHIP_PORT="zero", TAGSHIP_LEASE_S="-1", TAGSHIP_API_TOKEN="canary")
    assert ended.code == 2
    for name in ("TAGSHIP_PORT", "TAGSHIP_LEASE_S", "TAGSHIP_API_TOKEN"):
        assert name in ended.output
    assert "canary" not in ended.output
    assert "Traceback" not in ended.output


async def test_a_database_that_is_down_is_one_sentence_and_1(tmp_path: Path) -> None:
    url = f"postgresql://tagship:canary@127.0.0.1:{free_port()}/tagship"
    ended = await run("serve", DATABASE_URL=url, TAGSHIP_DATA_DIR=str(tmp_path))
    assert ended.code == 1
    assert "PostgreSQL at 127.0.0.1" in ended.output
    assert "canary" not in ended.output
    assert "Traceback" not in ended.output


async def test_a_port_in_use_is_one_sentence_and_1(tmp_path: Path, database: str) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = str(server.sockets[0].getsockname()[1])
    ended = await run("serve", DATABASE_URL=database, TAGSHIP_DATA_DIR=str(tmp_path), TAGSHIP_PORT=port)
    server.close()
    assert ended.code == 1
    assert port in ended.output
    assert "Traceback" not in ended.output


async def test_a_host_that_is_not_of_this_machine_is_one_sentence_that_names_it(tmp_path: Path, database: str) -> None:
    ended = await run("serve", DATABASE_URL=database, TAGSHIP_DATA_DIR=str(tmp_path), TAGSHIP_HOST="203.0.113.7")
    assert ended.code == 1
    assert "check TAGSHIP_HOST" in ended.output
    assert "while attempting" not in ended.output


async def test_migrate_says_what_it_did(tmp_path: Path, empty_database: str) -> None:
    environment = {"DATABASE_URL": empty_database, "TAGSHIP_DATA_DIR": str(tmp_path)}
    assert "0001_start" in (await run("migrate", **environment)).output
    assert "up to date" in (await run("migrate", **environment)).output


async def test_doctor_says_what_is_wrong_and_how_to_mend_it(tmp_path: Path, database: str) -> None:
    environment = {"DATABASE_URL": database, "TAGSHIP_DATA_DIR": str(tmp_path), "GITHUB_API_URL": "http://127.0.0.1:9"}
    ended = await run("doctor", DOCKER_HOST=f"unix://{tmp_path}/none.sock", **environment)
    assert ended.code == 1
    for line in ("ok   database", "FAIL engine", "FAIL swarm", "FAIL github", "FAIL webhook", "ok   disk"):
        assert line in ended.output, ended.output
    assert "Traceback" not in ended.output


async def test_doctor_is_content_when_all_is_well(tmp_path: Path, database: str, engine: Engine) -> None:
    async with LocalGitHub.start(tmp_path / "github", webhook_secret=SECRET) as github:
        ended = await run(
            "doctor",
            DATABASE_URL=database,
            TAGSHIP_DATA_DIR=str(tmp_path),
            GITHUB_API_URL=github.url,
            GITHUB_WEBHOOK_SECRET=SECRET,
            **docker_host(),
        )
    assert ended.code == 0, ended.output
    assert "FAIL" not in ended.output


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_it_stops_at_once_when_it_is_idle(tmp_path: Path, database: str, command: str) -> None:
    environment = {"DATABASE_URL": database, "TAGSHIP_DATA_DIR": str(tmp_path / "data")}
    async with Tagship.start(tmp_path / "log", environment, command, ready=False) as tagship:
        await until(tagship.has_started, "the process works", 60)
        await tagship.terminate()
        assert tagship.events("stopped")
