"""GitHub's source archive, read as a stream of checked members; nothing is extracted and memory stays flat.

The archive is the output of ``git archive``: a gzip'd tar with one top folder and a pax global header whose
``comment`` is the full commit. Everything read here is decided by whoever can push to a repository, so every name,
type, size and order is checked before anybody acts on it. Pure with respect to the program: a file object in, values
out, no event loop.

``tarfile`` interprets headers, no more, and only those that ``unpack`` has looked at. Its ``next()`` takes a damaged
header in mid-archive for the end, so the end is believed only when the bytes say so; it keeps every member, so
``members`` is cleared. No hook of it is overridden: which ones it calls differs even between builds of one Python
version (Debian backports patches).
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import IO, TYPE_CHECKING, cast

from app.builds.shown import shown, shown_mb, shown_plainly
from app.builds.unpack import Unpacked, too_large
from app.errors import GitHubUnavailable, SourceInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.builds.limits import ContextLimits
    from app.builds.unpack import Source


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry; ``path`` is relative to the repository (``""`` is its root), undecodable bytes as surrogates.

    ``target`` is a symlink's text as it stands, or the repository path that a hardlink names. ``mtime`` in seconds
    since the epoch.
    """

    path: str
    kind: Kind
    size: int
    executable: bool
    mtime: int
    target: str = ""


class ArchiveReader:
    """The members of one archive, once, in order, with their content.

    Iterating raises ``SourceInvalid`` when the archive is of another commit than ``commit`` (nothing was yielded
    then), unsafe, damaged, out of git's order or over a limit, and ``GitHubUnavailable`` when it ends early.
    """

    def __init__(self, source: Source, *, commit: str, limits: ContextLimits) -> None:
        self._commit, self._limits = commit, limits
        self._bytes = Unpacked(source, limits)
        self._order = _TreeOrder()
        self._top: str | None = None

    def members(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Yield each member with an iterator over its content; content that is not read is skipped."""
        with _damage_told():
            file = cast("IO[bytes]", self._bytes)  # not "r|", which reads ahead: the end is what was read last
            with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
                yield from self._walk(tar)

    def _walk(self, tar: tarfile.TarFile) -> Iterator[tuple[Member, Iterator[bytes]]]:
        entries = total = 0
        for info in iter(tar.next, None):
            tar.members.clear()  # type: ignore[attr-defined]  # typeshed does not list it; it would grow with every member
            entries, total = entries + 1, total + info.size
            self._check_commit(tar)
            self._check_limits(entries, info, total)
            member = self._checked(info)
            content = self._content(info) if member.kind is Kind.FILE else iter(())
            yield member, content
            for _ in content:
                pass
            self._bytes.budget = self._limits.header_bytes
        self._check_end()
        if not entries:
            raise SourceInvalid("the source archive is empty")

    def _content(self, info: tarfile.TarInfo) -> Iterator[bytes]:
        with _damage_told():
            yield from self._bytes.content(info.offset_data, info.size)

    def _check_end(self) -> None:
        """The end is a block of zeros where a header would stand, at least one more, and nothing but zeros behind."""
        ending = chain((self._bytes.latest, self._bytes.read(tarfile.BLOCKSIZE)), self._bytes.rest())
        if any(piece.strip(b"\0") for piece in ending):
            raise SourceInvalid("the source archive is damaged: one of its headers cannot be read")

    def _check_commit(self, tar: tarfile.TarFile) -> None:
        named = tar.pax_headers.get("comment")
        if named is None:
            raise SourceInvalid(f"the source archive does not say of which commit it is; wanted {self._commit}")
        if named != self._commit:
            raise SourceInvalid(
                f"the source archive is of commit {shown_plainly(named)}, not of {self._commit};"
                " ask GitHub for it again"
            )

    def _check_limits(self, entries: int, info: tarfile.TarInfo, total: int) -> None:
        limits = self._limits
        if entries > limits.entries:
            raise SourceInvalid(
                f"the source has more than {limits.entries:,} files and folders; "
                "raise TAGSHIP_CONTEXT_MAX_ENTRIES if the repository has to have so many"
            )
        if info.size < 0:
            raise SourceInvalid(f"the source archive is damaged: {shown(info.name)} has a negative size")
        if info.size > limits.file_bytes:
            raise SourceInvalid(
                f"{shown(info.name)} has more than {shown_mb(limits.file_bytes)}; "
                "raise TAGSHIP_CONTEXT_MAX_FILE_MB if it has to be that large"
            )
        if total > limits.total_bytes:
            raise too_large(limits)

    def _checked(self, info: tarfile.TarInfo) -> Member:
        kind = _kind(info)
        path = self._below_top(info.name)
        target = info.linkname if kind is Kind.SYMLINK else ""
        if kind is Kind.HARDLINK:
            target = self._below_top(info.linkname)
        if "\0" in target or len(target) > self._limits.path_bytes:
            raise SourceInvalid(f"{shown(path)} is a link to a name that no file can have")
        self._order.check(path, kind)
        mtime = int(min(max(info.mtime, 0), 2**33))
        return Member(path, kind, info.size if kind is Kind.FILE else 0, bool(info.mode & 0o111), mtime, target)

    def _below_top(self, name: str) -> str:
        """The name without the archive's one top folder; refuses names that could lead out of it."""
        parts = name.split("/")
        if not all(parts) or ".." in parts or "." in parts or "\0" in name:
            raise SourceInvalid(f"the source archive holds the unsafe name {shown(name)}")
        if len(name.encode("utf-8", "surrogateescape")) > self._limits.path_bytes:
            raise SourceInvalid(f"{shown(name)} has a path longer than {self._limits.path_bytes} bytes")
        if self._top is None:
            self._top = parts[0]
        if parts[0] != self._top:
            raise SourceInvalid(f"the source archive holds {shown(name)} beside its top folder {shown(self._top)}")
        return "/".join(parts[1:])


def sort_key(path: str) -> bytes:
    """Git's order of files: the path's bytes."""
    return path.encode("utf-8", "surrogateescape")


class _TreeOrder:
    """Holds the archive to a walk of git trees: each name once, sorted, and always inside a folder that is open.

    So nothing can be written twice or through a symlink, and a file whose place has passed is known to be absent. A
    submodule is a folder in the archive but sorted like a file, hence the two readings of a folder's place.
    """

    def __init__(self) -> None:
        self._last: bytes | None = None
        self._open: list[str] = []

    def check(self, path: str, kind: Kind) -> None:
        while self._open and not path.startswith(self._open[-1] + "/"):
            self._open.pop()
        if path.rpartition("/")[0] != (self._open[-1] if self._open else ""):
            raise SourceInvalid(f"the source archive holds {shown(path)} outside of its folder; git did not make it")
        place = sort_key(path)
        latest = place + b"/" if kind is Kind.DIRECTORY else place
        if self._last is not None and (latest <= self._last or place == self._last):
            raise SourceInvalid(f"the source archive holds {shown(path)} twice or out of git's order")
        self._last = place
        if kind is Kind.DIRECTORY and path:
            self._open.append(path)


def _kind(info: tarfile.TarInfo) -> Kind:
    if info.isdir():
        return Kind.DIRECTORY
    if info.issym():
        return Kind.SYMLINK
    if info.islnk():
        return Kind.HARDLINK
    if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.issparse():
        return Kind.FILE
    raise SourceInvalid(f"the source archive holds {shown(info.name)}, which is neither a file, a folder nor a link")


@contextmanager
def _damage_told() -> Iterator[None]:
    """Turn what gzip and tarfile raise into our two errors: broken on its way (worth another try) or damaged.

    The packing is GitHub's own and no pusher's, so what is wrong with it went wrong on the way: cut short, replaced by
    the page of a proxy, bits that changed.
    """
    try:
        yield
    except EOFError:
        raise GitHubUnavailable("the source archive from GitHub ended early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise GitHubUnavailable(f"what GitHub sent as the source archive is damaged or none: {error}") from None
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise SourceInvalid(f"the source archive is damaged: {shown_plainly(str(error))}") from None
