"""Members of the source that must wait, kept on disk until it is known what to do with them."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Final

from app.builds.archive import Kind, Member
from app.builds.unpack import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LENGTH: Final = struct.Struct(">I")


class Spool:
    """A first-in first-out list of members over one seekable file; memory holds none of them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, member: Member, content: Iterable[bytes]) -> None:
        """Append a member and the whole of its content."""
        head = json.dumps(asdict(member)).encode("ascii")
        self._file.write(LENGTH.pack(len(head)) + head)
        for piece in content:
            self._file.write(piece)

    def replay(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Yield every member in the order added; content that is not read is skipped. Leaves the file at its end."""
        self._file.seek(0)
        while head := self._file.read(LENGTH.size):
            fields = json.loads(self._file.read(LENGTH.unpack(head)[0]))
            member = Member(**{**fields, "kind": Kind(fields["kind"])})
            end = self._file.tell() + member.size
            yield member, self._content(member.size)
            self._file.seek(end)

    def find(self, path: str, most_bytes: int) -> tuple[Member, bytes] | None:
        """The member of that path with up to ``most_bytes`` of its content, or None; more may be added afterwards."""
        found = None
        for member, content in self.replay():
            if member.path == path and found is None:
                found = member, read_up_to(content, most_bytes)
        return found

    def _content(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._file.read(min(left, PIECE))
            assert piece, "the spool holds what was added"
            left -= len(piece)
            yield piece


def read_up_to(content: Iterable[bytes], most_bytes: int) -> bytes:
    """The first ``most_bytes`` of the content; stops asking for pieces once it has them."""
    pieces, left = [], most_bytes
    for piece in content:
        pieces.append(piece[:left])
        left -= len(pieces[-1])
        if left <= 0:
            break
    return b"".join(pieces)
