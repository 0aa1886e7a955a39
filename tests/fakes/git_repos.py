"""Bare Git repositories on disk, read and written by the real git; nobody's configuration but ours applies to them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

ENVIRONMENT: Final = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ada Tagger",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada Tagger",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}
FORMAT: Final = "%H%x00%T%x00%aI%x00%cI%x00%an%x00%ae%x00%B"


class GitFailed(Exception):
    """git exited with an error; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as git tells it; dates in ISO 8601 with offset."""

    sha: str
    tree: str
    authored: str
    committed: str
    author: str
    email: str
    message: str


@dataclass(frozen=True, slots=True)
class TagObject:
    """An annotated tag: what it points to and what it says."""

    sha: str
    target_type: str
    target_sha: str
    name: str
    tagger: str
    message: str

    @property
    def tagged(self) -> str:
        """The tagger's date in ISO 8601."""
        return datetime.fromtimestamp(int(self.tagger.split()[-2]), UTC).isoformat()


async def git(cwd: Path, *arguments: str, text: str = "", extra: Mapping[str, str] | None = None) -> str:
    """Run git in ``cwd`` and return its output without the last line end; raises ``GitFailed``."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=cwd,
        env={**ENVIRONMENT, **(extra or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(text.encode())
    if process.returncode:
        raise GitFailed(f"git {' '.join(arguments)}: {err.decode(errors='replace').strip()}")
    return out.decode(errors="replace").removesuffix("\n")


class GitRepository:
    """One bare repository, ``owner/name``, in a folder ``owner/name.git``; ``number`` is its id, the same every run."""

    def __init__(self, folder: Path, full_name: str, number: int) -> None:
        self.folder, self.full_name, self.number = folder, full_name, number
        self.private = False
        self.pushing = asyncio.Lock()

    @property
    def owner(self) -> str:
        return self.full_name.partition("/")[0]

    @property
    def name(self) -> str:
        return self.full_name.partition("/")[2]

    async def create(self) -> None:
        """Make the empty repository, unless it is there already."""
        if (self.folder / "HEAD").exists():
            return
        self.folder.mkdir(parents=True)
        await git(self.folder, "init", "--quiet", "--bare", "--initial-branch=main", ".")
        await git(self.folder, "config", "http.receivepack", "true")
        await git(self.folder, "config", "uploadpack.allowFilter", "true")

    async def default_branch(self) -> str:
        return await git(self.folder, "symbolic-ref", "--short", "HEAD")

    async def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Every ref under ``prefix`` and the object it names: for an annotated tag, the tag object."""
        listed = await git(self.folder, "for-each-ref", "--format=%(objectname) %(refname)", prefix)
        pairs = (line.split(" ", 1) for line in listed.splitlines())
        return {name: sha for sha, name in pairs}

    async def commits(self, prefix: str) -> dict[str, str | None]:
        """Every ref under ``prefix`` and the commit it leads to; None for one that leads to none."""
        listed = await git(self.folder, "for-each-ref", "--format=%(objecttype) %(objectname) %(refname)", prefix)
        found = [line.split(" ", 2) for line in listed.splitlines()]
        return {name: sha if kind == "commit" else await self.peel(name) for kind, sha, name in found}

    async def peel(self, name: str) -> str | None:
        """The commit that a ref or object leads to; None when there is none."""
        if name.startswith("-"):
            return None
        try:
            return await git(self.folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        except GitFailed:
            return None

    async def type_of(self, sha: str) -> str:
        return await git(self.folder, "cat-file", "-t", sha)

    async def commit(self, sha: str) -> Commit:
        return Commit(*(await git(self.folder, "show", "-s", f"--format={FORMAT}", sha)).split("\x00", 6))

    async def is_ancestor(self, older: str, newer: str) -> bool:
        try:
            await git(self.folder, "merge-base", "--is-ancestor", older, newer)
        except GitFailed:
            return False
        return True

    async def tag_object(self, sha: str) -> TagObject | None:
        """The annotated tag ``sha``; None when it is something else or unknown."""
        try:
            if await self.type_of(sha) != "tag":
                return None
        except GitFailed:
            return None
        head, _, message = (await git(self.folder, "cat-file", "tag", sha)).partition("\n\n")
        fields = dict(line.split(" ", 1) for line in head.splitlines())
        return TagObject(sha, fields["type"], fields["object"], fields["tag"], fields.get("tagger", ""), message)

    async def archive(self, commit: str, prefix: str) -> AsyncGenerator[bytes, None]:
        """``git archive`` of the commit as ``.tar.gz``, as it comes; git writes the commit into the tar's header."""
        process = await asyncio.create_subprocess_exec(
            "git",
            "archive",
            "--format=tar.gz",
            f"--prefix={prefix}/",
            commit,
            cwd=self.folder,
            env=ENVIRONMENT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            while chunk := await process.stdout.read(64 * 1024):
                yield chunk
        finally:
            if process.returncode is None and not process.stdout.at_eof():
                process.kill()
            await process.wait()
