"""What is too small on purpose: a disk of a few megabytes, and a control group in which few processes may live."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS: Final = Path("/sys/fs/cgroup")
MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Disk:
    """A file system of its own at ``folder``."""

    folder: Path

    def fill(self, *, leave: int) -> None:
        """Take up what is free but for ``leave`` bytes, until ``make_room``."""
        free = shutil.disk_usage(self.folder).free
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - leave)

    def make_room(self) -> None:
        self._filler.unlink()

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of so many megabytes at ``folder``, which is made; gone with all that is on it afterwards."""
    if os.geteuid() != 0:
        pytest.skip("a small disk is a tmpfs, and only root may mount one")
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tagship-test", str(folder)], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def allow_processes(group: str, most: int) -> None:
    """From now on at most so many processes live at once in and below a control group, which is made if need be."""
    first_version = CGROUPS / "pids"
    folder = (first_version if first_version.is_dir() else CGROUPS) / group
    try:
        folder.mkdir(exist_ok=True)
        (folder / "pids.max").write_text(str(most))
    except OSError as error:
        pytest.skip(f"the number of processes cannot be limited here: {error}")
