"""The command line over the real service: run as users run it, judged by what it prints and its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.waiting import until
from tests.world import FILES, TOKEN

if TYPE_CHECKING:
    from tests.world import World

TALKATIVE = {"Dockerfile": "FROM busybox\nENV RUN=@RUN@\nRUN for i in 1 2 3 4; do echo line $i; sleep 0.3; done\n"}
ENDLESS = {"Dockerfile": 'FROM busybox\nENV RUN=@RUN@\nRUN echo be""gun; sleep 600\n'}
BROKEN = {"Dockerfile": "FROM busybox\nENV RUN=@RUN@\nRUN echo no compiler; exit 3\n"}
CRASHING = {"Dockerfile": 'FROM busybox\nENV RUN=@RUN@\nEXPOSE 8080\nCMD ["sh", "-c", "echo no licence; exit 4"]\n'}


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def begin(world: World, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        *arguments,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TAGSHIP_URL": world.url, "TAGSHIP_TOKEN": TOKEN}
        | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    out, err = await asyncio.wait_for(process.communicate(), 120)
    found = Ended(process.returncode or 0, out.decode(), err.decode())
    assert TOKEN not in found.out + found.err
    assert "Traceback" not in found.err, found.err
    return found


async def tagship(world: World, *arguments: str, code: int = 0, **environment: str) -> Ended:
    """Run a command to its end; it must end with ``code``."""
    found = await ended(await begin(world, *arguments, **environment))
    assert found.code == code, found
    return found


async def read_all_messages(world: World) -> None:
    while world.slack.unread:
        await world.told()


async def test_a_person_builds_deploys_looks_and_stops(world: World) -> None:
    await world.release(
        "v1.0.0",
        {
            "Dockerfile": TALKATIVE["Dockerfile"] + "WORKDIR /srv\nCOPY VERSION serve ./\n"
            'RUN chmod +x serve\nEXPOSE 8080\nCMD ["./serve"]\n'
        },
    )
    built = await tagship(world, "build", world.repo, "v1.0.0", "--follow")
    assert [f"line {n}" for n in range(1, 5)] == [
        line[-6:] for line in built.out.splitlines() if line[-6:-1] == "line "
    ]
    assert f"{world.image}:v1.0.0 is built" in built.err
    again = await tagship(world, "build", world.repo, "v1.0.0", code=3)
    assert "--rebuild" in again.err
    assert again.out == ""
    stored = await tagship(world, "logs", f"{world.image}:v1.0.0")
    assert stored.out == (await world.get("/images/1"))["build_log"]

    product = await world.product("allianz", 1, env_vars={"CUSTOMER": "none", "KEY": "canary"})
    slug = product["slug"]
    deployed = await tagship(world, "deploy", slug, f"{world.image}:v1.0.0", "-e", "CUSTOMER", CUSTOMER="allianz")
    assert f"{slug} runs {world.image}:v1.0.0" in deployed.err
    assert "converging" in deployed.err
    assert "\x1b" not in deployed.err
    assert await world.page(product) == {"version": "v1.0.0", "customer": "allianz"}
    unchanged = await tagship(world, "deploy", slug, "1", "--json")
    assert unchanged.json["id"] == 1
    assert "nothing changes" in unchanged.err
    listed = await tagship(world, "ps")
    assert listed.out.splitlines()[1].split()[:5] == [
        slug,
        f"{world.image}:v1.0.0",
        "running",
        "1",
        str(product["port"]),
    ]
    assert (await tagship(world, "ps", "--json")).json == await world.get("/products")

    assert (await tagship(world, "stop", slug, "--json")).json["state"] == "done"
    assert "canary" not in str(await world.get("/products"))
    await read_all_messages(world)


async def test_a_person_goes_back_and_reads_what_the_containers_say(world: World) -> None:
    product = await world.running("allianz")
    slug, image = product["slug"], world.image
    greeting = FILES["Dockerfile"].replace('["./serve"]', '["sh", "-c", "echo hello from $CUSTOMER; exec ./serve"]')
    await world.release("v1.1.0", {"Dockerfile": greeting})
    await world.image_is("v1.1.0", "success")
    impact = (await tagship(world, "impact", f"{image}:v1.1.0")).out
    assert impact.splitlines()[1].split()[:4] == [slug, "v1.0.0", "v1.0.0", "stays:"]
    await tagship(world, "deploy", slug, f"{image}:v1.1.0")
    assert "hello from allianz\n" in (await tagship(world, "logs", "--product", slug)).out
    tasks = (await tagship(world, "ps", slug)).out.splitlines()
    assert tasks[1].split()[2:4] == ["running", f"{image}:v1.1.0"]

    follower = await begin(world, "logs", "--product", slug, "-f", "--tail", "10")
    assert follower.stdout is not None
    assert await asyncio.wait_for(follower.stdout.readline(), 30) == b"hello from allianz\n"
    assert f"runs {image}:v1.0.0" in (await tagship(world, "rollback", slug)).err
    assert await world.page(product) == {"version": "v1.0.0", "customer": "allianz"}
    await tagship(world, "stop", slug)
    assert (await ended(follower)).code == 0
    await read_all_messages(world)


async def test_a_token_made_here_may_do_what_its_role_says_until_it_is_revoked(quiet_world: World) -> None:
    made = await tagship(quiet_world, "token", "create", "ci", "--role", "read", "--expires-in", "1d")
    token = made.out.strip()
    assert (await tagship(quiet_world, "ps", "--json", TAGSHIP_TOKEN=token)).json == []
    assert "deploy" in (await tagship(quiet_world, "build", "a/b", "v1", code=3, TAGSHIP_TOKEN=token)).err
    listed = (await tagship(quiet_world, "token", "list")).out
    assert listed.splitlines()[1].split()[1:3] == ["ci", "read"]
    assert token not in listed
    await tagship(quiet_world, "token", "revoke", "ci")
    assert "401" in (await tagship(quiet_world, "ps", code=3, TAGSHIP_TOKEN=token)).err
    newest = (await quiet_world.get("/audit?limit=1"))[0]
    assert (newest["via"], newest["subject_name"]) == ("cli", "ci")


async def test_what_fails_ends_with_1_and_says_why(world: World) -> None:
    await world.release("v1.0.0", BROKEN)
    failed = await tagship(world, "build", world.repo, "v1.0.0", "--json", code=1)
    assert failed.json["build_status"] == "failed"
    assert "exit" in failed.err or "code" in failed.err
    followed = await tagship(world, "logs", "1", "-f", code=1)
    assert "no compiler" in followed.out

    await world.release("v1.1.0", CRASHING)
    begun = await tagship(world, "build", world.repo, "v1.1.0", "--no-wait", "--json")
    assert begun.json["build_status"] == "pending"
    await tagship(world, "logs", f"{world.image}:v1.1.0", "-f")
    product = await world.product("axa", begun.json["id"])
    crashed = await tagship(world, "start", product["slug"], "--json", code=1)
    assert crashed.json["state"] in {"failed", "rolled_back"}
    assert "no licence" in crashed.err
    assert "exit code 4" in crashed.err
    await read_all_messages(world)


async def test_ctrl_c_ends_the_command_and_not_the_build(world: World) -> None:
    await world.release("v1.0.0", ENDLESS)
    process = await begin(world, "build", world.repo, "v1.0.0", "--follow")
    assert process.stdout is not None
    while b"begun" not in await asyncio.wait_for(process.stdout.readline(), 60):
        pass
    process.send_signal(signal.SIGINT)
    assert (await ended(process)).code == 130
    late = await tagship(world, "build", world.repo, "v1.0.0", "--rebuild", "--timeout", "1", code=1)
    assert "goes on" in late.err

    async def running() -> bool:
        return bool((await world.get("/images/1?log=false"))["build_status"] == "building")

    await until(running, "the build still runs")
    await world.post("/images/1/cancel", None, 202)
    cancelled = await tagship(world, "logs", "1", "-f", code=1)
    assert "cancelled" in cancelled.err
    await read_all_messages(world)
