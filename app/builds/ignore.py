"""Which paths of a build context an ignore file leaves out, exactly as ``docker build`` decides it.

The engine does not filter an uploaded tar, so the client must; users expect the outcome of ``docker build``, oddities
included (reading: github.com/moby/patternmatcher ``ignorefile``; walking: github.com/tonistiigi/fsutil ``filter.go``).
Pure: text in, verdicts out. Hostile files are bounded in size and number of patterns, and each match is linear in the
path (see ``glob``).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.builds.glob import Glob
from app.builds.shown import shown, shown_plainly
from app.errors import SourceInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES: Final = 128 * 1024
MOST_PATTERNS: Final = 1000
LONGEST_PATTERN: Final = 4096
CACHED_TRANSITIONS: Final = 32_768
"""Over all patterns of one file: about 10 MB when a hostile repository fills it."""

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
GO_WHITE_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of one path; ``matched`` holds a bit per pattern that matched it or a folder above it."""

    ignored: bool
    matched: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern; ``exception`` when it began with ``!`` and so brings paths back."""

    glob: Glob
    exception: bool


class IgnoreRules:
    """The rules of one ignore file, in order; without rules nothing is ignored.

    ``checkpoint`` is called before every try of a pattern and may raise to stop: a thousand hostile ones take a while.
    """

    __slots__ = ("_checkpoint", "_rules", "has_exceptions")

    def __init__(self, rules: tuple[Rule, ...] = (), *, checkpoint: Callable[[], None] = lambda: None) -> None:
        self._rules, self._checkpoint = rules, checkpoint
        self.has_exceptions = any(rule.exception for rule in rules)

    @classmethod
    def parse(
        cls, text: bytes, name: str = ".dockerignore", *, checkpoint: Callable[[], None] = lambda: None
    ) -> IgnoreRules:
        """Read an ignore file; ``name`` is how errors call it.

        Raises ``SourceInvalid`` with the file and line of the first pattern that Docker would refuse, and when the
        file is larger than any honest one (128 KiB, 1000 patterns, 4096 characters each).
        """
        if len(text) > MOST_BYTES:
            raise SourceInvalid(f"{shown_plainly(name)} has {len(text)} bytes; at most {MOST_BYTES} are read")
        lines = _patterns(text)
        if len(lines) > MOST_PATTERNS:
            raise SourceInvalid(f"{shown_plainly(name)} has {len(lines)} patterns; at most {MOST_PATTERNS} are allowed")
        cache = CACHED_TRANSITIONS // max(len(lines), 1)
        rules = []
        for number, pattern in lines:
            try:
                rules.append(_rule(pattern, cache))
            except ValueError as error:
                raise SourceInvalid(
                    f"{shown_plainly(name)}, line {number}: the pattern {shown(pattern)} {error}"
                ) from None
        return cls(tuple(rules), checkpoint=checkpoint)

    def judge(self, path: str, parent: Verdict | None) -> Verdict:
        """Decide one path on a walk from the top; ``parent`` is the verdict on its folder, None at the top.

        A pattern that matched the folder counts for all below it. As with Docker a pattern that could not have changed
        the folder's fate was not tried on it, and so is not inherited.
        """
        if parent is not None and parent.ignored and not self.has_exceptions:
            return parent
        inherited = parent.matched if parent is not None else 0
        ignored, matched = False, 0
        for index, rule in enumerate(self._rules):
            hit = bool(inherited >> index & 1)
            if not hit and rule.exception is ignored:
                hit = self._hits(rule, path)
            if hit:
                matched |= 1 << index
                ignored = not rule.exception
        return Verdict(ignored, matched)

    def matches(self, path: str) -> bool:
        """Whether this path is ignored, decided on its own: each pattern is tried on it and on every folder above it.

        So the engine decides about the Dockerfile and ``.dockerignore``; it differs from ``judge`` only for a file that
        repeats a pattern after an exception to it.
        """
        lineage = [path, *_folders_above(path)]
        ignored = False
        for rule in self._rules:
            if rule.exception is ignored and any(self._hits(rule, step) for step in lineage):
                ignored = not rule.exception
        return ignored

    def _hits(self, rule: Rule, path: str) -> bool:
        self._checkpoint()
        return rule.glob.matches(path)


def _patterns(text: bytes) -> list[tuple[int, str]]:
    """The file's patterns with their line numbers, cleaned as paths; ``!`` stays in front."""
    found = []
    for number, line in enumerate(text.removeprefix(BYTE_ORDER_MARK).split(b"\n"), start=1):
        if line.startswith(b"#"):
            continue
        pattern = line.decode("utf-8", "surrogateescape").strip(GO_WHITE_SPACE)
        if not pattern:
            continue
        mark = "!" if pattern.startswith("!") else ""
        pattern = pattern.removeprefix("!").strip(GO_WHITE_SPACE) if mark else pattern
        if pattern:
            pattern = _clean(pattern)
            pattern = pattern.removeprefix("/") if len(pattern) > 1 else pattern
        found.append((number, mark + pattern))
    return found


def _rule(pattern: str, cache: int) -> Rule:
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"has {len(pattern)} characters; at most {LONGEST_PATTERN} are allowed")
    if "\0" in pattern:
        raise ValueError("holds a NUL character")
    cleaned = _clean(pattern.strip(GO_WHITE_SPACE))
    exception = cleaned.startswith("!")
    cleaned = cleaned.removeprefix("!")
    if not cleaned:
        raise ValueError('is an exception to nothing; write a path after "!"')
    return Rule(Glob(cleaned, cache=cache), exception)


def _clean(pattern: str) -> str:
    """Go's ``filepath.Clean``: as ``normpath``, but two leading slashes are one.

    A pattern with a NUL is left to be refused; some releases of Python 3.11 would cut it off there.
    """
    if "\0" in pattern:
        return pattern
    cleaned = posixpath.normpath(pattern)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _folders_above(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]
