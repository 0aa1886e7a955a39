"""Our own PostgreSQL server in a folder, for whoever does not bring one: started, shared, watched and stopped.

One rule decides who starts it: the server holds a lock on ``<folder>/server.lock`` for as long as any of its processes
lives, because it inherits the open lock file. Whoever gets the lock starts the server; whoever does not finds one that
runs, or is about to, and shares it. So a killed server, a killed service, two services on one folder, and a process
number that now belongs to a stranger are all the same case, and none needs to be guessed from ``postmaster.pid``.

Layout: ``data`` (PostgreSQL's own), ``server.lock``, ``server.log`` (of the last start), ``postgresql-*`` (programs
copied for an account that cannot reach the installed ones), and the socket, unless the folder's name is too long.
Connections are trusted, for only the account itself and root can enter the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import asyncpg
import structlog

from app.errors import DatabaseUnavailable
from app.postgres.folder import SUPERUSER, living_pid, prepare_data, prepare_folder, serves, socket_folder, try_lock

if TYPE_CHECKING:
    from app.postgres.binaries import Account

log = structlog.get_logger(__name__)

SOCKET_LINE: Final = 4  # of postmaster.pid, counted from 0
START_S: Final = 300.0  # a long crash recovery is a start as well
STOP_S: Final = 60.0
POLL_S: Final = 0.05
WATCH_S: Final = 1.0

OPTIONS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "max_parallel_workers_per_gather": "0",  # small data; and a container's /dev/shm is small too
    "jit": "off",
    "huge_pages": "off",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",  # never a statement with its values in the log
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
FORGETFUL: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A running server; make it with ``start``. ``dsn`` stays the same for as long as this object lives."""

    def __init__(self, folder: Path, account: Account, *, durable: bool) -> None:
        self.folder = folder.absolute()
        self._account = account
        self._options = OPTIONS if durable else OPTIONS | FORGETFUL
        self._sockets = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, folder: Path, *, durable: bool = True) -> EmbeddedPostgres:
        """Run the server of ``folder``, which is made when it is missing, and answer when it takes connections.

        A server of this folder that another process started is shared. Until ``stop``, a server that ends is started
        again within about a second. ``durable=False`` is for tests: a crash of the machine may lose everything.
        Raises ``DatabaseUnavailable`` with the reason.
        """
        try:
            account = await asyncio.to_thread(prepare_folder, folder)
            postgres = cls(folder, account, durable=durable)
            await postgres._begin()
        except OSError as error:
            raise DatabaseUnavailable(
                f"the embedded PostgreSQL cannot use {error.filename or folder}: {error.strerror or error}"
            ) from error
        postgres._watcher = asyncio.create_task(postgres._watch())
        return postgres

    @property
    def dsn(self) -> str:
        return f"postgresql://{SUPERUSER}@/{SUPERUSER}?host={quote(str(self._sockets), safe='/')}"

    async def stop(self) -> None:
        """Stop the server if this process started it, and wait until it is down; one that is shared goes on."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        if self._server:
            await asyncio.to_thread(_stop, self._server)
            self._server = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                lock = try_lock(self.folder / "server.lock")
                if lock is not None and await self._start_or_adopt(lock):
                    log.warning("database_restarted", folder=str(self.folder))
            except (DatabaseUnavailable, OSError) as error:
                log.warning("database_not_restarted", reason=str(error))
            except Exception:
                log.exception("database_watch_crashed")

    async def _begin(self) -> None:
        """Start the server or wait until the one that holds the lock takes connections."""
        deadline = asyncio.get_running_loop().time() + START_S
        while True:
            lock = try_lock(self.folder / "server.lock")
            if lock is not None:
                await self._start_or_adopt(lock)
                return
            self._sockets = self._sockets_in_use()
            refusal = await self._refusal()
            if refusal is None:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise DatabaseUnavailable(
                    f"another process holds {self.folder} and its PostgreSQL does not answer: {refusal}; "
                    "end that process (a container that shares the folder?), or choose another TAGSHIP_DATA_DIR"
                )
            await asyncio.sleep(POLL_S)

    async def _start_or_adopt(self, lock: int) -> bool:
        """With the lock in hand, which is given up: whether the server had to be started.

        It need not be when somebody started one by hand, without our lock.
        """
        try:
            if self._server:
                await asyncio.to_thread(self._server.wait)  # it has ended, for the lock was free
                self._server = None
            found = living_pid(self.folder / "data")
            if found is not None and serves(found, self.folder / "data"):
                self._sockets = self._sockets_in_use()
                await self._until_ready(None)
                return False
            program = await asyncio.to_thread(prepare_data, self.folder, self._account)
            self._sockets = socket_folder(self.folder, self._account)
            # Not in a thread: the kernel sends the parent-death signal when the thread ends that made the process.
            self._server = self._spawn(program, lock, found)
        finally:
            os.close(lock)
        try:
            await self._until_ready(self._server)
        except BaseException:
            await asyncio.to_thread(_stop, self._server)
            raise
        return True

    def _spawn(self, program: Path, lock: int, stranger: int | None) -> subprocess.Popen[bytes]:
        guard = shutil.which("setpriv")
        command = [*([guard, "--pdeathsig", "INT"] if guard else []), str(program / "postgres")]
        command += ["-D", str(self.folder / "data"), "-k", str(self._sockets)]
        for name, value in self._options.items():
            command += ["-c", f"{name}={value}"]
        popen = self._account.popen()
        if stranger is not None:  # postgres takes a process of this number for its predecessor unless told otherwise
            popen["env"] = popen["env"] | {"PG_GRANDPARENT_PID": str(stranger)}
        with (self.folder / "server.log").open("wb") as output:
            return subprocess.Popen(  # noqa: S603
                command,
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
                **popen,
            )

    async def _until_ready(self, server: subprocess.Popen[bytes] | None) -> None:
        deadline = asyncio.get_running_loop().time() + START_S
        while (refusal := await self._refusal()) is not None:
            late = asyncio.get_running_loop().time() > deadline
            if late or (server and server.poll() is not None):
                said = (self.folder / "server.log").read_text(errors="replace").strip()[-1000:]
                raise DatabaseUnavailable(f"the embedded PostgreSQL in {self.folder} did not start: {said or refusal}")
            await asyncio.sleep(POLL_S)

    async def _refusal(self) -> str | None:
        """Why the server takes no connection now; None when it does."""
        try:
            conn = await asyncpg.connect(self.dsn, timeout=5)
            await conn.close(timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return str(error) or type(error).__name__
        return None

    def _sockets_in_use(self) -> Path:
        """Where the running server has its socket: it says so itself."""
        with contextlib.suppress(OSError, IndexError):
            line = (self.folder / "data" / "postmaster.pid").read_text().splitlines()[SOCKET_LINE]
            return Path(line) if line else self._sockets
        return self._sockets


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server's sessions and the server: a fast shutdown, and a hard one if that takes too long."""
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            server.send_signal(signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_S)
            return
