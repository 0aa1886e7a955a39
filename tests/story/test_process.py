"""Tagship as a process: started as users start it, stopped as systemd stops it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from app.engine.service import remove_service
from tests.fakes.github import LocalGitHub
from tests.waiting import until
from tests.world import FILES, SECRET, TOKEN, clean_images, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine

SLOW = 'FROM busybox\nENV RUN=@RUN@\nRUN echo be""gun; sleep 20\n'


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


@asynccontextmanager
async def served(log: Path, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """`tagship serve` until the block ends, ready to work; killed if it is still there then."""
    port = str(free_port())
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app",
            "serve",
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TAGSHIP_PORT": port} | environment,
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:

            async def ready() -> bool:
                assert process.returncode is None, log.read_text()
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, "tagship is ready", 60)
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


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


async def test_sigterm_hands_a_running_build_back_and_the_next_process_builds_it(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    async with LocalGitHub.start(tmp_path / "github", webhook_secret=SECRET) as github:
        repo = f"acme/stop-{os.urandom(3).hex()}"
        await github.create_repository(repo, {"Dockerfile": SLOW.replace("@RUN@", repo)})
        environment = {
            "DATABASE_URL": database,
            "TAGSHIP_DATA_DIR": str(tmp_path / "data"),
            "TAGSHIP_API_TOKEN": TOKEN,
            "TAGSHIP_SECRET_KEY": "a-secret-key-for-stories",
            "GITHUB_API_URL": github.url,
            "GITHUB_WEBHOOK_SECRET": SECRET,
        } | docker_host()
        image = f"/api/v1/images/{await begun_and_stopped(github, repo, tmp_path / 'log', environment)}"
        async with served(tmp_path / "log", **environment) as (_, client):

            async def built() -> bool:
                return bool((await client.get(image)).json()["build_status"] == "success")

            await until(built, "the next process has built it", 60)
            shown = (await client.get(image)).json()
        assert shown["attempt"] == 2
        assert "--- attempt 2 of 3 ---" in shown["build_log"]
        assert "canary" not in (tmp_path / "log").read_text()
        await clean_images(engine, repo.partition("/")[2])


async def begun_and_stopped(github: LocalGitHub, repo: str, log: Path, environment: dict[str, str]) -> int:
    """Let a process begin a build and stop it with SIGTERM; the image's id."""
    loop = asyncio.get_running_loop()
    async with served(log, **environment) as (process, client):
        github.hooks.url = f"{client.base_url}/webhooks/github".replace("//webhooks", "/webhooks")
        await client.post("/api/v1/repositories", json={"repo": repo})
        await github.tag(repo, "v1.0.0")
        image_id: int = (await client.get("/api/v1/images")).json()[0]["id"]

        async def begun() -> bool:
            return "begun" in (await client.get(f"/api/v1/images/{image_id}")).json()["build_log"]

        await until(begun, "the build prints")
        stopped_at = loop.time()
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 15)
        assert loop.time() - stopped_at < 10
        assert code == 0, log.read_text()
    return image_id


async def test_a_killed_process_loses_nothing(tmp_path: Path, database: str, engine: Engine) -> None:
    """`kill -9` while an image is built, and again while its rollout is watched: the next process makes it right."""
    async with LocalGitHub.start(tmp_path / "github", webhook_secret=SECRET) as github:
        run_word = os.urandom(3).hex()
        repo, log = f"acme/kill-{run_word}", tmp_path / "log"
        files = FILES | {
            "VERSION": "v1.0.0",
            "Dockerfile": FILES["Dockerfile"].replace("RUN", f"RUN sleep 3; : {run_word};"),
        }
        await github.create_repository(repo, files)
        environment = {
            "DATABASE_URL": database,
            "TAGSHIP_DATA_DIR": str(tmp_path / "data"),
            "TAGSHIP_API_TOKEN": TOKEN,
            "TAGSHIP_SECRET_KEY": "a-secret-key-for-stories",
            "TAGSHIP_LEASE_S": "2",
            "GITHUB_API_URL": github.url,
            "GITHUB_WEBHOOK_SECRET": SECRET,
        } | docker_host()
        slug = f"kill-{run_word}"
        try:
            async with served(log, **environment) as (process, client):
                github.hooks.url = f"{client.base_url}/webhooks/github".replace("//webhooks", "/webhooks")
                await client.post("/api/v1/repositories", json={"repo": repo})
                await github.tag(repo, "v1.0.0")
                await state_is(client, "/api/v1/images/1", "build_status", "building")
                body = {"name": "K", "slug": slug, "port": free_port(), "publish_mode": "host"}
                made = await client.post("/api/v1/products", json=body | {"image_id": 1, "when_built": True})
                assert made.status_code == 201, made.text
                process.kill()
                await process.wait()
            async with served(log, **environment) as (process, client):
                await state_is(client, "/api/v1/images/1", "build_status", "success")
                assert (await client.get("/api/v1/images/1?log=false")).json()["attempt"] == 2
                await state_is(client, "/api/v1/rollouts/1", "state", "converging")
                process.kill()
                await process.wait()
            async with served(log, **environment) as (_, client):
                await state_is(client, "/api/v1/rollouts/1", "state", "done")
                await state_is(client, "/api/v1/products/1", "status", "running")
                assert len((await client.get("/api/v1/products/1/rollouts")).json()) == 1
        finally:
            await remove_service(engine, f"tagship-{slug}")
            await clean_images(engine, repo.partition("/")[2])


async def state_is(client: httpx.AsyncClient, path: str, field: str, wanted: str) -> None:

    async def look() -> bool:
        answer = await client.get(path)
        return answer.status_code == 200 and answer.json()[field] == wanted

    await until(look, f"{field} of {path} is {wanted}", 60)


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_it_stops_at_once_when_it_is_idle(tmp_path: Path, database: str, command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        command,
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database,
            "TAGSHIP_DATA_DIR": str(tmp_path),
            "TAGSHIP_PORT": str(free_port()),
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b'"started"' in line:
            break
    process.send_signal(signal.SIGTERM)
    rest = await asyncio.wait_for(process.stderr.read(), 10)
    assert await process.wait() == 0, rest
    assert b'"stopped"' in rest
