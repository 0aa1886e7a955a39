r"""The regular expressions that Docker makes of ignore patterns, run in time linear in the path.

Docker lets Go's engine run them, which never backtracks. Python's ``re`` does, and ``**/*a**/*a…`` would hang it, so an
expression is a set of positions here (one bit each), determinised as paths come by. Only what such expressions can hold
is read: characters, ``.``, classes, ``x*``, ``(.*/)?`` and ``^``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Accepts = Callable[[str], bool]

OPERATOR: Final = re.compile(r"\||\{[0-9]+(?:,[0-9]*)?\}")
DIRECTORIES: Final = "(.*/)?"
LONGEST_CLASS: Final = 20  # of which a sentence speaks
CONTROL_ESCAPES: Final = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
ALNUM: Final = (("0", "9"), ("A", "Z"), ("a", "z"))
CHARACTER_CLASSES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "d": (("0", "9"),),
    "s": (("\t", "\n"), ("\f", "\r"), (" ", " ")),
    "w": (*ALNUM, ("_", "_")),
    "alnum": ALNUM,
    "alpha": ALNUM[1:],
    "ascii": (("\0", "\x7f"),),
    "blank": (("\t", "\t"), (" ", " ")),
    "cntrl": (("\0", "\x1f"), ("\x7f", "\x7f")),
    "digit": ALNUM[:1],
    "graph": (("!", "~"),),
    "lower": ALNUM[2:],
    "print": ((" ", "~"),),
    "punct": (("!", "/"), (":", "@"), ("[", "`"), ("{", "~")),
    "space": (("\t", "\r"), (" ", " ")),
    "upper": ALNUM[1:2],
    "word": (*ALNUM, ("_", "_")),
    "xdigit": (("0", "9"), ("A", "F"), ("a", "f")),
}


class _State:
    """A set of positions: ``waiting`` in front of a step, ``inside`` a run of directories."""

    __slots__ = ("after", "inside", "waiting")

    def __init__(self, waiting: int, inside: int) -> None:
        self.waiting, self.inside = waiting, inside
        self.after: dict[str, _State] = {}


class Automaton:
    """The expression as steps, each one bit: take one character, loop over characters, skip directories, or stand at
    the start.

    Steps of the same text (one character, a class) are kept together, with the bits of all their places. ``cache``
    bounds how many transitions are remembered; ``ValueError`` with a clause for what Go refuses or is not run here.
    """

    def __init__(self, expression: str, cache: int) -> None:
        self._ones: dict[str, tuple[Accepts, int]] = {}
        self._loops: dict[str, tuple[Accepts, int]] = {}
        self._directories = self._anchors = 0
        self._end = self._read(expression)
        self._free = self._directories | sum(places for _, places in self._loops.values())
        self._cache = self._room = cache
        self._start = _State(_flood(1, self._free | self._anchors), 0)
        self._forget()

    def _read(self, expression: str) -> int:
        at = index = 0
        while at < len(expression):
            if expression.startswith(DIRECTORIES, at):
                self._directories |= 1 << index
                at += len(DIRECTORIES)
            elif expression[at] == "^":
                self._anchors |= 1 << index
                at += 1
            elif operator := OPERATOR.match(expression, at):
                sign = operator[0]
                raise ValueError(
                    f"holds {sign[0]} beside a wildcard, where Docker takes it for an operator; write [{sign[0]}]"
                )
            else:
                accepts, end = _read_one(expression, at)
                looping = expression[end : end + 1] == "*"
                steps = self._loops if looping else self._ones
                _, places = steps.get(expression[at:end], (accepts, 0))
                steps[expression[at:end]] = accepts, places | 1 << index
                at = end + looping
            index += 1
        return 1 << index

    def _forget(self) -> None:
        self._states: dict[tuple[int, int], _State] = {}
        self._masks: dict[str, tuple[int, int]] = {}
        self._start.after.clear()
        self._room = self._cache

    def matches(self, path: str) -> bool:
        """Whether the expression matches the whole path."""
        state = self._start
        for char in path:
            state = state.after.get(char) or self._step(state, char)
            if not state.waiting and not state.inside:
                return False
        return bool(state.waiting & self._end)

    def _step(self, state: _State, char: str) -> _State:
        if not self._room:
            self._forget()
        self._room -= 1
        masks = self._masks.get(char)
        if masks is None:
            taken = sum(places for accepts, places in self._ones.values() if accepts(char))
            looped = sum(places for accepts, places in self._loops.values() if accepts(char))
            masks = self._masks[char] = (taken, looped)
        inside = (state.waiting & self._directories) | state.inside
        waiting = ((state.waiting & masks[0]) << 1) | (state.waiting & masks[1]) | (inside << 1 if char == "/" else 0)
        key = (_flood(waiting, self._free), 0 if char == "\n" else inside)
        following = self._states.get(key)
        if following is None:
            following = self._states[key] = _State(*key)
        state.after[char] = following
        return following


def _flood(marks: int, through: int) -> int:
    """Move every mark on through each unbroken run of ``through`` bits above it (an addition carries them all at
    once).
    """
    return (((marks & through) + through) ^ through) | marks


def _read_one(expression: str, at: int) -> tuple[Accepts, int]:
    """What takes one character at this place of the expression, and where the expression goes on."""
    if expression[at] == "[":
        return _read_class(expression, at + 1)
    if expression[at] == ".":
        return lambda char: char != "\n", at + 1
    if (named := _named_class(expression, at)) is not None:
        return named
    wanted, at = _read_character(expression, at)
    return wanted.__eq__, at


def _read_class(expression: str, at: int) -> tuple[Accepts, int]:
    negated = expression.startswith("^", at)
    at += negated
    ranges: list[tuple[str, str]] = []
    nested: list[Accepts] = []
    first = True
    while first or expression[at : at + 1] != "]":
        first = False
        if (named := _named_class(expression, at)) is not None:
            nested.append(named[0])
            at = named[1]
            continue
        low, at = _read_character(expression, at)
        high = low
        if expression[at : at + 1] == "-" and expression[at + 1 : at + 2] != "]":
            high, at = _read_character(expression, at + 1)
        if high < low:
            raise ValueError(f"holds the range {low!r}-{high!r}, which runs backwards")
        ranges.append((low, high))

    def accepts(char: str) -> bool:
        found = any(low <= char <= high for low, high in ranges) or any(accept(char) for accept in nested)
        return found is not negated

    return accepts, at + 1


def _named_class(expression: str, at: int) -> tuple[Accepts, int] | None:
    r"""``\d`` and its kin anywhere, ``[:alpha:]`` and its kin inside brackets (outside, ``[`` never comes here)."""
    if expression.startswith("[:", at) and (end := expression.find(":]", at + 2)) >= 0:
        name = expression[at + 2 : end]
        negated = name.startswith("^")
        name, end = name.removeprefix("^"), end + 2
        if name not in CHARACTER_CLASSES or len(name) == 1:
            raise ValueError(f"holds the unknown character class {name[:LONGEST_CLASS]!r}")
    elif expression[at : at + 1] == "\\" and expression[at + 1 : at + 2] in tuple("dswDSW"):
        name, negated, end = expression[at + 1].lower(), expression[at + 1].isupper(), at + 2
    else:
        return None
    ranges = CHARACTER_CLASSES[name]
    return lambda char: any(low <= char <= high for low, high in ranges) is not negated, end


def _read_character(expression: str, at: int) -> tuple[str, int]:
    if at >= len(expression):
        raise ValueError("holds a character class [...] without its end")
    if expression[at] != "\\":
        return expression[at], at + 1
    char = expression[at + 1 : at + 2]
    if char in CONTROL_ESCAPES:
        return CONTROL_ESCAPES[char], at + 2
    if not char or char.isalnum() or not char.isascii():
        raise ValueError(
            f"escapes {char!r}, which Docker does not take for the character itself; leave out the backslash"
        )
    return char, at + 2
