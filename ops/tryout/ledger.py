"""What a run made, on disk before it is made, so that whoever comes after a killed run can undo exactly that.

One line per thing: a kind and its value. ``python -m ops.tryout.ledger FILE`` undoes a ledger, newest line first; with
``--processes`` only the processes, because the engine itself is about to be removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiodocker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PATIENCE_S: Final = 20.0
ALREADY_GONE: Final = (404, 503)  # 503: no longer a swarm node


class Ledger:
    """The things this run made, oldest first; a line is on disk when ``record`` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, kind: str, value: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{kind} {value}\n")
            file.flush()
            os.fsync(file.fileno())

    def record_process(self, pid: int) -> None:
        """The process group ``pid`` leads; its start time tells it from a later process with the same pid."""
        self.record("process", f"{pid} {started_at(pid)}")

    def entries(self) -> list[tuple[str, str]]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [(kind, value) for kind, _, value in (line.partition(" ") for line in lines) if value]

    def stop_processes(self, since: int = 0) -> None:
        """No process in it runs any more: first of all, since a live Tagship would make again what is being removed."""
        for kind, value in reversed(self.entries()[since:]):
            if kind == "process":
                pid, started = (int(part) for part in value.split())
                if started and started_at(pid) == started:
                    stop_process_group(pid)

    def undo(self, since: int = 0) -> list[str]:
        """Remove what entries ``since…`` name, newest first, and forget it; a sentence for each thing that stayed."""
        self.stop_processes(since)
        entries = self.entries()
        problems = asyncio.run(_undo(entries[since:]))
        if not problems:
            self.path.write_text("".join(f"{kind} {value}\n" for kind, value in entries[:since]), encoding="utf-8")
        return problems


def started_at(pid: int) -> int:
    """The start of a process in clock ticks since boot (proc(5), field 22 of stat); 0 when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def stop_process_group(pid: int, *, patience_s: float = PATIENCE_S) -> None:
    """The group led by ``pid`` is gone: asked first, killed when it has not obeyed in time."""
    for how, seconds in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(pid, how)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and _group_lives(pid):
            time.sleep(0.05)


def _group_lives(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours that ended stays in its group until it is waited for
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _undo(entries: list[tuple[str, str]]) -> list[str]:
    wanted = [(kind, value) for kind, value in reversed(entries) if kind in UNDO]
    if not wanted:
        return []
    problems: list[str] = []
    async with aiodocker.Docker() as docker:
        for kind, value in wanted:
            try:
                await UNDO[kind](docker, value)
            except TimeoutError:
                problems.append(f"{kind} {value} was not gone after {PATIENCE_S:.0f} s")
            except aiodocker.DockerError as error:
                if error.status not in ALREADY_GONE:
                    problems.append(f"{kind} {value} could not be removed: {error.message}")
    return problems


async def _remove_service(docker: aiodocker.Docker, name: str) -> None:
    """The service and its containers are gone."""
    service = await docker.services.inspect(name)
    await docker.services.delete(name)
    async with asyncio.timeout(PATIENCE_S):
        while await docker.containers.list(
            all=True, filters={"label": [f"com.docker.swarm.service.id={service['ID']}"]}
        ):
            await asyncio.sleep(0.1)


async def _remove_images(docker: aiodocker.Docker, repository: str) -> None:
    """No image is left whose name is ``repository`` with any tag."""
    for image in await docker.images.list(filters={"reference": [repository]}):
        for tag in image["RepoTags"] or ():
            if tag.rpartition(":")[0] == repository:
                await docker.images.delete(tag, force=True)


async def _remove_image(docker: aiodocker.Docker, reference: str) -> None:
    await docker.images.delete(reference)


async def _leave_swarm(docker: aiodocker.Docker, _value: str) -> None:
    await docker.swarm.leave(force=True)


async def _remove_network(docker: aiodocker.Docker, name: str) -> None:
    network = await docker.networks.get(name)
    for end in list((await network.show())["Containers"] or ()):
        await network.disconnect({"Container": end, "Force": True})
    await network.delete()


UNDO: Final[dict[str, Callable[[aiodocker.Docker, str], Coroutine[None, None, None]]]] = {
    "service": _remove_service,
    "images": _remove_images,
    "image": _remove_image,
    "swarm": _leave_swarm,
    "network": _remove_network,
}


def main(arguments: list[str]) -> int:
    """Undo the ledger named last in ``arguments``; 1 when something of it stayed."""
    ledger = Ledger(Path(arguments[-1]))
    if "--processes" in arguments:
        ledger.stop_processes()
        return 0
    problems = ledger.undo()
    for sentence in problems:
        print(sentence, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
