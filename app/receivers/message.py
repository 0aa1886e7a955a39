"""A message as a value, before any receiver's form: what people are to read, and no markup. Pure.

Its texts come from strangers (tags, logs, errors of engines): they are cleaned here of what moves cursors or turns the
direction of writing, and each form escapes what its receiver would take for markup.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PART: Final = 1000
LONGEST_LOG_LINE: Final = 300
SHORTEST_LINE: Final = 80
CUT: Final = "…"

# Escape sequences of terminals, as ECMA-48 has them: control sequences, strings up to their end, and two characters.
TERMINAL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)")
# What has no picture, or changes how others look: controls, marks of direction (UAX 9), separators, lone surrogates.
UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class Icon(Enum):
    """A picture, by its name where receivers know names, and as the character itself."""

    PACKAGE = ("package", "\N{PACKAGE}")
    DONE = ("white_check_mark", "\N{WHITE HEAVY CHECK MARK}")
    WARNING = ("warning", "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}")
    BROKEN = ("x", "\N{CROSS MARK}")
    HELLO = ("wave", "\N{WAVING HAND SIGN}")
    MANY = ("incoming_envelope", "\N{INCOMING ENVELOPE}")

    @property
    def code(self) -> str:
        """Its name between colons, as Slack and Mattermost write it."""
        return f":{self.value[0]}:"

    @property
    def character(self) -> str:
        return self.value[1]


class Tone(StrEnum):
    """How a message is meant, for receivers that colour it."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Bold:
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    text: str


Part: TypeAlias = str | Bold | Code
Line: TypeAlias = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """``title`` is ours, ``url`` begins with the address that Tagship has in public."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Message:
    """``headline`` alone tells what happened; ``lines`` add to it. ``log`` are the last lines of an output, which
    ``log_of`` names where that is not plain, and ``footer`` says where it comes from.
    """

    icon: Icon
    tone: Tone
    headline: Line
    lines: tuple[Line, ...] = ()
    log_of: str = ""
    log: tuple[str, ...] = ()
    footer: Line = ()
    link: Link | None = None


def one_line(text: object, most: int = LONGEST_PART) -> str:
    """A text of anybody's as one line of so many characters at most, of which each is what it looks like."""
    return cut(" ".join(UNSEEN.sub(" ", TERMINAL.sub("", str(text))).split()), most)


def log_line(text: object) -> str:
    """A line of an output, with its blanks, shown as a terminal would at the end."""
    return cut(UNSEEN.sub("", TERMINAL.sub("", str(text).replace("\t", "    "))).rstrip(), LONGEST_LOG_LINE)


def cut(text: str, most: int) -> str:
    """The beginning of a text, and a sign where something was left out."""
    return text if len(text) <= most else text[: most - len(CUT)] + CUT


def text_of(part: Part) -> str:
    return part if isinstance(part, str) else part.text


def length(line: Line) -> int:
    return sum(len(text_of(part)) for part in line)


def shorten(line: Line, most: int) -> Line:
    """The line itself where it has so many characters at most, else its beginning and the sign of what is missing."""
    if length(line) <= most:
        return line
    kept: list[Part] = []
    left = most - len(CUT)
    for part in line:
        shown = text_of(part)[:left]
        if shown:
            kept.append(shown if isinstance(part, str) else replace(part, text=shown))
        left -= len(shown)
    return (*kept, CUT)


def plain(message: Message) -> str:
    """The message in words alone, as programs and lists show it."""
    lines = [f"{message.icon.character} {plain_line(message.headline)}", *map(plain_line, message.lines)]
    if message.log:
        lines += [*([f"{message.log_of}:"] if message.log_of else []), *message.log]
    return "\n".join(lines)


def plain_line(line: Line) -> str:
    return "".join(map(text_of, line))


def fitting(message: Message, fits: Callable[[Message], bool]) -> Message:
    """The message itself where it fits, else what is left of it when as little as possible was taken away."""
    while not fits(message):
        less = shorter(message)
        if less == message:
            break
        message = less
    return message


def shorter(message: Message) -> Message:
    """A step down: older half of the log first, then the ends of the longest lines, then the last lines, then the end
    of the headline; the same message where nothing is left to take.
    """
    if message.log:
        return replace(message, log=message.log[(len(message.log) + 1) // 2 :])
    longest = max(map(length, message.lines), default=0)
    if longest > SHORTEST_LINE:
        most = max(longest // 2, SHORTEST_LINE)
        return replace(message, lines=tuple(shorten(line, most) for line in message.lines))
    if message.lines:
        kept = message.lines[: len(message.lines) // 2]
        return replace(message, lines=kept)
    if message.footer:
        return replace(message, footer=())
    most = max(length(message.headline) // 2, 1)
    return replace(message, headline=shorten(message.headline, most))
