"""Whatever a source archive holds: it becomes a harmless context, or one of our errors with a sentence."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.builds.context import ContextRewriter
from app.builds.ignore import IgnoreRules
from app.builds.limits import ContextLimits
from app.engine.shape import Builder
from app.errors import GitHubUnavailable, SourceInvalid
from app.repositories.recipe import Recipe
from tests.builds_repository import Link, Script, Tree, archive, make_repository, rewrite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builds_repository import Rewritten

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BLOCK = 512
SMALL = ContextLimits(entries=50, file_bytes=200_000, total_bytes=1_000_000, ratio_after_bytes=500_000)


def header(
    name: bytes,
    kind: bytes = b"0",
    size: bytes | int = 0,
    *,
    link: bytes = b"",
    mode: bytes = b"0000644\0",
    mtime: bytes = b"14000000000\0",
) -> bytes:
    """A header block with a good checksum, whatever its fields hold."""
    length = b"%011o\0" % size if isinstance(size, int) else size
    fields = name[:100].ljust(100, b"\0") + mode[:8].ljust(8, b"\0") + b"0000000\0" * 2 + length[:12].ljust(12, b"\0")
    fields += mtime[:12].ljust(12, b"\0") + b" " * 8 + kind + link[:100].ljust(100, b"\0") + b"ustar\x0000"
    block = bytearray(fields.ljust(BLOCK, b"\0"))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % BLOCK)


def record(keyword: bytes, value: bytes) -> bytes:
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest)
    while length != len(b"%d" % length) + len(rest):
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def extended(text: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", kind, len(text)) + padded(text)


START = extended(record(b"comment", COMMIT.encode()), b"g") + header(b"top/", b"5", mode=b"0000775\0")
DOCKERFILE = header(b"top/Dockerfile", b"0", 13) + padded(b"FROM scratch\n")
END = bytes(2 * BLOCK)


def packed(*parts: bytes) -> bytes:
    return gzip.compress(START + DOCKERFILE + b"".join(parts) + END, 1)


def judged(data: bytes, commit: str = COMMIT, builder: Builder = Builder.BUILDKIT) -> Rewritten | None:
    """What became of it: a context that is checked here, or an error whose sentence is."""
    try:
        sent = rewrite(data, commit, builder=builder, limits=SMALL)
    except (SourceInvalid, GitHubUnavailable) as error:
        assert_is_sentence(str(error))
        return None
    assert_harmless(sent)
    return sent


def assert_is_sentence(text: str) -> None:
    assert text.isprintable()
    assert len(text) < 600
    text.encode()


def assert_harmless(sent: Rewritten) -> None:
    kinds: dict[str, bytes] = {}
    for member in sent.members:
        parts = member.name.split("/")
        assert all(part not in {"", ".", ".."} for part in parts), member.name
        assert "\0" not in member.name
        assert member.name not in kinds
        assert all(kinds["/".join(parts[:end])] == tarfile.DIRTYPE for end in range(1, len(parts)))
        assert member.type in {tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE}
        assert member.type != tarfile.LNKTYPE or member.linkname in kinds
        assert not member.mode & 0o7022 or member.type == tarfile.SYMTYPE
        kinds[member.name] = member.type
    assert sent.plan.dockerfile in kinds


names = st.sampled_from([
    b"top/E", b"top/F", b"top/d/", b"top/d/e", b"top/../x", b"../x", b"/etc/passwd", b"top", b"top/.", b"top/..",
    b"top//x", b"top/\xff\xfe", b"top/" + b"n" * 96, b"top/a\nb", b"./top/x", b"", b"/", b"top/.git",
    b"top/.dockerignore",
]) | st.binary(max_size=100)  # fmt: skip
numbers = st.sampled_from([
    b"00000000005\0", b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\xff" * 11 + b"\x01", b"-0000000001\0",
    b"\x80" + bytes(11), b"999\0", b"", b" \0",
]) | st.integers(0, 2**33 - 1).map(lambda number: b"%011o\0" % number) | st.binary(max_size=12)  # fmt: skip
kinds = st.sampled_from([bytes([code]) for code in b"0\x0012345675SDLKNMVXAgx"]) | st.binary(min_size=1, max_size=1)
values = names | st.sampled_from([
    b"5", b"-5", b"nan", b"inf", b"1e400", b"9" * 300, b"9" * 20, b"top/" + b"x/" * 2000 + b"x", b"1,2,3", b"BINARY",
    b"0", b"1", b"top/a\0b", b"top/\xed\xa0\x80", b"",
])  # fmt: skip
keywords = st.sampled_from([
    b"path", b"linkpath", b"size", b"mtime", b"comment", b"hdrcharset", b"uid", b"uname", b"GNU.sparse.map",
    b"GNU.sparse.size", b"GNU.sparse.name", b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.realsize",
    b"GNU.sparse.numblocks", b"SCHILY.xattr.user.x",
])  # fmt: skip
records = st.lists(st.builds(record, keywords, values), max_size=4).map(b"".join)
before = st.builds(extended, records | st.binary(max_size=300), st.sampled_from([b"x", b"g", b"X", b"L", b"K"]))
entries = st.builds(
    lambda extra, name, kind, size, link, mode, mtime, content: (
        extra + header(name, kind, size, link=link, mode=mode, mtime=mtime) + content
    ),
    st.just(b"") | before,
    names, kinds, numbers | st.integers(0, 600), names, numbers, numbers, st.binary(max_size=600).map(padded),
)  # fmt: skip


@settings(max_examples=120)
@given(st.lists(entries, min_size=1, max_size=4), st.sampled_from(Builder))
def test_no_entry_of_any_making_leads_out_of_the_context(made: list[bytes], builder: Builder) -> None:
    judged(packed(*made), builder=builder)


@settings(max_examples=100)
@given(st.binary(max_size=2000))
def test_bytes_that_are_no_archive_are_refused(data: bytes) -> None:
    assert judged(data) is None
    assert judged(gzip.compress(data, 1)) is None


REAL: Tree = {
    "Dockerfile": "FROM scratch\n",
    ".dockerignore": "*.log\n!keep.log\n",
    "a/run": Script("run"),
    "a/b/c/keep.log": "",
    "abs": Link("/etc/passwd"),
    "up": Link("../../x"),
    "long": Link("t" * 300),
    f"{'d' * 120}/{'e' * 120}": "deep",
    os.fsdecode(b"caf\xe9"): "latin",
    "x.log": "left out",
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    folder = tmp_path_factory.mktemp("real")
    commit = make_repository(folder, REAL)
    return archive(folder), commit


def test_the_archive_that_is_damaged_below_is_a_good_one(real: tuple[bytes, str]) -> None:
    sent = judged(*real)
    assert sent is not None
    assert len(sent.members) == 13


@settings(max_examples=100)
@given(data=st.data())
def test_no_damage_to_a_real_archive_leads_out_of_the_context(real: tuple[bytes, str], data: st.DataObject) -> None:
    raw = bytearray(gzip.decompress(real[0]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) // BLOCK - 1)) * BLOCK
        match data.draw(st.sampled_from(["bytes", "gone", "twice", "swapped", "cut"])):
            case "bytes":
                changed = data.draw(st.binary(min_size=1, max_size=12))
                at += data.draw(st.integers(0, BLOCK - len(changed)))
                raw[at : at + len(changed)] = changed
            case "gone":
                del raw[at : at + BLOCK]
            case "twice":
                raw[at:at] = raw[at : at + 2 * BLOCK]
            case "swapped":
                raw[at : at + 2 * BLOCK] = raw[at + BLOCK : at + 2 * BLOCK] + raw[at : at + BLOCK]
            case _:
                del raw[at + BLOCK + 1 :]
        for start in range(0, len(raw) - BLOCK + 1, BLOCK):  # so that most of it is not refused for its checksum alone
            if raw[start + 257 : start + 262] == b"ustar":
                raw[start + 148 : start + 156] = b" " * 8
                raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + BLOCK])
        if len(raw) < BLOCK:
            break
    judged(gzip.compress(bytes(raw), 1), real[1])


@settings(max_examples=100)
@given(data=st.data())
def test_no_damage_to_the_packing_is_a_crash(real: tuple[bytes, str], data: st.DataObject) -> None:
    whole = bytearray(real[0])
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    judged(bytes(whole[: data.draw(st.integers(0, len(whole)))]), real[1])


# --- what is made to take time or memory


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        b"9" * 20_000,
        record(b"path", b"top/" + b"9" * 20_000),
        record(b"SCHILY.x", b"1" * 200 + b"x" + b"7" * 256),
        b"2 " * 10_000 + b"=",
        b"1 a=" * 5_000,
        record(b"comment", COMMIT.encode()) + b"x",
        b"0 a=b\n",
        b"99999999999999999999 a=b\n",
        record(b"a" * 10_000, b""),
    ],
    ids=range(9),
)
def test_a_header_that_is_slow_to_read_is_refused_unread(text: bytes) -> None:
    with pytest.raises(SourceInvalid):
        rewrite(packed(extended(text), header(b"top/E")), COMMIT)


def test_a_global_header_that_git_does_not_write_is_refused() -> None:
    kept = (header(b"top/E%d" % number) for number in range(3))
    said = (extended(record(b"k%d" % number, b"v"), b"g") for number in range(3))
    parts = [part for pair in zip(said, kept, strict=True) for part in pair]
    with pytest.raises(SourceInvalid, match="global header that git did not make"):
        rewrite(packed(*parts), COMMIT)


def test_git_may_name_the_time_of_all_members() -> None:
    assert judged(packed(extended(record(b"mtime", b"8589934592"), b"g"), header(b"top/E"))) is not None


def test_headers_count_as_unpacked_bytes() -> None:
    part = extended(record(b"SCHILY.x", b"x" * 20_000))
    flood = [part + header(b"top/E%04d" % number) for number in range(60)]
    with pytest.raises(SourceInvalid, match=r"more than 0\.953674 MB; raise TAGSHIP_CONTEXT_MAX_MB"):
        rewrite(packed(*flood), COMMIT, limits=ContextLimits(total_bytes=1_000_000))


def test_a_flood_of_entries_is_ended_at_the_cap() -> None:
    flood = [header(b"top/E%04d" % number) for number in range(60)]
    with pytest.raises(SourceInvalid, match="more than 50 files and folders; raise TAGSHIP_CONTEXT_MAX_ENTRIES"):
        rewrite(packed(*flood), COMMIT, limits=SMALL)


def test_a_size_of_any_length_is_refused_in_a_short_sentence() -> None:
    for size in (b"9" * 250, b"-1"):
        with pytest.raises(SourceInvalid) as refused:
            rewrite(packed(extended(record(b"size", size)), header(b"top/E")), COMMIT)
        assert_is_sentence(str(refused.value))


def test_memory_stays_flat_while_a_large_member_passes() -> None:
    size = 24 * 1024 * 1024
    data = gzip.compress(START + DOCKERFILE + header(b"top/E", b"0", size) + bytes(size) + END, 1)
    limits = ContextLimits(ratio_after_bytes=2 * size)
    rewriter = ContextRewriter(io.BytesIO(data), recipe=Recipe(), commit=COMMIT, spool=io.BytesIO(), limits=limits)
    passed = 0

    def count(piece: bytes) -> None:
        nonlocal passed
        passed += len(piece)

    rewriter.plan()
    tracemalloc.start()
    try:
        rewriter.emit(count, Builder.BUILDKIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert passed > size
    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize("target", [os.fsdecode(b"caf\xe9"), "a\nb", "a\x85b"])
def test_a_dockerfile_behind_a_link_with_a_name_that_cannot_be_sent_is_refused(tmp_path: Path, target: str) -> None:
    commit = make_repository(tmp_path, {"Dockerfile": Link(target), target: "FROM scratch\n"})
    with pytest.raises(SourceInvalid, match="rename it") as refused:
        rewrite(archive(tmp_path), commit)
    assert_is_sentence(str(refused.value))


def test_a_hard_link_of_any_name_is_refused_in_a_sentence() -> None:
    ignore = header(b"top/Dockerfile.dockerignore", b"0", 2) + padded(b"E\n")
    linked = header(b"top/F\xe9\n", b"1", link=b"top/E")
    with pytest.raises(SourceInvalid, match="hard link") as refused:
        rewrite(packed(ignore, header(b"top/E"), linked), COMMIT)
    assert_is_sentence(str(refused.value))


pattern_texts = st.text("ab/*?[]!^-\\{}|().#\x00\n \t\ud800é:[:", max_size=40) | st.text(max_size=40)


@settings(max_examples=100)
@given(st.lists(pattern_texts, max_size=4), st.text("ab/.é", min_size=1, max_size=20))
def test_any_ignore_file_is_applied_or_refused_in_a_sentence(lines: list[str], path: str) -> None:
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    try:
        rules = IgnoreRules.parse(text)
    except SourceInvalid as error:
        assert_is_sentence(str(error))
        return
    rules.judge(path, None)
    rules.matches(path)
