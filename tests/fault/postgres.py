"""A PostgreSQL that a test may kill, stop, fill up and cut off; it waits for the disk as the service's own does."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from app.postgres.embedded import OPTIONS
from app.postgres.folder import SUPERUSER, prepare_data, prepare_folder
from app.postgres.pool import APPLICATION
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UP_WITHIN_S: Final = 60
OURS: Final = f"datname = current_database() and application_name = '{APPLICATION}'"


class OwnPostgres:
    """One server in a folder. Nobody starts it again but the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self._folder / ".s.PGSQL.5432"

    def dsn(self, database: str = SUPERUSER) -> str:
        return f"postgresql://{SUPERUSER}@/{database}?host={self._folder}"

    async def start(self) -> None:
        """Run it, and answer when it takes connections."""
        self._folder.mkdir(exist_ok=True)
        (self._folder / "server.lock").touch()
        account = await asyncio.to_thread(prepare_folder, self._folder)
        program = await asyncio.to_thread(prepare_data, self._folder, account)
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                [str(program / "postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder), *options],
                cwd=self._folder,
                stdout=output,
                stderr=output,
                **account.popen(),
            )
        await until(self._answers, "PostgreSQL takes connections", UP_WITHIN_S)

    async def kill(self) -> None:
        """``kill -9`` of the postmaster and of every process of its; all are gone when this returns."""
        assert self._process is not None
        pid = self._process.pid
        family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for member in family:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        await self._ended()

        async def all_gone() -> bool:
            return not any(Path(f"/proc/{member}").exists() for member in family)

        await until(all_gone, "PostgreSQL is gone")

    async def stop(self) -> None:
        """The fast shutdown of ``pg_ctl stop``: sessions are ended."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        await self._ended()

    async def restart(self) -> None:
        """What ``pg_ctl restart`` does."""
        await self.stop()
        await self.start()

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")

    async def _ended(self) -> None:
        assert self._process is not None
        await asyncio.to_thread(self._process.wait, UP_WITHIN_S)

    async def _answers(self) -> bool:
        assert self.running(), self.log()
        try:
            await ask(self.dsn(), "select 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True


@asynccontextmanager
async def own_postgres(folder: Path) -> AsyncIterator[OwnPostgres]:
    """A running server; gone afterwards, and so is its folder."""
    server = OwnPostgres(folder)
    try:
        await server.start()
        yield server
    finally:
        if server.running():
            await server.kill()
        shutil.rmtree(folder, ignore_errors=True)


async def ask(dsn: str, query: str, *args: object) -> Any:
    """The first value that a statement answers, on a connection of its own."""
    conn = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "test"})
    try:
        return await conn.fetchval(query, *args)
    finally:
        await conn.close(timeout=10)


async def cut_connections(dsn: str) -> int:
    """End every session of Tagship with the database; how many there were."""
    count: int = await ask(dsn, f"select count(pg_terminate_backend(pid)) from pg_stat_activity where {OURS}")
    return count


@asynccontextmanager
async def small_disk(folder: Path, mebibytes: int) -> AsyncIterator[SmallDisk]:
    """A file system of its own in a folder, for root; unmounted afterwards."""
    folder.mkdir()
    await _run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0755", "tmpfs", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        await _run("umount", "--lazy", str(folder))


class SmallDisk:
    """A disk that a test fills up and makes room on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave not a single block free."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        self._ballast.unlink()


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, command
