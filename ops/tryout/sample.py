"""The sample repository as its developer has it: a clone with commits and tags, pushed with real git."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from ops.tryout.processes import StoryFailed

if TYPE_CHECKING:
    from pathlib import Path

AUTHOR: Final = {
    "GIT_AUTHOR_NAME": "Ada Developer",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada Developer",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


class SampleRepository:
    """A work tree in ``folder`` whose ``origin`` is ``remote``."""

    def __init__(self, folder: Path, remote: str) -> None:
        self.folder, self._remote = folder, remote

    def create(self, files: Path) -> None:
        """The work tree holds ``files``; nothing is committed or pushed yet."""
        shutil.copytree(files, self.folder)
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("remote", "add", "origin", self._remote)

    def release(self, version: str, tag: str) -> str:
        """``VERSION`` says ``version``, that is committed and pushed to main, and ``tag`` is pushed; returns the commit's SHA."""
        (self.folder / "VERSION").write_text(f"{version}\n", encoding="utf-8")
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", f"Release {version}")
        self._git("push", "--quiet", "origin", "main")
        self._git("tag", tag)
        self._git("push", "--quiet", "origin", tag)
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        """Run git without anybody's configuration or questions. Raises ``StoryFailed`` with git's own words."""
        environment = (
            os.environ
            | AUTHOR
            | {
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
            }
        )
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode != 0:
            raise StoryFailed(f"git {arguments[0]} did not work: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()
