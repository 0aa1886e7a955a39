"""Small git repositories and the archives that GitHub would make of them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.builds.context import ContextPlan, ContextRewriter
from app.builds.limits import ContextLimits
from app.engine.shape import Builder
from app.repositories.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GIT_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
}


@dataclass(frozen=True)
class Link:
    """A symlink in a tree given to ``make_repository``."""

    target: str


@dataclass(frozen=True)
class Script:
    """An executable file in a tree given to ``make_repository``."""

    text: str = "#!/bin/sh\n"


Tree = Mapping[str, str | bytes | Link | Script]


def git(folder: Path, *arguments: str) -> bytes:
    """Run git without anybody's configuration; its output."""
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env=GIT_ENVIRONMENT,
        check=True,
        capture_output=True,
    ).stdout


def write_tree(folder: Path, tree: Tree) -> None:
    """Write files, scripts and links below ``folder``, with the modes of a checkout under umask 022."""
    for name, content in tree.items():
        path = folder / name
        make_folders(path.parent)
        if isinstance(content, Link):
            path.symlink_to(content.target)
            continue
        text = content.text if isinstance(content, Script) else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o755 if isinstance(content, Script) else 0o644)


def make_folders(path: Path) -> None:
    if not path.is_dir():
        make_folders(path.parent)
        path.mkdir()
        path.chmod(0o755)


def make_repository(folder: Path, tree: Tree) -> str:
    """A repository in ``folder`` with one commit of that tree; the commit's hash."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tree(folder, tree)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return git(folder, "rev-parse", "HEAD").decode().strip()


def archive(folder: Path, revision: str = "HEAD") -> bytes:
    """What GitHub's tarball of that revision holds."""
    short = git(folder, "rev-parse", "--short=7", revision + "^{commit}").decode().strip()
    return git(folder, "archive", "--format=tar.gz", f"--prefix=owner-repo-{short}/", revision)


@dataclass(frozen=True)
class Rewritten:
    plan: ContextPlan
    tar: bytes

    @property
    def members(self) -> list[tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.tar), encoding="utf-8", errors="surrogateescape") as tar:
            return tar.getmembers()

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    def text(self, name: str) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as tar:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()


def rewrite(
    packed: bytes,
    commit: str,
    recipe: Recipe | None = None,
    *,
    builder: Builder = Builder.BUILDKIT,
    limits: ContextLimits | None = None,
) -> Rewritten:
    """Send an archive through the rewriter in this thread."""
    rewriter = ContextRewriter(
        io.BytesIO(packed),
        recipe=recipe or Recipe(),
        commit=commit,
        spool=io.BytesIO(),
        limits=limits or ContextLimits(),
    )
    plan = rewriter.plan()
    pieces: list[bytes] = []
    rewriter.emit(pieces.append, builder)
    return Rewritten(plan, b"".join(pieces))


async def in_pieces(packed: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    """The archive as an HTTP client would deliver it."""
    for start in range(0, len(packed), size):
        yield packed[start : start + size]
