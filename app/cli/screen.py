"""What a command prints: results to standard output, everything about the way there to standard error."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from app.cli.text import clean, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self, TextIO

ERASE_LINE = "\r\x1b[K"


class Screen:
    """One command's output. With ``as_json`` standard output holds the API's document and nothing else."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter must not end a command

    def say(self, sentence: str) -> None:
        """One line about how it goes."""
        click.echo(clean(sentence), err=True)

    def document(self, raw: bytes) -> None:
        """The API's answer, byte for byte."""
        if raw.strip():
            click.echo(raw.rstrip(b"\n"))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
        """Aligned rows, or, to standard error, the sentence that there are none."""
        if not rows:
            self.say(nothing)
            return
        click.echo("\n".join(table(columns, rows)))

    def log(self, text: str) -> None:
        """Whole lines of a log, to standard error when a program reads the other for JSON."""
        stream = sys.stderr if self.as_json else sys.stdout
        shown = clean(text, colours=_colours(stream))
        click.echo(shown, nl=not shown.endswith("\n"), file=stream, color=True)

    def log_parts(self, parts: Iterable[str]) -> None:
        """A log that arrives in parts cut anywhere, printed by whole lines."""
        left = ""
        for part in parts:
            whole, newline, left = (left + part).rpartition("\n")
            if newline:
                self.log(whole + "\n")
        if left:
            self.log(left)


class Progress:
    """What is being waited for: one line that is rewritten on a terminal, a line for each change elsewhere."""

    def __init__(self) -> None:
        self._live = _is_terminal(sys.stderr)
        self._begun = time.monotonic()
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._last:
            click.echo(ERASE_LINE, nl=False, err=True, color=True)

    def show(self, text: str) -> None:
        """From now on it goes like this."""
        text = clean(text).replace("\n", " ")
        if self._live:
            line = f"{text} ({time.monotonic() - self._begun:.0f} s)"
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"{ERASE_LINE}{line[:width]}", nl=False, err=True, color=True)
        elif text != self._last:
            click.echo(text, err=True)
        self._last = text


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def _colours(stream: TextIO) -> bool:
    """Whether colours may be printed: to a terminal, unless ``NO_COLOR`` (https://no-color.org) is set."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR")
