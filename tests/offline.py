"""What an image of Python can be made of where no container registry answers: Debian's own Python as a base image, and
the locked packages as wheels. Both come from the package registries; what was fetched is kept in ``.cache``.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.engine.client import Engine

ROOT: Final = Path(__file__).resolve().parents[1]
CACHE: Final = ROOT / ".cache"
LOCKS: Final = tuple(ROOT / "ops" / "locks" / name for name in ("runtime.txt", "build.txt"))
# A system that can run Python, and make accounts as the Dockerfile does.
PACKAGES: Final = ("base-files", "base-passwd", "coreutils", "dash", "libc-bin", "passwd", "python3-pip")
NOT_NEEDED: Final = ("./usr/share/doc", "./usr/share/locale", "./usr/share/man", "./var/cache")
INTERPRETER: Final = re.compile(r"python3\.(\d+)")
OLDEST_MINOR: Final = 11


def debian_root(folder: Path) -> str:
    """Unpack Debian's Python below ``folder``, without installing anything anywhere; its version, such as ``3.11``.

    Needs no root; skips the test, with the reason, where there is no apt or its Python is too old for Tagship.
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing, so no base image can be made of Debian's packages")
    for package in sorted(_debian_packages()):
        _run("dpkg-deb", "--extract", str(package), str(folder))
    shutil.copytree(folder / "usr/share/base-passwd", folder / "etc", dirs_exist_ok=True)
    for name in ("passwd", "group"):  # what base-passwd does when it is installed
        (folder / "etc" / f"{name}.master").rename(folder / "etc" / name)
    [minor] = [int(found[1]) for path in folder.glob("usr/bin/*") if (found := INTERPRETER.fullmatch(path.name))]
    if minor < OLDEST_MINOR:
        pytest.skip(f"the Python of this system's packages is 3.{minor}, and Tagship needs 3.{OLDEST_MINOR}")
    return f"3.{minor}"


def _debian_packages() -> Iterator[Path]:
    """The packages and all that they need, for a system that has nothing yet: from the sources of this machine, by its
    lists of packages unless those are missing or out of date.
    """
    place = CACHE / "debian"
    (place / "partial").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as nothing:
        for folder in ("partial", "lists/partial"):
            (Path(nothing) / folder).mkdir(parents=True)
        (Path(nothing) / "status").touch()
        apt = ["apt-get", "-qq", "--yes", "--no-install-recommends", f"-oDir::State::status={nothing}/status"]
        apt += ["-oAPT::Sandbox::User=", "-oDebug::NoLocking=1"]
        install = ["install", *PACKAGES]
        fetch = [*install, "--download-only", f"-oDir::Cache::archives={place}"]
        if not _succeeds(*apt, *fetch):
            apt += [f"-oDir::State::lists={nothing}/lists"]
            _run(*apt, "update")
            _run(*apt, *fetch)
        wanted = _run(*apt, *install, "--print-uris", f"-oDir::Cache::archives={nothing}")
    for line in wanted.splitlines():  # 'address' name size hash
        yield place / line.split()[1]


def locked_wheels(python: str) -> Path:
    """A folder with the wheels of both locks for this version of Python, each checked against its hash."""
    key = hashlib.sha256(b"".join(lock.read_bytes() for lock in LOCKS)).hexdigest()[:16]
    place = CACHE / f"wheels-{python}-{key}"
    if place.exists():
        return place
    for outdated in CACHE.glob("wheels-*"):
        shutil.rmtree(outdated)
    fresh = place.with_name(f"{place.name}.new")
    for lock in LOCKS:
        asked = ["--python-version", python, "--only-binary=:all:", "--no-deps", "--require-hashes", "-r", str(lock)]
        _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--dest", str(fresh), *asked)
    fresh.rename(place)
    return place


async def import_image(engine: Engine, root: Path, name: str) -> None:
    """Make ``name:latest`` of a folder: the same folder makes the same layer, so that builders know it again."""
    options = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]
    left_out = [f"--exclude={path}" for path in NOT_NEEDED]
    with tempfile.TemporaryFile() as archive:
        subprocess.run(["tar", "--create", *options, *left_out, "-C", str(root), "."], check=True, stdout=archive)
        archive.seek(0)
        path = f"images/create?fromSrc=-&repo={name}&tag=latest"
        sent = engine.stream("import an image", path, "POST", body=archive, content_type="application/x-tar")
        async with sent as answer:
            said = (await answer.read()).decode()
    assert "error" not in said, said


def _run(*command: str) -> str:
    ended = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ended.returncode == 0, f"{' '.join(command)}: {ended.stderr[-2000:]}"
    return ended.stdout


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
