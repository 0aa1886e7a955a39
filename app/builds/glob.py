r"""One pattern of an ignore file as a matcher, with Docker's reading of it.

Docker turns such a pattern into a regular expression (github.com/moby/patternmatcher); the same expression runs here,
in ``automaton``. Docker's oddities are kept because users' files rely on what ``docker build`` does: ``[…]`` goes into
the expression as it stands (``[!a]`` is "! or a"), a lone ``**`` in front or at the end compares text only (``**foo``
matches ``barfoo``), ``\d`` is a digit.
"""

from __future__ import annotations

from typing import Final

from app.builds.automaton import DIRECTORIES, Automaton

ESCAPED_BY_DOCKER: Final = frozenset(".+()$")
"""Docker means to escape ``|{}`` too, but its bitmap has no room for them: they reach the expression as operators."""


class Glob:
    """A cleaned pattern, ready to match slash-separated paths; ``ValueError`` with a clause when Docker would refuse
    it.

    ``cache`` bounds how many transitions are remembered; beyond it they are computed anew.
    """

    __slots__ = ("_automaton", "_exact", "_prefix", "_suffix", "text")

    def __init__(self, text: str, *, cache: int = 4096) -> None:
        check_syntax(text)
        self.text = text
        self._exact = self._prefix = self._suffix = None
        self._automaton: Automaton | None = None
        kind, expression = to_expression(text)
        if kind == "exact":
            self._exact = text
        elif kind == "prefix":
            self._prefix = text[:-2]
        elif kind == "suffix":
            self._suffix = text[2:]
        else:
            self._automaton = Automaton(expression, cache)

    def matches(self, path: str) -> bool:
        """Whether the pattern matches this very path; parents are the caller's business."""
        if self._exact is not None:
            return path == self._exact
        if self._prefix is not None:
            return path.startswith(self._prefix)
        if self._suffix is not None:
            return path.endswith(self._suffix) or (self._suffix[:1] == "/" and path == self._suffix[1:])
        assert self._automaton is not None
        return self._automaton.matches(path)


def check_syntax(pattern: str) -> None:
    """Refuse (``ValueError``) what Go's ``filepath.Match`` calls a bad pattern, for Docker asks it first.

    Go looks no further than the text before the first ``*`` that something precedes: ``[_-]*`` is refused, ``*.v[_-]``
    is not.
    """
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise ValueError("ends with a lone backslash")
    at = len(pattern) - len(pattern.lstrip("*"))
    while at < len(pattern) and pattern[at] != "*":
        if pattern[at] == "\\":
            at += 2
        elif pattern[at] == "[":
            at = _end_of_class(pattern, at + 1)
        else:
            at += 1


def _end_of_class(pattern: str, at: int) -> int:
    at += pattern[at : at + 1] == "^"
    first = True
    while first or pattern[at] != "]":
        at = _end_of_class_character(pattern, at)
        if pattern[at] == "-":
            at = _end_of_class_character(pattern, at + 1)
        first = False
    return at + 1


def _end_of_class_character(pattern: str, at: int) -> int:
    if pattern[at : at + 1] in ("", "-", "]"):
        raise ValueError("holds a broken character class [...]")
    at += 2 if pattern[at] == "\\" else 1
    if at >= len(pattern):
        raise ValueError("holds a character class [...] without its end")
    return at


def to_expression(pattern: str) -> tuple[str, str]:
    """How Docker matches the pattern: ``exact``, ``prefix``, ``suffix`` or ``regexp``, and the expression for the
    last.
    """
    kind, out, at, first = "exact", [], 0, True
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and pattern[at : at + 1] == "*":
            at += 2 if pattern[at + 1 : at + 2] == "/" else 1
            if at < len(pattern):
                out.append(DIRECTORIES)
                kind = "regexp"
            elif kind == "exact":
                kind = "prefix"
            else:
                out.append(".*")
                kind = "regexp"
            if first:
                kind = "suffix"
        elif char in "*?":
            out.append("[^/]*" if char == "*" else "[^/]")
            kind = "regexp"
        elif char == "\\":
            out.append("\\" + pattern[at : at + 1])
            at += 1
            kind = "regexp"
        else:
            out.append("\\" + char if char in ESCAPED_BY_DOCKER else char)
            kind = "regexp" if char in "[]" else kind
        first = False
    return kind, "".join(out)
