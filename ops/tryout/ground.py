"""The Docker engine made ready for a run, through its API: it answers, has a base image, and is a one-node swarm.

Called by ``ops/setup/engine.sh``. What was there is used and stays; what is made here is in the ledger first.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, Final

import aiodocker

from ops.tryout.ledger import Ledger, started_at

BASE_IMAGE: Final = "busybox:latest"
PULL_PATIENCE_S: Final = 30.0
GATEWAY_NETWORK: Final = "docker_gwbridge"
NOT_FOUND: Final = 404


async def wait_for_engine(seconds: float, launcher: int | None) -> bool:
    """True once the engine answers; False after ``seconds``, or as soon as the process ``launcher`` has ended."""
    deadline = time.monotonic() + seconds
    while True:
        if await _answers():
            return True
        if time.monotonic() >= deadline or (launcher is not None and not started_at(launcher)):
            return False
        await asyncio.sleep(0.1)


async def _answers() -> bool:
    try:
        async with asyncio.timeout(5), aiodocker.Docker() as docker:
            await docker.version()
    except (aiodocker.DockerError, OSError, TimeoutError, ValueError, AssertionError):  # the last one: no socket at all
        return False
    return True


async def ensure_swarm(ledger: Ledger) -> None:
    """The engine is a manager of a swarm. Raises ``SystemExit`` with a sentence when it cannot become one."""
    async with aiodocker.Docker() as docker:
        info = await docker.system.info()
        swarm = info["Swarm"]
        if swarm["LocalNodeState"] == "inactive":
            if not await _has_network(docker, GATEWAY_NETWORK):
                ledger.record("network", GATEWAY_NETWORK)
            ledger.record("swarm", "made")
            await docker.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:2377")
        elif not swarm["ControlAvailable"]:
            sys.exit(
                f"the Docker engine is a swarm node in state {swarm['LocalNodeState']!r} that cannot manage services"
            )


async def _has_network(docker: aiodocker.Docker, name: str) -> bool:
    return any(network["Name"] == name for network in await docker.networks.list())


async def ensure_base_image(ledger: Ledger, busybox: Path | None) -> bool:
    """``busybox:latest`` is on the engine: it was, or is pulled, or is made from a static ``busybox`` if given."""
    async with aiodocker.Docker() as docker:
        if await _has_image(docker, BASE_IMAGE):
            return True
        ledger.record("image", BASE_IMAGE)
        if busybox is None:
            return await _pulled(docker)
        await _import(docker, _root_folder(busybox))
        return await _has_image(docker, BASE_IMAGE)


async def _has_image(docker: aiodocker.Docker, reference: str) -> bool:
    try:
        await docker.images.inspect(reference)
    except aiodocker.DockerError as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


async def _pulled(docker: aiodocker.Docker) -> bool:
    print(f"pulling {BASE_IMAGE}", flush=True)
    try:
        async with asyncio.timeout(PULL_PATIENCE_S):
            await docker.images.pull(BASE_IMAGE)
    except (aiodocker.DockerError, TimeoutError):
        print(f"{BASE_IMAGE} cannot be pulled; making it from a static busybox", flush=True)
        return False
    return await _has_image(docker, BASE_IMAGE)


async def _import(docker: aiodocker.Docker, archive: bytes) -> None:
    repository, _, tag = BASE_IMAGE.partition(":")
    parameters: dict[str, Any] = {"fromSrc": "-", "repo": repository, "tag": tag}
    # aiodocker has no call for POST /images/create with a body.
    async with docker._query(  # noqa: SLF001
        "images/create", "POST", params=parameters, data=archive, headers={"content-type": "application/x-tar"}
    ) as response:
        await response.read()


def _root_folder(busybox: Path) -> bytes:
    """A tar of ``/bin/busybox`` with a link for each command it knows, so that ``RUN`` finds a shell, and ``/tmp``."""
    names = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = busybox.stat().st_size, 0o755
        with busybox.open("rb") as file:
            archive.addfile(program, file)
        for name in names:
            if name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
                archive.addfile(link)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
    return buffer.getvalue()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.tryout.ground")
    parser.add_argument("--ledger", type=Path, required=True)
    actions = parser.add_subparsers(dest="action", required=True)
    wait = actions.add_parser("wait")
    wait.add_argument("seconds", type=float)
    wait.add_argument("--while", type=int, dest="launcher", help="give up when this process has ended")
    actions.add_parser("swarm")
    image = actions.add_parser("base-image")
    image.add_argument("--from", type=Path, dest="busybox", help="a static busybox")
    return parser.parse_args()


async def _act(given: argparse.Namespace) -> bool:
    ledger = Ledger(given.ledger)
    if given.action == "wait":
        return await wait_for_engine(given.seconds, given.launcher)
    if given.action == "swarm":
        await ensure_swarm(ledger)
        return True
    return await ensure_base_image(ledger, given.busybox)


def main() -> int:
    """0 when what was asked for is so; the engine's own words when it refused."""
    try:
        return int(not asyncio.run(_act(_arguments())))
    except aiodocker.DockerError as error:
        print(f"the Docker engine refused: {error.message}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
