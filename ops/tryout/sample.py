"""The sample repository as its developer has it: a clone with commits and tags, pushed with real git."""

from __future__ import annotations

import os
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
    """A clone of ``remote`` in ``folder``."""

    def __init__(self, folder: Path, remote: str) -> None:
        self.folder = folder
        folder.mkdir()
        self._git("clone", "--quiet", remote, ".")

    def change_version(self, version: str) -> None:
        """``VERSION`` says ``version``, and main is pushed with that."""
        (self.folder / "VERSION").write_text(f"{version}\n", encoding="utf-8")
        self._git("commit", "--quiet", "--all", "--message", f"Version {version}")
        self._git("push", "--quiet", "origin", "main")

    def push_tag(self, tag: str) -> str:
        """``tag`` names the newest commit and is pushed; returns that commit's SHA."""
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
