"""Which Dockerfile and which ignore file a recipe means, found while the repository's tree passes by in git's order.

A file is absent once a later path has been seen, so the answer is known as early as the order allows. Pure.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.builds.archive import Kind, Member, sort_key
from app.builds.shown import shown, shown_plainly
from app.errors import SourceInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.repositories.recipe import Recipe

MOST_TEXT_BYTES: Final = 2 * 1024 * 1024
MOST_LINKS: Final = 8
DEFAULT_NAME: Final = "Dockerfile"
IGNORE_NAME: Final = ".dockerignore"


@dataclass(frozen=True, slots=True)
class RecipeFiles:
    """What the recipe's names turned out to be; paths are of the repository.

    ``dockerfile`` is the file itself, links followed. ``ignore_name`` is the ignore file that counts, None when there
    is none; ``general_ignore`` is the text of the context's ``.dockerignore``, whether it counts or not.
    """

    context: str
    dockerfile: str
    dockerfile_text: bytes
    ignore_name: str | None
    ignore_text: bytes
    general_ignore: bytes | None


@dataclass(frozen=True, slots=True)
class _Link:
    """A watched symlink; ``problem`` says why it cannot be followed, if so."""

    target: str
    problem: str | None = None


_UNKNOWN: Final = object()


class RecipeSearch:
    """Takes the tree's members in order and answers ``found()`` once all of them are decided.

    ``SourceInvalid`` is raised at once for a recipe whose paths leave the repository.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        context = _inside(recipe.context)
        if context is None:
            raise SourceInvalid(
                f"the context {recipe.context!r} lies outside of the repository; name one of its folders"
            )
        self.context: str = context
        self._candidates = self._dockerfile_candidates()
        self._general = _join(self.context, IGNORE_NAME)
        self._watched = {self._general, *self._candidates, *(path + IGNORE_NAME for path in self._candidates)}
        self._seen: dict[str, bytes | _Link | str] = {}
        self._place = b""
        self._ended = False
        self._context_seen = not self.context

    def _dockerfile_candidates(self) -> tuple[str, ...]:
        """Where the Dockerfile may be, best first: beside the context's files, then in the repository's root."""
        named = self._recipe.dockerfile
        places = [_inside(_join(self.context, named)), _inside(named)]
        if named == DEFAULT_NAME:  # as docker build does
            places.insert(1, _join(self.context, DEFAULT_NAME.lower()))
        inside = tuple(dict.fromkeys(place for place in places if place))
        if named.startswith("/") or not inside or any(ord(char) < ord(" ") for char in named):
            raise SourceInvalid(f"the Dockerfile {named!r} lies outside of the repository; name a file in it")
        return inside

    def watches(self, path: str) -> bool:
        """Whether the content of this path may decide something."""
        return path in self._watched

    def see(self, member: Member, content: bytes, held: Callable[[str], tuple[Member, bytes] | None]) -> None:
        """Note a member; ``content`` matters only for watched files, ``held`` finds members of the context seen
        before.
        """
        path = member.path
        self._place = sort_key(path)
        if not self._context_seen:
            self._look_at_context(member)
        if member.kind is Kind.SYMLINK:
            self._see_symlink(member, held)
        elif member.kind is Kind.FILE and path in self._watched:
            too_large = f"{shown_plainly(path)} has {member.size} bytes; at most {MOST_TEXT_BYTES} are read"
            self._seen[path] = content if member.size <= MOST_TEXT_BYTES else too_large
        elif member.kind is Kind.HARDLINK and path in self._watched:
            self._seen[path] = f"{shown_plainly(path)} is a hard link; make it a file of its own"

    def end(self) -> None:
        """Note that nothing more comes: what was not seen is absent."""
        self._ended = True

    def found(self) -> RecipeFiles | None:
        """Everything, or None while it depends on members to come.

        Raises ``SourceInvalid`` when the context or the Dockerfile is missing, or is not what it has to be.
        """
        if not self._context_seen:
            if not self._passed(self.context + "/"):
                return None
            raise SourceInvalid(
                f"the repository has no folder {self.context!r} at this commit; correct the recipe's context"
            )
        for candidate in self._candidates:
            named = self._look_up(candidate)
            if named is _UNKNOWN:
                return None
            if named is not None:
                return self._found_beside(candidate, named)
        tried = " or ".join(repr(path) for path in self._candidates)
        raise SourceInvalid(
            f"the repository has no Dockerfile at this commit, no {tried}; add it or correct the recipe"
        )

    def _found_beside(self, candidate: str, named: object) -> RecipeFiles | None:
        specific = self._look_up(candidate + IGNORE_NAME)
        general = self._look_up(self._general, strict=specific is None)
        if specific is _UNKNOWN or general is _UNKNOWN:
            return None
        (dockerfile, text), general_text = _as_file(named), _as_file(general)[1] if general else None
        if not dockerfile.isprintable():
            raise SourceInvalid(f"the Dockerfile has the name {shown(dockerfile)}, which no engine takes; rename it")
        name, ignore_text = (
            (candidate + IGNORE_NAME, _as_file(specific)[1]) if specific else (self._general, general_text)
        )
        return RecipeFiles(
            context=self.context,
            dockerfile=dockerfile,
            dockerfile_text=text,
            ignore_name=name if ignore_text is not None else None,
            ignore_text=ignore_text or b"",
            general_ignore=general_text,
        )

    def _look_up(self, path: str, *, strict: bool = True) -> object:
        """``(path, text)`` of the file, links followed; None when absent; ``_UNKNOWN`` while undecided."""
        for _ in range(MOST_LINKS):
            seen = self._seen.get(path)
            if isinstance(seen, bytes):
                return path, seen
            if isinstance(seen, str) or (isinstance(seen, _Link) and seen.problem):
                if not strict:
                    return None
                raise SourceInvalid(seen if isinstance(seen, str) else str(seen.problem))
            if seen is None:
                return None if self._passed(path) else _UNKNOWN
            path = seen.target
        raise SourceInvalid(f"{shown_plainly(path)} is a symbolic link that leads nowhere; make it a file")

    def _passed(self, path: str) -> bool:
        return self._ended or sort_key(path) < self._place

    def _look_at_context(self, member: Member) -> None:
        if member.path == self.context and member.kind is not Kind.DIRECTORY:
            raise SourceInvalid(f"the context {self.context!r} is a {member.kind} in the repository; name a folder")
        if member.kind is Kind.SYMLINK and self.context.startswith(member.path + "/"):
            raise SourceInvalid(
                f"the context {self.context!r} lies behind the symbolic link {shown(member.path)}; name the real folder"
            )
        self._context_seen = member.path == self.context or member.path.startswith(self.context + "/")

    def _see_symlink(self, member: Member, held: Callable[[str], tuple[Member, bytes] | None]) -> None:
        for path in self._watched:
            if path.startswith(member.path + "/"):
                self._seen[path] = (
                    f"{shown_plainly(path)} lies behind the symbolic link {shown(member.path)}; name the real file"
                )
        if member.path not in self._watched:
            return
        target = (
            None if member.target.startswith("/") else _inside(_join(posixpath.dirname(member.path), member.target))
        )
        if target is None:
            problem = (
                f"{shown_plainly(member.path)} is a symbolic link to {shown(member.target)}, outside of the repository;"
                " make it a file"
            )
            self._seen[member.path] = _Link("", problem)
            return
        self._seen[member.path] = _Link(target)
        if target in self._seen or target in self._watched:
            return
        if not self._passed(target):
            self._watched.add(target)
        elif (
            (earlier := held(target)) is not None
            and earlier[0].kind is Kind.FILE
            and earlier[0].size == len(earlier[1])
        ):
            self._seen[target] = earlier[1]
        else:
            problem = (
                f"{shown_plainly(member.path)} is a symbolic link to {shown(target)}, which cannot be followed;"
                " name the real file"
            )
            self._seen[member.path] = _Link(target, problem)


def _as_file(looked_up: object) -> tuple[str, bytes]:
    assert isinstance(looked_up, tuple)
    path, text = looked_up
    return path, text


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _inside(path: str) -> str | None:
    """The path in its shortest form (``""`` is the repository itself), None when it leads out of the repository."""
    shortest = posixpath.normpath(path)
    if shortest == ".." or shortest.startswith(("/", "../")):
        return None
    return "" if shortest == "." else shortest
