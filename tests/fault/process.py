"""Tagship as processes of its own: started as users start it, and frozen, thawed, stopped and killed by a test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from app.trust import trust
from tests.ports import free_port
from tests.processes import DIES_WITH_US
from tests.waiting import until
from tests.world import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

STOPPED: Final = "T"  # proc(5): stopped on a signal
STOP_WITHIN_S: Final = 10.0
SERVER_KEEPS_S: Final = 5.0  # how long uvicorn keeps a connection that nobody uses
KEPT: Final = ("PATH", "HOME", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


class Tagship:
    """One process of the program. ``api`` asks it as the administrator, with paths below ``/api/v1``."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, url: str, api: httpx.AsyncClient) -> None:
        self.process, self.log, self.url, self.api = process, log, url, api

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        log: Path,
        environment: Mapping[str, str],
        *arguments: str,
        stop_at: str | None = None,
        ready: bool = True,
        module: str = "app",
    ) -> AsyncIterator[Tagship]:
        """Run ``tagship serve`` (or other arguments) with its log appended to ``log``, ready to work; killed when the
        block ends and it has not ended before. ``stop_at``: the event of the log at which the process stops itself, to
        be killed or thawed.
        """
        port = free_port()
        program = (module,) if stop_at is None else ("tests.fault.paused", stop_at)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(*DIES_WITH_US, sys.executable, "-m", *program, *(arguments or ("serve",))),
                env={name: os.environ[name] for name in KEPT if name in os.environ}
                | {"TAGSHIP_PORT": str(port)}
                | dict(environment),
                stdout=output,
                stderr=output,
            )
        url = f"http://127.0.0.1:{port}"
        client = httpx.AsyncClient(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=150,
            verify=trust(),
            limits=httpx.Limits(keepalive_expiry=SERVER_KEEPS_S / 2),
        )
        try:
            async with client as api:
                tagship = cls(process, log, url, api)
                if ready:
                    await until(tagship.is_ready, "tagship is ready", 60)
                yield tagship
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def is_ready(self) -> bool:
        """Whether it answers that it could work; fails when it has ended."""
        assert self.process.returncode is None, self.log.read_text()
        try:
            return (await self.api.get(f"{self.url}/readyz", timeout=5)).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    # ------------------------------------------------------------ doing

    async def paused(self) -> None:
        """Wait until it has stopped itself at its checkpoint."""

        async def stopped() -> bool:
            assert self.process.returncode is None, self.log.read_text()
            return self.state() == STOPPED

        try:
            await until(stopped, "tagship reached its checkpoint")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()}") from None

    def state(self) -> str:
        """The kernel's letter for what the process does."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2][0]

    def freeze(self) -> None:
        """Stop it where it stands; the machine has hung, as far as others can tell."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """``kill -9``, frozen or not; it is gone when this returns."""
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> float:
        """SIGTERM, also to a frozen process, which acts on it as it is thawed; the seconds until it had ended well.

        Fails when it takes longer than a service manager may be told to wait, or does not end with 0.
        """
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        self.process.terminate()
        self.thaw()
        code = await asyncio.wait_for(self.process.wait(), 3 * STOP_WITHIN_S)
        took = clock() - asked_at
        assert code == 0, self.log.read_text()
        assert took < STOP_WITHIN_S, f"it took {took:.1f} s to stop"
        return took

    # ------------------------------------------------------------ asking

    async def get(self, path: str) -> Any:
        answer = await self.api.get(path)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    async def post(self, path: str, body: object = None) -> Any:
        answer = await self.api.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def becomes(self, path: str, field: str, wanted: str) -> Any:
        """Wait until a field of what the path answers has this value; the whole answer."""

        async def look() -> Any:
            answer = await self.api.get(path)
            shown = answer.json() if answer.is_success else {}
            return shown if shown.get(field) == wanted else None

        try:
            return await until(look, f"{field} of {path} is {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(await self.api.get(path)).text}\n{self.log.read_text()}") from None

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of the log with this event, oldest first; of all processes that write to the same log."""
        return events_of(self.log, name)

    async def has_started(self) -> bool:
        """Whether it works; for one that answers no requests, with a log of its own."""
        return bool(self.events("started"))


def events_of(log: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a log with this event, oldest first."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == name]
