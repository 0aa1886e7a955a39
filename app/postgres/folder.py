"""The folder of the embedded server: made whole or not at all, private to one account, locked by whose server runs."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final

from app.errors import DatabaseUnavailable
from app.postgres.binaries import Account, account_for, check_reachable, find_binaries, runnable

SUPERUSER: Final = "postgres"
SOCKET: Final = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH: Final = 107  # bytes, of the kernel's struct sockaddr_un


def prepare_folder(folder: Path) -> Account:
    """Make the folder, private to the account that will run the server; parents that are missing are made as well."""
    folder = folder.absolute()
    account = account_for(folder / "data")
    foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / "server.lock").exists()
    if foreign:
        raise DatabaseUnavailable(
            f"{folder} holds other files and no PostgreSQL of ours; choose another TAGSHIP_DATA_DIR or move them away"
        )
    check_reachable(next(parent for parent in folder.parents if parent.exists()), account)
    for parent in reversed([parent for parent in folder.parents if not parent.exists()]):
        with contextlib.suppress(FileExistsError):
            parent.mkdir()
            parent.chmod(0o755)
    folder.mkdir(mode=0o700, exist_ok=True)
    if account.drop:
        os.chown(folder, account.uid, account.gid)
    with contextlib.suppress(PermissionError):  # a volume that is not ours; the socket's own mode still protects it
        folder.chmod(0o700)
    check_reachable(folder, account)
    return account


def socket_folder(folder: Path, account: Account) -> Path:
    """The folder itself, or a private one with a short name that every process derives alike."""
    if len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET_PATH:
        return folder
    short = Path("/tmp") / f"tagship-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"  # noqa: S108
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
        os.chown(short, account.uid, account.gid)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
        raise DatabaseUnavailable(f"{short} must be a private folder of {account.name}: remove it, it is made again")
    return short


def prepare_data(folder: Path, account: Account) -> Path:
    """Make ``data`` if it is missing, whole or not at all; the ``bin`` folder that fits it."""
    data = folder / "data"
    major = (data / "PG_VERSION").read_text().strip() if (data / "PG_VERSION").exists() else None
    program = runnable(find_binaries(major), account, folder)
    if major is None:
        fresh = folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        said = subprocess.run(  # noqa: S603
            [program / "initdb", "-D", fresh, "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **account.popen(),
        )
        if said.returncode:
            raise DatabaseUnavailable(f"PostgreSQL cannot make its data in {folder}: {said.stderr.strip()[-1000:]}")
        fresh.rename(data)
        _sync_folder(folder)
    return program


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def try_lock(file: Path) -> int | None:
    """The open lock file when the lock was free; None when a server holds it, or somebody who is about to start one."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def living_pid(data: Path) -> int | None:
    """The process number in ``postmaster.pid`` if some process has it now."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if Path(f"/proc/{pid}").exists() else None


def serves(pid: int, data: Path) -> bool:
    """Whether that process is a PostgreSQL of this folder; its command line tells, which anybody may read."""
    with contextlib.suppress(OSError):
        return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False
