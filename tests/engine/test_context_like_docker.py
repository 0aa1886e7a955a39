"""The image of a rewritten archive holds what ``docker build`` puts into the image of the same tree.

The Docker command is the oracle: its BuildKit client for every case, its classic client where that knows the feature.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import tarfile
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.builds.dockerfile import IGNORE_NAME
from app.builds.stream import open_context
from app.engine.build import stream_build
from app.engine.shape import Builder, ImageMade
from app.repositories.recipe import Recipe
from tests.builds_repository import Link, Script, Tree, archive, in_pieces, make_repository, write_tree
from tests.engine.yard import TEST_LABEL

if TYPE_CHECKING:
    from tests.engine.yard import Yard

    Listing = dict[str, tuple[str, int, str, int]]

DOCKERFILE = "FROM scratch\nCOPY . /ctx\n"


@dataclass(frozen=True)
class Case:
    """One tree with its recipe, and where clients are known to differ.

    ``classic_client`` is False where the classic client sends something else than BuildKit's. ``newer`` are paths that
    BuildKit clients send only since they look for exceptions with wildcards in every folder. ``grown``: the classic
    builder hides the Dockerfile only by lines in a ``.dockerignore`` that users keep in the image.
    """

    name: str
    tree: Tree
    recipe: Recipe = field(default_factory=Recipe)
    hidden: bool = False
    classic_client: bool = True
    newer: frozenset[str] = frozenset()
    grown: bool = False

    def __str__(self) -> str:
        return self.name


BASE: Tree = {
    "Dockerfile": DOCKERFILE,
    "README.md": "read me",
    "run.sh": Script(),
    "dir/a": "a",
    "dir/b": "b",
    "dir/sub/a": "sub a",
    "dir/sub/deep/keep": "keep",
    "dir/sub/deep/x.md": "x",
    "other/keep": "keep",
    "other/x": "x",
    "link-up": Link("../../etc/passwd"),
    "link-abs": Link("/etc/passwd"),
    "dir/link": Link("../README.md"),
    "with space/é file": "unicode",
}


def ignoring(*lines: str) -> Tree:
    return {**BASE, ".dockerignore": "\n".join(lines) + "\n"}


CASES = [
    Case("everything", BASE),
    Case("comments, blanks, leading slash", ignoring("# no", "", "  /README.md  ", "dir/./sub/../b", "/other/")),
    Case("any depth", ignoring("**/x", "**/*.md")),
    Case("one level", ignoring("*/a", "other/?")),
    Case("folder content with exception", ignoring("dir/*", "!dir/a")),
    Case("folder with exception", ignoring("dir", "!dir/sub/a"), classic_client=False),
    Case(
        "exception in any depth",
        ignoring("*", "!**/keep", "!Dockerfile"),
        classic_client=False,
        newer=frozenset({"dir", "dir/sub", "dir/sub/deep", "dir/sub/deep/keep", "other", "other/keep"}),
    ),
    Case("exceptions only of folders", ignoring("*", "!dir", "!Dockerfile")),
    Case("exception taken back", ignoring("**/*.md", "!dir/**/*.md", "dir/sub/deep/x.md")),
    Case("class and escape", ignoring("dir/[ac]", "READM[^X].md", r"ru\n.sh", r"run\.s?")),
    Case("prefix and suffix", ignoring("dir/sub**", "**/link-up")),
    Case("trailing double star", ignoring("dir/**", "!dir/sub/**")),
    Case("byte order mark", {**BASE, ".dockerignore": "\ufeffREADME.md\r\nother\r\n"}),
    Case("ignore file ignored", ignoring(".dockerignore", "other")),
    Case("Dockerfile ignored", ignoring("Dockerfile", "other"), hidden=True),
    Case("both ignored", ignoring("Dockerfile*", ".dockerignore", "README.md"), hidden=True),
    Case("all ignored but one", ignoring("*", "!run.sh"), hidden=True),
    Case(
        "own ignore file wins",
        {**ignoring("dir", ".dockerignore"), "Dockerfile.dockerignore": "other\n*.sh\n"},
        classic_client=False,
        grown=True,
    ),
    Case(
        "own ignore file hides Dockerfile",
        {**ignoring("dir"), "Dockerfile.dockerignore": "other\nDockerfile\n"},
        hidden=True,
        classic_client=False,
        grown=True,
    ),
    Case(
        "own ignore file hides all three",
        {**ignoring("dir"), "Dockerfile.dockerignore": "Dockerfile*\n.dockerignore\n"},
        hidden=True,
        classic_client=False,
    ),
    Case(
        "context folder",
        {**BASE, "dir/Dockerfile": DOCKERFILE, "dir/.dockerignore": "sub/deep\n"},
        Recipe(context="dir"),
    ),
    Case("Dockerfile outside of the context", BASE, Recipe(context="dir"), hidden=True),
    Case(
        "Dockerfile and own ignore file outside",
        {**BASE, "ops/web.Dockerfile": DOCKERFILE, "ops/web.Dockerfile.dockerignore": "b\nsub/deep\n"},
        Recipe(context="./dir/", dockerfile="ops/web.Dockerfile"),
        hidden=True,
        classic_client=False,
    ),
    Case(
        "Dockerfile in an ignored folder",
        {**ignoring("ops", "other"), "ops/Dockerfile": DOCKERFILE, "ops/x": "x"},
        Recipe(dockerfile="ops/Dockerfile"),
        hidden=True,
        classic_client=False,
        grown=True,
    ),
    Case("Dockerfile late in the tree", {**ignoring("dir"), "zz/D": DOCKERFILE}, Recipe(dockerfile="zz/D")),
    Case("lower case Dockerfile", {"dockerfile": DOCKERFILE, "a": "a"}),
    Case(
        "long names",
        {"Dockerfile": DOCKERFILE, f"{'x' * 200}/{'y' * 200}/{'é' * 100}": "v", "é" * 120: Link("z" * 300)},
    ),
    Case("names that are not UTF-8", {"Dockerfile": DOCKERFILE, os.fsdecode(b"caf\xe9/na\xefve"): "latin"}),
]


def docker_command(*, buildkit: bool) -> str | None:
    """A docker command on this machine whose client can build that way."""
    names = [str(Path(folder) / "docker") for folder in os.get_exec_path()]
    for command in [os.environ.get("TAGSHIP_TEST_DOCKER", ""), *names]:
        if not command or shutil.which(command) is None:
            continue
        environment = {**os.environ, "DOCKER_BUILDKIT": "1" if buildkit else "0"}
        said = subprocess.run(  # a client without buildx says so when asked for BuildKit, before it looks at anything
            [command, "build", "--help"], env=environment, capture_output=True, text=True, check=False
        )
        if said.returncode == 0 and "buildx component is missing" not in said.stderr + said.stdout:
            return command
    return None


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_image_holds_what_docker_build_puts_there(yard: Yard, tmp_path: Path, case: Case) -> None:
    command = docker_command(buildkit=True)
    if command is None:
        pytest.skip("no docker command with a BuildKit client; set TAGSHIP_TEST_DOCKER to one")
    wanted = await built_by_command(yard, command, tmp_path / "tree", case, buildkit=True)
    repository = tmp_path / "repository"
    commit = make_repository(repository, case.tree)

    classic, dockerfile, hidden = await built_by_us(yard, repository, commit, case, Builder.CLASSIC)
    assert hidden is case.hidden
    if case.grown:
        original = wanted[IGNORE_NAME][2]
        assert classic[IGNORE_NAME][2].startswith(original)
        classic[IGNORE_NAME] = wanted[IGNORE_NAME]
    assert without(classic, case.newer) == without(wanted, case.newer)
    assert case.newer <= classic.keys()

    buildkit, dockerfile, _ = await built_by_us(yard, repository, commit, case, Builder.BUILDKIT)
    if hidden:
        assert buildkit.pop(dockerfile)[0] == "file"
    assert without(buildkit, case.newer) == without(wanted, case.newer)


@pytest.mark.parametrize("case", [case for case in CASES if case.classic_client], ids=str)
async def test_classic_client_agrees(yard: Yard, tmp_path: Path, case: Case) -> None:
    command = docker_command(buildkit=False)
    if command is None:
        pytest.skip("no docker command")
    wanted = await built_by_command(yard, command, tmp_path / "tree", case, buildkit=False)
    repository = tmp_path / "repository"
    commit = make_repository(repository, case.tree)
    assert (await built_by_us(yard, repository, commit, case, Builder.CLASSIC))[0] == wanted


def without(listing: Listing, paths: frozenset[str]) -> Listing:
    return {path: entry for path, entry in listing.items() if path not in paths}


async def built_by_us(
    yard: Yard, repository: Path, commit: str, case: Case, builder: Builder
) -> tuple[Listing, str, bool]:
    """The listing of our image, the Dockerfile's name in what was sent, and whether it was to be hidden."""
    request = yard.request(builder)
    async with open_context(
        in_pieces(archive(repository)), recipe=case.recipe, commit=commit, spool_dir=repository
    ) as context:
        request = replace(request, dockerfile=context.dockerfile)
        async with aclosing(stream_build(yard.engine, request, context.chunks(builder))) as events:
            made = [event async for event in events if isinstance(event, ImageMade)]
        assert context.failure is None
    command = docker_command(buildkit=False)
    assert command is not None
    listing = await asyncio.to_thread(listing_of, command, yard, made[0].image_id)
    return listing, context.dockerfile, context.dockerfile_hidden


async def built_by_command(yard: Yard, command: str, tree: Path, case: Case, *, buildkit: bool) -> Listing:
    write_tree(tree, case.tree)
    tag = f"{yard.name('oracle')}:v1"
    context = tree / case.recipe.context
    dockerfile = context / case.recipe.dockerfile
    dockerfile = dockerfile if dockerfile.exists() else tree / case.recipe.dockerfile
    arguments = ["build", "-q", "-t", tag, "--label", f"{TEST_LABEL}={yard.run}", str(context)]
    if dockerfile.exists():
        arguments += ["-f", str(dockerfile)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1" if buildkit else "0"}

    def build() -> Listing:
        run(command, *arguments, environment=environment)
        return listing_of(command, yard, tag)

    return await asyncio.to_thread(build)


def listing_of(command: str, yard: Yard, image: str) -> Listing:
    """What ``/ctx`` of the image holds: kind, mode, content or target, owner, by path."""
    container = run(command, "create", "--label", f"{TEST_LABEL}={yard.run}", image, "none").decode().strip()
    try:
        packed = run(command, "cp", f"{container}:/ctx", "-")
    finally:
        run(command, "rm", "-f", container)
    listing: Listing = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            path = member.name.removeprefix("ctx").strip("/")
            kind = "folder" if member.isdir() else "link" if member.issym() else "file"
            file = tar.extractfile(member) if member.isfile() else None
            content = file.read().decode("latin-1") if file else member.linkname
            listing[path] = (kind, member.mode & 0o7777, content, member.uid)
    del listing[""]
    return listing


def run(command: str, *arguments: str, environment: dict[str, str] | None = None) -> bytes:
    done = subprocess.run([command, *arguments], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr.decode(errors='replace')}"
    return done.stdout
