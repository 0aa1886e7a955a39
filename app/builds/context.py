"""A repository's source archive as the build context that the engine's POST /build takes, rewritten in one pass.

``ContextRewriter`` reads GitHub's tar member by member, keeps what ``docker build`` would send of the recipe's folder,
and writes a new tar; nothing is extracted, and memory holds one piece of one file. Members are held back in a spool
until it is known which Dockerfile and which ignore file count, then they follow first. Synchronous file objects only:
``stream`` runs it in a thread.

Decisions, where ``docker build`` leaves some:

- Modes become 0644 or 0755, which is all that git knows and what a checkout under the usual umask has; the archive's
  own 0664/0775 are an artefact of ``git archive`` (cron, sudo and ssh refuse group-writable files). Owner is 0:0;
  times stay.
- Rules are applied as BuildKit's client does: a file that ``!`` brings back also brings the folders above it, with
  their modes.
- Symlinks are data, wherever they point: the engine resolves them inside the image. A hardlink (git makes none) must
  name an earlier file that is kept, otherwise ``SourceInvalid``.
- A **hidden** Dockerfile (the rules leave it out, or it lies outside of the context) must not appear in ``COPY . .``
  and yet be in the tar. The classic builder drops it when the tar's ``.dockerignore`` says so; there it is hidden
  exactly. BuildKit drops nothing from an uploaded tar: when a hidden Dockerfile needs BuildKit, it stays visible to
  ``COPY . .`` in its place or, from outside of the context or a folder below it, as ``.tagship-<hash>.Dockerfile`` in
  the root.
- ``.dockerignore`` is absent when the rules leave it out, for either builder.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, TYPE_CHECKING, Final

from app.builds.archive import ArchiveReader, Kind, Member, sort_key
from app.builds.dockerfile import IGNORE_NAME, MOST_TEXT_BYTES, RecipeSearch
from app.builds.ignore import IgnoreRules, Verdict
from app.builds.shown import shown, shown_plainly
from app.builds.spool import Spool, read_up_to
from app.builds.unpack import PIECE
from app.engine.shape import Builder
from app.errors import SourceInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from app.builds.limits import ContextLimits
    from app.builds.unpack import Source
    from app.repositories.recipe import Recipe

    Entries = Iterator[tuple[Member, Iterable[bytes]]]


FILE_MODE: Final = 0o644
EXECUTABLE_MODE: Final = 0o755
SYMLINK_MODE: Final = 0o777
PATTERN_CHARACTERS: Final = re.compile(r"[\\*?\[\]^#! |{}]")


@dataclass(frozen=True, slots=True)
class ContextPlan:
    """What is known before the first byte is emitted.

    ``dockerfile`` is its path in the emitted tar. ``dockerfile_hidden``: ``COPY . .`` must not find it, which only the
    classic builder can do (see the module's head).
    """

    dockerfile: str
    dockerfile_text: str
    dockerfile_hidden: bool


class ContextRewriter:
    """One rewriting of one archive: ``plan()``, then ``emit()``, once each.

    ``spool`` is an empty seekable file that the caller owns. ``checkpoint`` is called for every member and every
    pattern tried on it, and may raise to stop. Both methods raise ``SourceInvalid`` (see ``ArchiveReader`` and
    ``RecipeSearch``) and ``GitHubUnavailable`` when the archive ends early, besides whatever ``source`` raises.
    """

    def __init__(
        self,
        source: Source,
        *,
        recipe: Recipe,
        commit: str,
        spool: IO[bytes],
        limits: ContextLimits,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self._search = RecipeSearch(recipe)
        self._members: Iterator[tuple[Member, Iterator[bytes]]]
        self._members = ArchiveReader(source, commit=commit, limits=limits).members()
        self._spool = Spool(spool)
        self._checkpoint = checkpoint
        self._prefix = f"{self._search.context}/" if self._search.context else ""

    def plan(self) -> ContextPlan:
        """Read on until Dockerfile and ignore file are decided, holding back what belongs to the context."""
        while (files := self._search.found()) is None:
            if (entry := next(self._members, None)) is None:
                self._search.end()
                continue
            self._checkpoint()
            self._take(*entry)
        self._files = files
        self._rules = IgnoreRules()
        if files.ignore_name is not None:
            self._rules = IgnoreRules.parse(files.ignore_text, files.ignore_name, checkpoint=self._checkpoint)
        path = self._inside(files.dockerfile)
        self._hidden = path is None or self._rules.matches(path)
        self._beside = path is None or (self._hidden and "/" in path)
        self._dockerfile = _synthetic_name(files.dockerfile) if self._beside or path is None else path
        text = files.dockerfile_text.decode("utf-8", "replace")
        return ContextPlan(self._dockerfile, text.removeprefix("\ufeff"), self._hidden)

    def _take(self, member: Member, content: Iterator[bytes]) -> None:
        """Show a member to the search, and hold it back unless its mere place has decided everything."""
        if not self._search.watches(member.path):
            self._search.see(member, b"", self._held)
            if self._search.found() is not None:
                self._members = chain([(member, content)], self._members)
            elif self._inside(member.path) is not None:
                self._spool.add(member, content)
            return
        text = b""
        if member.kind is Kind.FILE and member.size <= MOST_TEXT_BYTES:
            text = read_up_to(content, MOST_TEXT_BYTES)
            content = iter((text,))
        if self._inside(member.path) is not None:
            self._spool.add(member, content)
        self._search.see(member, text, self._held)

    def _held(self, path: str) -> tuple[Member, bytes] | None:
        return self._spool.find(path, MOST_TEXT_BYTES)

    def emit(self, sink: Callable[[bytes], None], builder: Builder) -> None:
        """Write the whole context as a tar to ``sink`` in pieces, laid out for ``builder``.

        The archive is read to its very end, so that damage anywhere in it is an error and not a smaller image.
        """
        tar = _TarWriter(sink)
        if self._beside:
            tar.add_text(self._dockerfile, self._files.dockerfile_text)
        replaced = self._ignore_file_for(builder)
        if replaced:
            tar.add_text(IGNORE_NAME, replaced)
        for member, content in self._kept(drop_ignore_file=replaced is not None):
            tar.add(member, content)
        tar.end()

    def _ignore_file_for(self, builder: Builder) -> bytes | None:
        """A ``.dockerignore`` to emit in place of the repository's; empty to emit none, None to keep the repository's.

        The classic builder reads it only to drop itself and the Dockerfile, so it is written to say just that. When
        users keep it visible, the lines that correct its effect are appended to their text.
        """
        text, left_out = self._files.general_ignore, self._rules.matches(IGNORE_NAME)
        dockerfile = PATTERN_CHARACTERS.sub(r"\\\g<0>", self._dockerfile)
        if text is None or left_out:
            if self._hidden and builder is Builder.CLASSIC:
                return _lines(IGNORE_NAME, dockerfile)
            return b"" if left_out else None
        if builder is Builder.BUILDKIT:
            return None
        effect = _rules_or_none(text, self._checkpoint)
        corrections = ["!" + IGNORE_NAME] if effect.matches(IGNORE_NAME) else []
        if effect.matches(self._dockerfile) is not self._hidden:
            corrections.append(dockerfile if self._hidden else "!" + dockerfile)
        return text + b"\n" + _lines(*corrections) if corrections else None

    def _kept(self, *, drop_ignore_file: bool) -> Entries:
        """What of the context is sent: not ignored, and folders that are ignored only when something in them is
        sent.
        """
        folders: list[_Folder] = []
        for member, content in self._context_entries():
            path = member.path
            while folders and not path.startswith(folders[-1].path + "/"):
                folders.pop()
            verdict = self._rules.judge(path, folders[-1].verdict if folders else None)
            if member.kind is Kind.DIRECTORY:
                folders.append(_Folder(path, verdict, member if verdict.ignored else None))
            if (path == IGNORE_NAME and drop_ignore_file) or (verdict.ignored and path != self._dockerfile):
                continue
            for folder in folders:
                if folder.owed is not None:
                    yield folder.owed, ()
                    folder.owed = None
            yield member, content

    def _context_entries(self) -> Entries:
        """Everything of the context, what was held first, with paths relative to it."""
        for entries in (self._spool.replay(), self._members):
            for member, content in entries:
                self._checkpoint()
                path = self._inside(member.path)
                if not path or path == ".git" or path.startswith(".git/"):
                    continue
                if path == self._dockerfile and self._beside:
                    raise SourceInvalid(
                        f"the repository holds {shown(path)}, a name that is kept for the Dockerfile; rename it"
                    )
                moved = replace(member, path=path)
                yield self._with_target(moved) if member.kind is Kind.HARDLINK else moved, content

    def _with_target(self, member: Member) -> Member:
        target = self._inside(member.target)
        if not target or sort_key(target) >= sort_key(member.path) or self._rules.matches(target):
            raise SourceInvalid(
                f"{shown_plainly(member.path)} is a hard link to {shown(member.target)}, which is not sent before it;"
                " make it a file"
            )
        return replace(member, target=target)

    def _inside(self, path: str) -> str | None:
        """The path relative to the context, ``""`` for the context itself, None outside of it."""
        if path == self._search.context:
            return ""
        return path.removeprefix(self._prefix) if path.startswith(self._prefix) else None


@dataclass(slots=True)
class _Folder:
    """A folder on the way to the present member; ``owed`` while it was ignored and not sent."""

    path: str
    verdict: Verdict
    owed: Member | None


class _TarWriter:
    """Writes members as a pax tar, gathered into pieces of at least ``PIECE`` bytes."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._buffer = bytearray()

    def add_text(self, path: str, text: bytes) -> None:
        self.add(Member(path, Kind.FILE, len(text), executable=False, mtime=0), (text,))

    def add(self, member: Member, content: Iterable[bytes]) -> None:
        info = tarfile.TarInfo(member.path)
        info.type, info.mode = _type_and_mode(member)
        info.size, info.mtime, info.linkname = member.size, member.mtime, member.target
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        for piece in content:
            self._write(piece)
        self._write(bytes(-member.size % tarfile.BLOCKSIZE))

    def end(self) -> None:
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._sink(bytes(self._buffer))
        self._buffer.clear()

    def _write(self, piece: bytes) -> None:
        self._buffer += piece
        if len(self._buffer) >= PIECE:
            self._sink(bytes(self._buffer))
            self._buffer.clear()


def _type_and_mode(member: Member) -> tuple[bytes, int]:
    if member.kind is Kind.DIRECTORY:
        return tarfile.DIRTYPE, EXECUTABLE_MODE
    if member.kind is Kind.SYMLINK:
        return tarfile.SYMTYPE, SYMLINK_MODE
    mode = EXECUTABLE_MODE if member.executable else FILE_MODE
    return (tarfile.REGTYPE if member.kind is Kind.FILE else tarfile.LNKTYPE), mode


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _rules_or_none(text: bytes, checkpoint: Callable[[], None]) -> IgnoreRules:
    """The engine ignores an ignore file that it cannot read."""
    try:
        return IgnoreRules.parse(text, checkpoint=checkpoint)
    except SourceInvalid:
        return IgnoreRules()


def _synthetic_name(dockerfile: str) -> str:
    """A name that no repository uses by accident, the same for every commit so that build caches hold."""
    return f".tagship-{hashlib.sha256(sort_key(dockerfile)).hexdigest()[:16]}.Dockerfile"
