"""The packed source archive as the tar in it: forwards only, within its limits, with headers that ``tarfile`` can take.

Not in every Python from 3.11 on is what ``tarfile`` does with an extended header linear in its length: records that
overlap are copied again and again, a run of digits is searched from each of them, and a global header stays for ever.
So such a header is read here first, and refused unless it is made as ``git archive`` makes it. Pure.
"""

from __future__ import annotations

import gzip
import re
import tarfile
from typing import IO, TYPE_CHECKING, Final, Protocol, cast

from app.builds.shown import shown_mb
from app.errors import SourceInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.builds.limits import ContextLimits

PIECE: Final = 256 * 1024
GZIP_MAGIC: Final = b"\x1f\x8b"
TYPE_FLAG: Final = slice(156, 157)  # of a header block, POSIX.1-1988
EXTENDED: Final = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE})
WITH_TEXT: Final = EXTENDED | {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
RECORD: Final = re.compile(rb"([1-9][0-9]{0,6}) ([^=\n\0]{1,100})=")
DIGITS: Final = re.compile(rb"[0-9]+")
MOST_DIGITS: Final = 255  # no part of a path that Linux takes is longer
OF_GIT_FOR_ALL: Final = frozenset({b"comment", b"mtime"})


class Source(Protocol):
    """Where the packed archive comes from: ``read`` gives up to ``size`` bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...


class Unpacked:
    """The unpacked tar as a file that only goes forward and gives exactly what is asked for.

    ``read`` and ``seek`` are for headers, and give no more than ``budget`` bytes; ``latest`` is what the last ``read``
    gave. ``EOFError`` when the archive ends before that; ``SourceInvalid`` for what is over a limit.
    """

    def __init__(self, source: Source, limits: ContextLimits) -> None:
        self.budget = limits.header_bytes
        self.latest = b""
        self._limits = limits
        self._text_of = b""
        self._position = 0
        self._packed = _Packed(source)
        self._gzip = gzip.GzipFile(fileobj=cast("IO[bytes]", self._packed), mode="rb")

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if self._position > position:
            raise ValueError("a header points backwards")
        self._header_bytes(position - self._position)

    def read(self, size: int) -> bytes:
        if size < 0:
            raise ValueError("a header has a negative size")
        self.latest = self._header_bytes(size)
        if self._text_of:
            if self._text_of in EXTENDED:
                check_records(self.latest, for_all=self._text_of == tarfile.XGLTYPE)
            self._text_of = b""
        elif size == tarfile.BLOCKSIZE and self.latest[TYPE_FLAG] in WITH_TEXT:
            self._text_of = self.latest[TYPE_FLAG]
        return self.latest

    def content(self, position: int, size: int) -> Iterator[bytes]:
        """The ``size`` bytes behind ``position``, in pieces; they do not count against the budget."""
        self.seek(position)
        while size:
            piece = self._exactly(min(size, PIECE))
            size -= len(piece)
            yield piece

    def rest(self) -> Iterator[bytes]:
        """Everything up to the end of the compressed stream, whose checksum is thereby checked."""
        while piece := self._up_to(PIECE):
            self.budget -= len(piece)
            if self.budget < 0:
                raise SourceInvalid("the source archive goes on behind its end")
            yield piece

    def _header_bytes(self, size: int) -> bytes:
        if size > self.budget:
            raise SourceInvalid(f"a header of the source archive has more than {self._limits.header_bytes} bytes")
        self.budget -= size
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        piece = self._up_to(size)
        if len(piece) < size:
            raise EOFError
        return piece

    def _up_to(self, size: int) -> bytes:
        limits = self._limits
        try:
            piece = self._gzip.read(size)
        except gzip.BadGzipFile:
            if self._packed.position < len(GZIP_MAGIC):
                raise EOFError from None
            raise
        self._position += len(piece)
        if self._position > limits.total_bytes:
            raise too_large(limits)
        if self._position > max(limits.ratio_after_bytes, self._packed.position * limits.ratio):
            raise SourceInvalid(f"the source archive unpacks to more than {limits.ratio} times its size")
        return piece


class _Packed:
    def __init__(self, source: Source) -> None:
        self._source, self.position = source, 0

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes and fewer only at the end; gzip takes a short read of its header for the end."""
        pieces, left = [], size
        while left and (piece := self._source.read(left)):
            pieces.append(piece)
            left -= len(piece)
        self.position += size - left
        return b"".join(pieces)


def check_records(text: bytes, *, for_all: bool) -> None:
    """Refuse the text of an extended header unless it is records one behind the other, with zeros behind the last.

    ``for_all``: it speaks of all members that follow, where git names the commit and no more.
    """
    at, keywords = 0, set()
    while at < len(text) and text[at]:
        found = RECORD.match(text, at)
        end = at + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(text) or text[end - 1 : end] != b"\n":
            raise SourceInvalid("the source archive is damaged: an extended header is not made of records")
        keywords.add(found[2])
        at = end
    if text[at:].strip(b"\0"):
        raise SourceInvalid("the source archive is damaged: an extended header goes on behind its end")
    if for_all and not keywords <= OF_GIT_FOR_ALL:
        raise SourceInvalid("the source archive has a global header that git did not make")
    if any(len(run) > MOST_DIGITS for run in DIGITS.findall(text)):
        raise SourceInvalid(f"the source archive holds a name with more than {MOST_DIGITS} digits in a row")


def too_large(limits: ContextLimits) -> SourceInvalid:
    return SourceInvalid(
        f"the source unpacks to more than {shown_mb(limits.total_bytes)}; "
        "raise TAGSHIP_CONTEXT_MAX_MB if the repository has to be that large"
    )
