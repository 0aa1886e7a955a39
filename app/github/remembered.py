"""Answers that GitHub need not send twice: each is asked for again with its ETag, and a 304 is answered from here.

Nothing is ever answered without asking, so whoever lost the right to see something is told so by GitHub, and a tag that
moved is seen at once. A 304 costs nothing of the hourly limit when it was asked for with credentials (GitHub's docs:
best practices for the REST API). hishel, which githubkit would use for this, keeps whatever passes, archives too, in an
SQLite database without an upper bound; this is a dictionary with one.

A connection owns one of these, and a connection is one identity: a path alone says whose answer it is.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MOST_ANSWERS: Final = 500
MOST_BYTES: Final = 8 * 1024**2
LARGEST_ANSWER: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class Answered:
    """A body with its ETag; ``more``: its ``Link`` header named a next page."""

    etag: str
    body: bytes
    more: bool = False


class Remembered:
    """The answers used last, by path; the oldest are forgotten when there are too many, or too many bytes of them."""

    def __init__(
        self, *, most: int = MOST_ANSWERS, most_bytes: int = MOST_BYTES, largest: int = LARGEST_ANSWER
    ) -> None:
        self._most, self._most_bytes, self._largest = most, most_bytes, largest
        self._answers: OrderedDict[str, Answered] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, path: str) -> Answered | None:
        """What was last answered there, if that is still known."""
        found = self._answers.get(path)
        if found is not None:
            self._answers.move_to_end(path)
        return found

    def keep(self, path: str, answer: Answered) -> None:
        """Know it from now on instead of what was known there, unless it is too large."""
        self.forget(path)
        if len(answer.body) > self._largest:
            return
        self._answers[path] = answer
        self.bytes += len(answer.body)
        while len(self._answers) > self._most or self.bytes > self._most_bytes:
            _, oldest = self._answers.popitem(last=False)
            self.bytes -= len(oldest.body)

    def forget(self, path: str) -> None:
        known = self._answers.pop(path, None)
        if known is not None:
            self.bytes -= len(known.body)
