"""How long from a pushed tag to a running service, beside the plain way on the same context in the same run.

The plain way is what people type: ``docker build`` and ``docker service update``, by the docker command, which waits
until the service has converged. Ours is everything from ``git push`` of the tag until the rollout is done: the
webhook, the source from GitHub, the build, the swarm, and the same monitor time. Rounds alternate, no step is in a
cache, the median counts.

    python -m tests.bench.tag_to_running [ROUNDS]
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import statistics
import sys
import time
from typing import TYPE_CHECKING, Final

from tests.bench.scratch import scratch
from tests.ports import free_port
from tests.world import DOCKERFILE, FILES, World, new_world

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROUNDS: Final = 5
AIM: Final = 1.15
MONITOR_S: Final = "5"
CALM: Final = {
    "Dockerfile": DOCKERFILE.replace(
        "COPY", "ENV RUN=@ROUND@\nRUN i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done\nCOPY"
    )
}
SOURCES: Final = {f"src/module_{number}.txt": f"line of module {number}\n" * 1000 for number in range(200)}


def docker() -> str:
    """The docker command: the engine's own where there are several."""
    for place in ("/usr/bin/docker", "docker"):
        if found := shutil.which(place):
            return found
    sys.exit("there is no docker command; apt-get install docker.io")


async def shell(*command: str) -> str:
    """Run a command to its end; its output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: {errors.decode()}")
    return output.decode().strip()


def context(word: str) -> Mapping[str, str]:
    """The files of one round: the same work every time, and nothing in a cache."""
    files = FILES | SOURCES | {"Dockerfile": CALM["Dockerfile"].replace("@ROUND@", word), "VERSION": word}
    return {name: text.replace("@RUN@", word) for name, text in files.items()}


async def ours(world: World, product: dict[str, object], number: int) -> tuple[float, float]:
    """Seconds from the beginning of ``git push``, and from its end, until the rollout is done."""
    tag = f"v1.{number}.0"
    await world.github.commit(world.repo, dict(context(f"ours-{number}")))
    await world.github.tag(world.repo, tag, push=False)
    begun = time.perf_counter()
    await world.github.push(world.repo, f"refs/tags/{tag}")
    pushed = time.perf_counter()
    while True:
        rollouts = await world.get(f"/products/{product['id']}/rollouts?limit=1")
        if rollouts[0]["image_name"] == f"{world.image}:{tag}" and rollouts[0]["finished_at"]:
            break
        await asyncio.sleep(0.05)
    done = time.perf_counter()
    if rollouts[0]["state"] != "done":
        sys.exit(f"the rollout of {tag} is {rollouts[0]['state']}: {rollouts[0]['error']}")
    return done - begun, done - pushed


async def plain(folder: Path, service: str, number: int) -> float:
    """Seconds for the docker command to build the context and update a service with it."""
    for name, text in context(f"plain-{number}").items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    image = f"{service}:{number}"
    begun = time.perf_counter()
    await shell(docker(), "build", "--quiet", "--tag", image, str(folder))
    digest = await shell(docker(), "image", "inspect", "--format", "{{.Id}}", image)
    await shell(docker(), "service", "update", "--quiet", "--image", digest, service)
    return time.perf_counter() - begun


async def new_plain_service(folder: Path, name: str) -> None:
    """A service like the product's, made by hand."""
    await plain_image(folder, name)
    publish = f"published={free_port()},target=8080,mode=host"
    await shell(
        *(docker(), "service", "create", "--quiet", "--name", name, "--endpoint-mode", "dnsrr", "--publish", publish),
        *("--update-order", "stop-first", "--update-failure-action", "rollback", "--update-monitor", f"{MONITOR_S}s"),
        *("--env", "CUSTOMER=plain", f"{name}:first"),
    )


async def plain_image(folder: Path, name: str) -> None:
    for file, text in context("first").items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    await shell(docker(), "build", "--quiet", "--tag", f"{name}:first", str(folder))


async def measure(folder: Path, dsn: str, rounds: int) -> float:
    """Alternate both ways and print what they took; the ratio of the medians."""
    async with new_world(folder, dsn, TAGSHIP_ROLLOUT_MONITOR_S=MONITOR_S) as world:
        logging.getLogger().setLevel(logging.ERROR)
        name = f"plain-{world.run}"
        try:
            await world.register()
            await world.release("v1.0.0")
            image = await world.image_is("v1.0.0", "success")
            product = await world.product("ours", image["id"], track="^1")
            await world.start(product)
            (folder / "plain").mkdir()
            await new_plain_service(folder / "plain", name)
            taken = []
            for number in range(1, rounds + 1):
                by_hand = await plain(folder / "plain", name, number)
                from_push, after_push = await ours(world, product, number)
                taken.append((by_hand, from_push, after_push))
                show(f"round {number}", *taken[-1])
        finally:
            await shell(docker(), "service", "rm", name)
            tags = (await shell(docker(), "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name)).split()
            await shell(docker(), "image", "rm", "--force", *tags)
        while world.slack.unread:
            await world.told()
    by_hand, from_push, after_push = (statistics.median(column) for column in zip(*taken, strict=True))
    show("median", by_hand, from_push, after_push)
    ratio = float(from_push / by_hand)
    print(
        f"ratio: {ratio:.2f} from the beginning of git push (aim: at most {AIM}), {after_push / by_hand:.2f} after it"
    )
    return ratio


def show(what: str, by_hand: float, from_push: float, after_push: float) -> None:
    print(f"{what}: plain {by_hand:5.2f} s   ours {from_push:5.2f} s ({after_push:5.2f} s after the push)")


async def main() -> None:
    async with scratch() as (folder, dsn):
        ratio = await measure(folder, dsn, int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    sys.exit(0 if ratio <= AIM else 1)


if __name__ == "__main__":
    asyncio.run(main())
