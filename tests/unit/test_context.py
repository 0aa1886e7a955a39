from __future__ import annotations

import asyncio
import gzip
import io
import os
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.builds.builder import needs_buildkit
from app.builds.context import ContextRewriter
from app.builds.limits import ContextLimits
from app.builds.pipe import PIPE_BYTES, PipeClosed
from app.builds.stream import open_context
from app.engine.shape import Builder
from app.errors import AppError, DiskUnavailable, GitHubUnavailable, SourceInvalid
from app.repositories.recipe import Recipe
from tests.builds_repository import Link, Script, Tree, archive, git, in_pieces, make_repository, rewrite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.builds_repository import Rewritten

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FROM = "FROM scratch\n"


def rewritten(folder: Path, tree: Tree, recipe: Recipe | None = None, builder: Builder = Builder.BUILDKIT) -> Rewritten:
    commit = make_repository(folder, tree)
    return rewrite(archive(folder), commit, recipe, builder=builder)


# --- what is kept, and how


def test_members_lose_the_top_folder_and_keep_kind_content_and_time(tmp_path: Path) -> None:
    sent = rewritten(
        tmp_path, {"Dockerfile": FROM, "a/run": Script("run"), "a/abs": Link("/etc/x"), "up": Link("../../x")}
    )
    found = {member.name: (member.type, oct(member.mode), member.linkname) for member in sent.members}
    assert found == {
        "Dockerfile": (tarfile.REGTYPE, "0o644", ""),
        "a": (tarfile.DIRTYPE, "0o755", ""),
        "a/abs": (tarfile.SYMTYPE, "0o777", "/etc/x"),
        "a/run": (tarfile.REGTYPE, "0o755", ""),
        "up": (tarfile.SYMTYPE, "0o777", "../../x"),
    }
    assert sent.text("a/run") == b"run"
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in sent.members} == {(0, 0, "", 1700000000)}
    assert sent.plan.dockerfile == "Dockerfile"
    assert sent.plan.dockerfile_text == FROM


def test_annotated_tag_is_sent_as_its_commit(tmp_path: Path) -> None:
    commit = make_repository(tmp_path, {"Dockerfile": FROM})
    git(tmp_path, "tag", "-a", "v1", "-m", "one")
    assert rewrite(archive(tmp_path, "v1"), commit).names == ["Dockerfile"]


def test_submodule_is_an_empty_folder(tmp_path: Path) -> None:
    make_repository(tmp_path, {"Dockerfile": FROM, "lib-a": "a", "lib.b": "b"})
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{COMMIT},lib")
    git(tmp_path, "commit", "-q", "-m", "two")
    commit = git(tmp_path, "rev-parse", "HEAD").decode().strip()
    assert rewrite(archive(tmp_path), commit).names == ["Dockerfile", "lib", "lib-a", "lib.b"]


def test_long_and_undecodable_names_pass(tmp_path: Path) -> None:
    long, latin = f"{'d' * 200}/{'é' * 120}", os.fsdecode(b"caf\xe9")
    sent = rewritten(tmp_path, {"Dockerfile": FROM, long: "long", latin: "latin", "link": Link("t" * 300)})
    assert {long, latin} <= set(sent.names)
    assert sent.members[-1].linkname == "t" * 300 or any(member.linkname == "t" * 300 for member in sent.members)


def test_folder_is_sent_only_with_what_an_exception_brings_back(tmp_path: Path) -> None:
    tree: Tree = {
        "Dockerfile": FROM,
        ".dockerignore": "*\n!Dockerfile\n!**/keep\n",
        "a/b/keep": "",
        "a/c/x": "",
        "z/x": "",
    }
    assert rewritten(tmp_path, tree).names == ["Dockerfile", "a", "a/b", "a/b/keep"]


def test_large_file_passes_unchanged(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    assert rewritten(tmp_path, {"Dockerfile": FROM, "A": data, "z": data + b"!"}).text("z") == data + b"!"


# --- which Dockerfile, which ignore file


@pytest.mark.parametrize(
    ("tree", "recipe", "dockerfile", "names"),
    [
        ({"Dockerfile": FROM, "a/Dockerfile": FROM, "a/x": ""}, Recipe(context="a"), "Dockerfile", ["Dockerfile", "x"]),
        ({"a/x": "", "a/b/y": "", "a-b": "", "a/D": FROM}, Recipe("D", "./a//"), "D", ["D", "b", "b/y", "x"]),
        ({"zz/D": FROM, "a": ""}, Recipe("zz/D"), "zz/D", ["a", "zz", "zz/D"]),
        ({"ops/D": FROM, "web/x": ""}, Recipe("../ops/D", "web"), None, ["x"]),
        ({"ops/D": FROM, "web/x": ""}, Recipe("ops/D", "web"), None, ["x"]),
        ({"dockerfile": FROM}, Recipe(), "dockerfile", ["dockerfile"]),
        ({"Dockerfile": Link("ops/D"), "ops/D": FROM}, Recipe(), "ops/D", ["Dockerfile", "ops", "ops/D"]),
        ({"Z": Link("A"), "A": FROM}, Recipe("Z"), "A", ["A", "Z"]),
        ({"a/Dockerfile": Link("../b/D"), "b/D": FROM}, Recipe(context="a"), None, ["Dockerfile"]),
        ({"Dockerfile": FROM, ".dockerignore": Link("rules"), "rules": "x\n", "x": ""}, Recipe(), "Dockerfile", None),
    ],
)
def test_dockerfile_is_found(
    tmp_path: Path, tree: Tree, recipe: Recipe, dockerfile: str | None, names: list[str] | None
) -> None:
    sent = rewritten(tmp_path, tree, recipe)
    assert sent.plan.dockerfile_text == FROM
    assert sent.plan.dockerfile in sent.names
    assert sent.text(sent.plan.dockerfile) == FROM.encode()
    if dockerfile is None:
        assert sent.plan.dockerfile.startswith(".tagship-")
        assert sent.plan.dockerfile_hidden
        assert names is not None
        names = [sent.plan.dockerfile, *names]
    else:
        assert sent.plan.dockerfile == dockerfile
        assert not sent.plan.dockerfile_hidden
    assert sent.names == (names or [".dockerignore", "Dockerfile", "rules"])


@pytest.mark.parametrize(
    ("tree", "recipe", "sentence"),
    [
        ({"x": ""}, Recipe(context="."), "no 'Dockerfile' or 'dockerfile'"),
        ({"a/x": ""}, Recipe("D", "a"), "no 'a/D' or 'D'"),
        ({"Dockerfile/x": ""}, Recipe(), "no Dockerfile"),
        ({"Dockerfile": FROM}, Recipe(context="nope"), "no folder 'nope'"),
        ({"Dockerfile": FROM, "zz": ""}, Recipe(context="nope"), "no folder 'nope'"),
        ({"Dockerfile": FROM, "a": ""}, Recipe(context="a"), "'a' is a file"),
        ({"Dockerfile": FROM, "a": Link("b"), "b/x": ""}, Recipe(context="a"), "'a' is a symlink"),
        ({"Dockerfile": FROM, "a": Link("b"), "b/c/x": ""}, Recipe(context="a/c"), "behind the symbolic link 'a'"),
        ({"a": Link("b"), "b/D": FROM}, Recipe("a/D"), "behind the symbolic link 'a'"),
        ({"Dockerfile": Link("/etc/passwd")}, Recipe(), "outside of the repository"),
        ({"Dockerfile": Link("../x")}, Recipe(), "outside of the repository"),
        ({"D": Link("E"), "E": Link("D")}, Recipe("D"), "leads nowhere"),
        ({"A": FROM, "b/D": Link("../A")}, Recipe("D", "b"), "cannot be followed"),
        ({"Dockerfile": FROM}, Recipe(context="../x"), "lies outside"),
        ({"Dockerfile": FROM}, Recipe(context="/"), "lies outside"),
        ({"Dockerfile": FROM}, Recipe("/Dockerfile"), "lies outside"),
        ({"Dockerfile": FROM}, Recipe("../Dockerfile"), "lies outside"),
        ({"Dockerfile": FROM}, Recipe("a\nb"), "lies outside"),
        ({"Dockerfile": FROM, ".dockerignore": "ok\n[\n"}, Recipe(), r"\.dockerignore, line 2"),
        ({"D": FROM, "D.dockerignore": "["}, Recipe("D"), r"D\.dockerignore, line 1"),
        ({"Dockerfile": "#" * 3_000_000}, Recipe(), "at most"),
    ],
)
def test_recipe_that_does_not_fit_is_refused_with_a_sentence(
    tmp_path: Path, tree: Tree, recipe: Recipe, sentence: str
) -> None:
    with pytest.raises(SourceInvalid, match=sentence):
        rewritten(tmp_path, tree, recipe)


def test_own_ignore_file_wins_entirely(tmp_path: Path) -> None:
    tree: Tree = {"D": FROM, ".dockerignore": "a\n[broken", "D.dockerignore": "b\n", "a": "", "b": ""}
    assert rewritten(tmp_path, tree, Recipe("D")).names == [".dockerignore", "D", "D.dockerignore", "a"]


def test_root_ignore_file_does_not_count_for_a_context_folder(tmp_path: Path) -> None:
    tree: Tree = {".dockerignore": "x\n", "a/Dockerfile": FROM, "a/x": ""}
    assert rewritten(tmp_path, tree, Recipe(context="a")).names == ["Dockerfile", "x"]


# --- the hidden Dockerfile


HIDING: Tree = {"Dockerfile": FROM, ".dockerignore": "Dockerfile\n.dockerignore\n", "a": ""}


def test_hidden_dockerfile_is_sent_and_the_classic_builder_told_to_drop_it(tmp_path: Path) -> None:
    sent = rewritten(tmp_path, HIDING, builder=Builder.CLASSIC)
    assert sent.plan.dockerfile_hidden
    assert sent.names == [".dockerignore", "Dockerfile", "a"]
    assert sent.text(".dockerignore") == b".dockerignore\nDockerfile\n"


def test_buildkit_gets_no_ignore_file_that_is_ignored(tmp_path: Path) -> None:
    assert rewritten(tmp_path, HIDING).names == ["Dockerfile", "a"]


def test_ignore_file_that_users_keep_is_untouched_for_buildkit_and_grows_for_classic(tmp_path: Path) -> None:
    tree: Tree = {"D*": FROM, ".dockerignore": "x\n", "D*.dockerignore": "D*\n"}
    commit = make_repository(tmp_path, tree)
    recipe = Recipe("D*")
    assert rewrite(archive(tmp_path), commit, recipe).text(".dockerignore") == b"x\n"
    classic = rewrite(archive(tmp_path), commit, recipe, builder=Builder.CLASSIC)
    assert classic.text(".dockerignore") == b"x\n\nD\\*\n"


def test_reserved_name_is_refused(tmp_path: Path) -> None:
    tree: Tree = {"Dockerfile": FROM, "a/x": ""}
    name = rewritten(tmp_path / "one", tree, Recipe(context="a")).plan.dockerfile
    with pytest.raises(SourceInvalid, match="kept for the Dockerfile"):
        rewritten(tmp_path / "two", {**tree, f"a/{name}": ""}, Recipe(context="a"))


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        (FROM, False),
        ("FROM a\nRUN echo '--mount=x' $((1<<2)) && cat <<<word\n", False),
        ("FROM a\n# RUN --mount=type=cache x\nCOPY --from=a --chown=1 x y\n", False),
        ("FROM a\n# syntax=docker/dockerfile:1\n", False),
        ("# syntax=docker/dockerfile:1\nFROM a\n", True),
        ("\ufeff# escape=`\n#Syntax = x\nFROM a\n", True),
        ("FROM a\nRUN --mount=type=cache,target=/x true\n", True),
        ("FROM a\nrun --network=none true\n", True),
        ("FROM a\nRUN \\\n  # note\n  --security=insecure true\n", True),
        ("# escape=`\nFROM a\nRUN `\n --mount=type=tmpfs,target=/x true\n", True),
        ("FROM a\nRUN <<EOF\ntrue\nEOF\n", True),
        ("FROM a\nCOPY <<-'END' /x\nEND\n", True),
        ("FROM a\nCOPY --chown=1 --chmod=755 x y\n", True),
        ("FROM a\nADD --checksum=sha256:x http://h/f f\n", True),
        ("FROM a\nADD https://github.com/o/r.git#main /r\n", True),
        ("FROM a\nONBUILD COPY --link x y\n", True),
        ("FROM --platform=$BUILDPLATFORM a\n", True),
        ("FROM a\nARG TARGETARCH\n", True),
    ],
)
def test_buildkit_is_needed_only_for_what_classic_cannot(text: str, needed: bool) -> None:
    assert needs_buildkit(text) is needed


@given(st.text())
def test_any_dockerfile_text_is_judged(text: str) -> None:
    needs_buildkit(text)


# --- archives that are not what was asked for


def test_other_commit_is_refused_before_anything_is_planned(tmp_path: Path) -> None:
    make_repository(tmp_path, {"Dockerfile": FROM})
    with pytest.raises(SourceInvalid, match=f"not of {COMMIT}"):
        rewrite(archive(tmp_path), COMMIT)


def packed(*entries: tarfile.TarInfo, commit: str | None = COMMIT, contents: dict[str, bytes] | None = None) -> bytes:
    """A gzip'd tar below ``top/`` with a Dockerfile, then the given entries."""
    buffer = io.BytesIO()
    headers = {"comment": commit} if commit else {}
    contents = {"top/Dockerfile": FROM.encode(), **(contents or {})}
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers=headers) as tar:
        for info in (entry("top", tarfile.DIRTYPE), entry("top/Dockerfile"), *entries):
            data = contents.get(info.name, b"")
            info.size = info.size or len(data)
            tar.addfile(info, io.BytesIO(data.ljust(info.size, b"\0")) if info.isreg() else None)
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([entry("/etc/passwd")], "unsafe name"),
        ([entry("top/../x")], "unsafe name"),
        ([entry("top/a/../../x")], "unsafe name"),
        ([entry("top/./x")], "unsafe name"),
        ([entry("top//x")], "unsafe name"),
        ([entry("other/x")], "beside its top folder"),
        ([entry("top/dev", tarfile.CHRTYPE)], "neither a file"),
        ([entry("top/dev", tarfile.BLKTYPE)], "neither a file"),
        ([entry("top/fifo", tarfile.FIFOTYPE)], "neither a file"),
        ([entry("top/odd", b"Z")], "neither a file"),
        ([entry("top/a", tarfile.SYMTYPE, "/etc"), entry("top/a/passwd")], "outside of its folder"),
        ([entry("top/a"), entry("top/a/b")], "outside of its folder"),
        ([entry("top/a/b")], "outside of its folder"),
        ([entry("top/a"), entry("top/a")], "twice or out of git's order"),
        ([entry("top/a", tarfile.SYMTYPE, "/etc"), entry("top/a", tarfile.DIRTYPE)], "twice or out of git's order"),
        ([entry("top/b"), entry("top/a")], "twice or out of git's order"),
        ([entry("top/b"), entry("top/.dockerignore")], "twice or out of git's order"),
        ([entry("top/E", tarfile.LNKTYPE, "top/nope/../../x")], "unsafe name"),
        ([entry("top/E", tarfile.LNKTYPE, "top/F")], "hard link"),
        ([entry("top/" + "d" * 5000)], "longer than 4096"),
        ([entry("top/s", tarfile.SYMTYPE, "t" * 5000)], "no file can have"),
    ],
)
def test_hostile_entry_is_refused(entries: list[tarfile.TarInfo], sentence: str) -> None:
    with pytest.raises(SourceInvalid, match=sentence):
        rewrite(packed(*entries), COMMIT)


def test_hard_link_to_an_earlier_file_is_kept_with_its_name_rewritten() -> None:
    sent = rewrite(packed(entry("top/E"), entry("top/F", tarfile.LNKTYPE, "top/E")), COMMIT)
    assert [(member.name, member.linkname) for member in sent.members if member.islnk()] == [("F", "E")]


def test_hard_link_to_an_ignored_file_is_refused() -> None:
    # git's order puts the ignore file first, so it is given instead of the Dockerfile's neighbour
    entries = [entry("top/Dockerfile.dockerignore"), entry("top/E"), entry("top/F", tarfile.LNKTYPE, "top/E")]
    with pytest.raises(SourceInvalid, match="not sent before it"):
        rewrite(packed(*entries, contents={"top/Dockerfile.dockerignore": b"E\n"}), COMMIT)


def test_archive_without_commit_is_refused() -> None:
    with pytest.raises(SourceInvalid, match="does not say of which commit"):
        rewrite(packed(commit=None), COMMIT)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (ContextLimits(entries=3), "more than 3 files and folders; raise TAGSHIP_CONTEXT_MAX_ENTRIES"),
        (ContextLimits(file_bytes=500_000), "'top/a' has more than 0.476837 MB; raise TAGSHIP_CONTEXT_MAX_FILE_MB"),
        (ContextLimits(total_bytes=1_572_864), "more than 1.5 MB; raise TAGSHIP_CONTEXT_MAX_MB"),
        (ContextLimits(ratio=10, ratio_after_bytes=100_000), "more than 10 times"),
        (ContextLimits(path_bytes=5), "longer than 5 bytes"),
    ],
)
def test_every_limit_is_held(limits: ContextLimits, sentence: str) -> None:
    zeros = packed(entry("top/a", size=900_000), entry("top/b", size=900_000))
    rewrite(zeros, COMMIT)
    with pytest.raises(SourceInvalid, match=sentence):
        rewrite(zeros, COMMIT, limits=limits)


def test_header_of_gigabytes_is_not_read_into_memory() -> None:
    info = entry("top/a", tarfile.XHDTYPE, size=50_000_000)
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb") as out:
        out.write(gzip.decompress(packed())[: 512 * 5])  # up to where the next header would stand
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
        out.write(bytes(50_000_000))
    with pytest.raises(SourceInvalid, match="a header of the source archive"):
        rewrite(raw.getvalue(), COMMIT)


def test_truncated_archive_is_worth_another_try_wherever_it_is_cut() -> None:
    whole = packed(entry("top/a", size=3000), entry("top/b", size=70_000), contents={"top/a": os.urandom(3000)})
    for cut in (0, 1, 9, 200, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        with pytest.raises(GitHubUnavailable, match="ended early"):
            rewrite(whole[:cut], COMMIT)


def test_tar_that_ends_early_inside_a_whole_gzip_is_worth_another_try() -> None:
    raw = gzip.decompress(packed(entry("top/a", size=3000)))
    for cut in (len(raw.rstrip(b"\0")) + 100, 512 * 7):
        with pytest.raises(GitHubUnavailable, match="ended early"):
            rewrite(gzip.compress(raw[:cut]), COMMIT)


def test_what_is_no_tar_is_damaged() -> None:
    with pytest.raises(SourceInvalid, match="damaged"):
        rewrite(gzip.compress(b"not a tar" * 1000), COMMIT)


def test_what_is_no_gzip_went_wrong_on_its_way_and_is_worth_another_try() -> None:
    with pytest.raises(GitHubUnavailable, match="damaged or none"):
        rewrite(b"<html>a proxy</html>" * 10, COMMIT)


def test_damaged_header_in_the_middle_is_no_end() -> None:
    raw = bytearray(gzip.decompress(packed(entry("top/a"), entry("top/b"))))
    at = raw.index(b"top/a")
    raw[at + 150] ^= 1
    with pytest.raises(SourceInvalid, match="damaged"):
        rewrite(gzip.compress(bytes(raw)), COMMIT)


def test_one_block_of_zeros_is_not_yet_the_end() -> None:
    raw = gzip.decompress(packed())
    end = 512 * 5
    assert not any(raw[end:])
    with pytest.raises(GitHubUnavailable, match="ended early"):
        rewrite(gzip.compress(raw[: end + 512]), COMMIT)
    rewrite(gzip.compress(raw[: end + 1024]), COMMIT)
    with pytest.raises(SourceInvalid, match="damaged"):
        rewrite(gzip.compress(raw + b"more"), COMMIT)
    with pytest.raises(SourceInvalid, match="behind its end"):
        rewrite(gzip.compress(raw + bytes(2_000_000)), COMMIT)


LONG_NAMED = gzip.decompress(packed(entry("top/" + "d" * 300)))
"""Blocks: global header and its text, top, Dockerfile and its text, extended header and its text, long-named file."""


@pytest.mark.parametrize("cut", range(0, 512 * 8, 256))
def test_tar_cut_anywhere_before_its_end_is_worth_another_try(cut: int) -> None:
    with pytest.raises(GitHubUnavailable, match="ended early"):
        rewrite(gzip.compress(LONG_NAMED[:cut]), COMMIT)


@pytest.mark.parametrize("block", [0, 2, 3, 5, 7])
@pytest.mark.parametrize("lost", [False, True])
def test_damage_to_any_header_is_no_end(block: int, lost: bool) -> None:
    raw = bytearray(LONG_NAMED)
    assert raw[512 * block + 257 :].startswith(b"ustar")
    if lost:
        raw[512 * block : 512 * (block + 1)] = bytes(512)
    else:
        raw[512 * block + 150] ^= 1
    with pytest.raises(SourceInvalid, match="damaged"):
        rewrite(gzip.compress(bytes(raw)), COMMIT)


def test_damaged_checksum_at_the_end_is_seen() -> None:
    whole = bytearray(packed())
    whole[-6] ^= 1
    with pytest.raises(GitHubUnavailable, match="damaged"):
        rewrite(bytes(whole), COMMIT)


WHOLE = gzip.decompress(
    packed(entry("top/a", size=600), entry("top/b", tarfile.SYMTYPE, "x"), entry("top/c", tarfile.DIRTYPE))
)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=5), st.integers(0, len(WHOLE)))
def test_any_damage_is_a_known_error_or_harmless(changes: list[tuple[int, int]], cut: int) -> None:
    raw = bytearray(WHOLE)
    for at, value in changes:
        raw[at] = value
    try:
        rewrite(gzip.compress(bytes(raw[: cut or None]), 1), COMMIT)
    except AppError as error:
        assert isinstance(error, SourceInvalid | GitHubUnavailable)


# --- the stream


@pytest.fixture
def repository(tmp_path: Path) -> tuple[bytes, str]:
    folder = tmp_path / "repository"
    commit = make_repository(folder, {"Dockerfile": FROM, "big": os.urandom(6_000_000), "z": "last"})
    return archive(folder), commit


def rewriting_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "build-context"]


async def test_stream_is_the_rewritten_tar(repository: tuple[bytes, str], tmp_path: Path) -> None:
    data, commit = repository
    async with open_context(in_pieces(data), recipe=Recipe(), commit=commit, spool_dir=tmp_path) as context:
        assert (context.dockerfile, context.dockerfile_text, context.dockerfile_hidden) == ("Dockerfile", FROM, False)
        sent = [piece async for piece in context.chunks(Builder.BUILDKIT)]
    assert b"".join(sent) == rewrite(data, commit).tar
    assert max(map(len, sent)) <= 1024 * 1024
    assert context.failure is None
    assert not rewriting_threads()


@pytest.mark.parametrize("size", [1, 1000, 10_000_000])
async def test_pieces_of_any_size_are_taken(tmp_path: Path, size: int) -> None:
    commit = make_repository(tmp_path / "r", {"Dockerfile": FROM})
    pieces = in_pieces(archive(tmp_path / "r"), size)
    async with open_context(pieces, recipe=Recipe(), commit=commit, spool_dir=tmp_path) as context:
        assert [piece async for piece in context.chunks(Builder.CLASSIC)]


async def test_neither_side_runs_ahead(repository: tuple[bytes, str], tmp_path: Path) -> None:
    data, commit = repository
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        async for piece in in_pieces(data):
            taken += len(piece)
            yield piece

    async with open_context(counted(), recipe=Recipe(), commit=commit, spool_dir=tmp_path) as context:
        chunks = context.chunks(Builder.BUILDKIT)
        await anext(chunks)
        before = -1
        while before != taken:  # until both pipes are full
            before = taken
            await asyncio.sleep(0.1)
        assert taken < 4 * PIPE_BYTES < len(data)
        async for _ in chunks:
            pass
        assert taken == len(data)


async def test_error_of_the_archive_is_kept_and_raised(repository: tuple[bytes, str], tmp_path: Path) -> None:
    data, commit = repository
    lost = GitHubUnavailable("GitHub cut the connection")

    async def cut() -> AsyncIterator[bytes]:
        yield data[:3_000_000]
        raise lost

    async with open_context(cut(), recipe=Recipe(), commit=commit, spool_dir=tmp_path) as context:
        with pytest.raises(GitHubUnavailable) as caught:
            async for _ in context.chunks(Builder.BUILDKIT):
                pass
        assert caught.value is lost
        assert context.failure is lost
    assert not rewriting_threads()


async def test_truncated_archive_fails_the_stream(repository: tuple[bytes, str], tmp_path: Path) -> None:
    data, commit = repository
    async with open_context(in_pieces(data[:-100]), recipe=Recipe(), commit=commit, spool_dir=tmp_path) as context:
        with pytest.raises(GitHubUnavailable, match="ended early"):
            async for _ in context.chunks(Builder.BUILDKIT):
                pass
        assert isinstance(context.failure, GitHubUnavailable)


async def test_other_commit_opens_nothing(repository: tuple[bytes, str], tmp_path: Path) -> None:
    with pytest.raises(SourceInvalid, match="not of"):
        async with open_context(in_pieces(repository[0]), recipe=Recipe(), commit=COMMIT, spool_dir=tmp_path):
            pytest.fail("nothing may be sent")
    assert not rewriting_threads()


async def test_leaving_before_reading_ends_thread_archive_and_spool(
    repository: tuple[bytes, str], tmp_path: Path
) -> None:
    data, commit = repository
    closed = False

    async def watched() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            async for piece in in_pieces(data):
                yield piece
        finally:
            closed = True

    spool = tmp_path / "spool"
    spool.mkdir()
    files = len(list(Path("/proc/self/fd").iterdir()))
    async with open_context(watched(), recipe=Recipe(), commit=commit, spool_dir=spool):
        pass
    assert closed
    assert not rewriting_threads()
    assert not list(spool.iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) == files


@pytest.mark.parametrize("when", ["planning", "sending"])
async def test_cancelling_ends_everything(tmp_path: Path, when: str) -> None:
    commit = make_repository(
        tmp_path / "r", {"A": os.urandom(5_000_000), "Dockerfile": FROM, "z": os.urandom(5_000_000)}
    )
    data = archive(tmp_path / "r")
    reached = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield data[: 2_000_000 if when == "planning" else 8_000_000]
        reached.set()
        await asyncio.Event().wait()

    async def send() -> None:
        async with open_context(stalling(), recipe=Recipe(), commit=commit, spool_dir=tmp_path) as context:
            async for _ in context.chunks(Builder.BUILDKIT):
                pass

    task = asyncio.create_task(send())
    async with asyncio.timeout(30):
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not rewriting_threads()


def test_cancel_is_noticed_between_the_patterns_of_one_member(tmp_path: Path) -> None:
    commit = make_repository(tmp_path, {"Dockerfile": FROM, ".dockerignore": "".join(f"**/*{n}\n" for n in range(900))})
    calls = 0

    def cancelled() -> None:
        nonlocal calls
        calls += 1
        if calls > 100:
            raise PipeClosed

    source = io.BytesIO(archive(tmp_path))
    rewriter = ContextRewriter(
        source, recipe=Recipe(), commit=commit, spool=io.BytesIO(), limits=ContextLimits(), checkpoint=cancelled
    )
    with pytest.raises(PipeClosed):
        rewriter.plan()


async def test_full_disk_says_where_to_make_room(tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "r", {"A": os.urandom(5_000_000), "Dockerfile": FROM})
    with pytest.raises(DiskUnavailable, match="make room"):
        async with open_context(
            in_pieces(archive(tmp_path / "r")), recipe=Recipe(), commit=commit, spool_dir=tmp_path / "missing"
        ):
            pytest.fail("there is no spool")


async def test_context_is_sent_once(repository: tuple[bytes, str], tmp_path: Path) -> None:
    data, commit = repository
    async with open_context(in_pieces(data), recipe=Recipe(), commit=commit, spool_dir=tmp_path) as context:
        await anext(context.chunks(Builder.BUILDKIT))
        with pytest.raises(RuntimeError, match="once"):
            await anext(context.chunks(Builder.BUILDKIT))
