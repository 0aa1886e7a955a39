"""A Docker engine that a test may kill, freeze and start again: dockerd and containerd in namespaces of their own.

Network, processes and mounts are those of the namespaces, so that it disturbs no other engine of the machine, and
nothing of it outlives the namespaces' first process, which dies with the test run however that ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import io
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiodocker
import aiohttp
import pytest

from app.engine.client import Engine
from tests.processes import DIES_WITH_US
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BASE_IMAGE: Final = "busybox:latest"
BRIDGE: Final = "172.17.0.1"  # Docker's own choice in an empty network
PROGRAMS: Final = ("dockerd", "containerd", "ip", "iptables", "nsenter", "unshare", "setpriv")
NAMESPACES: Final = ("--net", "--pid", "--mount")
CLONE_NEWNET: Final = 0x40000000
CGROUPS: Final = Path("/sys/fs/cgroup")
FOLDERS: Final = Path("/var/tmp")
OWNED: Final = re.compile(r"tsf-(?P<word>p(?P<pid>[0-9]+)-[0-9a-f]{6})(?:-|$)")
SLOW: Final = aiohttp.ClientTimeout(total=120)

# The first process of a PID namespace must collect the dead, or a dockerd that starts again takes them for alive.
FIRST_PROCESS: Final = ("sh", "-c", "while :; do sleep 1; done")


class PrivateEngine:
    """One engine below a short folder of its own; ``host`` is its DOCKER_HOST."""

    def __init__(self, data_mb: int | None) -> None:
        self.word = f"p{os.getpid()}-{secrets.token_hex(3)}"  # says whose it is: see _remove_leftovers
        self.folder = Path(tempfile.mkdtemp(prefix=f"tsf-{self.word}-", dir=FOLDERS))
        self.host = f"unix://{self.folder}/docker.sock"
        self._data_mb = data_mb
        self._holder: asyncio.subprocess.Process | None = None
        self._daemons: dict[str, asyncio.subprocess.Process] = {}

    async def open(self) -> None:
        """Make the namespaces, start the engine in them, and make it a swarm of one node."""
        self._holder = await asyncio.create_subprocess_exec(
            *(*DIES_WITH_US, "unshare", *NAMESPACES, "--fork", "--mount-proc", "--kill-child=SIGKILL"),
            *("--", *FIRST_PROCESS),
        )
        await until(self._entered, "the namespaces are there", 30)
        (self.folder / "data").mkdir()
        (self.folder / "daemon.json").write_text("{}")  # the machine's own speaks of another engine
        (self.folder / "containerd.toml").write_text(self._containerd_config())
        await self._inside("ip", "link", "set", "lo", "up")
        if self._data_mb is not None:
            await self._inside("mount", "-t", "tmpfs", "-o", f"size={self._data_mb}m", "tmpfs", f"{self.folder}/data")
        await self.start()
        async with aiodocker.Docker(self.host) as docker:
            await docker.swarm.init(listen_addr="127.0.0.1:2377", advertise_addr="127.0.0.1")

    async def start(self) -> None:
        """Start dockerd and containerd with the data that they left, and wait until they answer."""
        place = str(self.folder)
        await self._launch("containerd", "--config", f"{place}/containerd.toml")
        await self._launch(
            "dockerd",
            *(f"--host={self.host}", f"--config-file={place}/daemon.json", f"--containerd={place}/containerd.sock"),
            *(f"--data-root={place}/data", f"--exec-root={place}/exec", f"--pidfile={place}/pid"),
            *(f"--containerd-namespace=tsf-{self.word}", f"--containerd-plugins-namespace=tsf-{self.word}-plugins"),
            *(f"--cgroup-parent=/tsf-{self.word}", "--shutdown-timeout=5"),
        )
        async with Engine.open(self.host) as client:

            async def answers() -> bool:
                ended = [name for name, daemon in self._daemons.items() if daemon.returncode is not None]
                assert not ended, f"{ended} ended: {self.log()[-2000:]}"
                return await client.answers()

            await until(answers, f"the engine at {self.host} answers", 60)

    async def kill(self) -> None:
        """End dockerd, containerd and all they ran as the crash of a machine does: at once, and with their containers
        still on record. A step of BuildKit's would outlive its dockerd otherwise, and keep its address on the network.
        """
        self._signal(signal.SIGKILL, *self._daemons)
        for daemon in self._daemons.values():
            await _seen_to_its_end(daemon)
        await self._inside("sh", "-c", "kill -9 -1; true")
        self._daemons.clear()

    def freeze(self) -> None:
        """Make dockerd hang: connections stay open, and nothing answers."""
        self._daemons["dockerd"].send_signal(signal.SIGSTOP)  # nsenter would wake it again at once
        self._signal(signal.SIGSTOP, "dockerd")

    def thaw(self) -> None:
        """Let a frozen dockerd go on."""
        self._signal(signal.SIGCONT, "dockerd")
        self._daemons["dockerd"].send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End everything that runs for this engine, and leave nothing of it."""
        if self._holder is not None and self._holder.returncode is None:
            self._holder.kill()
            await self._holder.wait()
        for daemon in self._daemons.values():
            with suppress(ProcessLookupError):
                daemon.kill()
            await daemon.wait()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
        await asyncio.to_thread(_remove_cgroups, self.word)

    def listener(self) -> socket.socket:
        """A TCP socket that listens on a free port of the engine's network, to be served from this process. The engine
        reaches it at 127.0.0.1, the steps of its builds at ``BRIDGE``.
        """
        with ThreadPoolExecutor(1) as outside:
            return outside.submit(self._listen).result()

    def log(self) -> str:
        """What dockerd and containerd have written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")) if path.is_file())

    @property
    def _first_pid(self) -> int:
        """The namespaces' first process: the child of ``unshare``."""
        assert self._holder is not None
        return _children(self._holder.pid)[0]

    async def _entered(self) -> bool:
        assert self._holder is not None
        assert self._holder.returncode is None, "unshare did not make the namespaces"
        return bool(_children(self._holder.pid)) and "sh" in Path(f"/proc/{self._first_pid}/comm").read_text()

    def _enter(self, *command: str) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self._first_pid), *NAMESPACES, "--", *command)

    async def _inside(self, *command: str) -> None:
        process = await asyncio.create_subprocess_exec(*self._enter(*command))
        assert await process.wait() == 0, command

    async def _launch(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as output:
            self._daemons[name] = await asyncio.create_subprocess_exec(
                *(*DIES_WITH_US, *self._enter(name, *arguments)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _signal(self, number: signal.Signals, *names: str) -> None:
        """Send a signal to the daemons themselves, which are the children of ``nsenter``."""
        for name in names:
            for pid in _children(self._daemons[name].pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _listen(self) -> socket.socket:
        """Belongs to a thread of its own: it moves that thread into the engine's network."""
        with Path(f"/proc/{self._first_pid}/ns/net").open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return socket.create_server(("0.0.0.0", 0))

    def _containerd_config(self) -> str:
        return (
            f'version = 2\nroot = "{self.folder}/containerd"\nstate = "{self.folder}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.folder}/containerd.sock"\n'
        )


@asynccontextmanager
async def private_engine(source: Engine, *, data_mb: int | None = None) -> AsyncIterator[PrivateEngine]:
    """An engine with a swarm of one node and the base image of ``source``; gone afterwards, whatever happened.

    With ``data_mb`` its data are in memory and limited to so many megabytes. Skips where none can be started.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs an engine of its own: run as root where {', '.join(missing or PROGRAMS)} can be found")
    await asyncio.to_thread(_remove_leftovers)
    made = PrivateEngine(data_mb)
    try:
        await made.open()
        await _copy_image(source.host, made.host)
        yield made
    finally:
        await made.stop()


async def _copy_image(source: str, target: str) -> None:
    async with aiodocker.Docker(source) as docker, docker.images.export_image(BASE_IMAGE) as stream:
        archive = await stream.read()
    async with aiodocker.Docker(target) as docker:
        loaded: list[dict[str, Any]] = [
            event async for event in docker.images.import_image(io.BytesIO(archive), stream=True)
        ]
        assert not any("error" in event for event in loaded), loaded


def _remove_leftovers() -> None:
    """Remove the folders and control groups of engines whose test run was killed; those of one that lives stay."""
    paths = [*FOLDERS.glob("tsf-*"), *CGROUPS.glob("tsf-*"), *CGROUPS.glob("*/tsf-*")]
    words = {found["word"]: int(found["pid"]) for path in paths if (found := OWNED.match(path.name))}
    for word, pid in words.items():
        if not Path(f"/proc/{pid}").exists():
            for folder in FOLDERS.glob(f"tsf-{word}-*"):
                shutil.rmtree(folder, ignore_errors=True)
            _remove_cgroups(word)


def _remove_cgroups(word: str) -> None:
    """What the containers of a killed engine leave: empty control groups, the innermost to be removed first."""
    for parent in (*CGROUPS.glob(f"tsf-{word}"), *CGROUPS.glob(f"*/tsf-{word}")):
        for group in sorted((path for path in parent.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                group.rmdir()
        with suppress(OSError):
            parent.rmdir()


async def _seen_to_its_end(nsenter: asyncio.subprocess.Process) -> None:
    """Wait for an ``nsenter`` whose child has been killed. It stops itself when it finds its child stopped, maybe only
    after both were told to go on, and then it never sees the child end: so it is told again.
    """

    async def ended() -> bool:
        with suppress(ProcessLookupError):
            nsenter.send_signal(signal.SIGCONT)
        return nsenter.returncode is not None

    await until(ended, "the killed daemon has ended", 30)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
