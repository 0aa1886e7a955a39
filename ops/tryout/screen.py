"""What the person at the terminal sees: a line for each thing that happens, when it happened and how long it took."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
CYAN: Final = "36"


class Screen:
    """Writes the timeline to standard output, in colour on a terminal only; every line is out at once."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def heading(self, text: str) -> None:
        self._write(f"\n{self._paint(BOLD, text)}")

    def did(self, text: str, since: float | None = None) -> None:
        """Something happened; ``since`` (of ``time.monotonic``) is when it began."""
        took = "" if since is None else self._paint(DIM, f"  ({time.monotonic() - since:.1f} s)")
        self._write(f"{self._clock()}  {text}{took}")

    def proved(self, text: str, since: float | None = None) -> None:
        self.did(f"{self._paint(GREEN, 'ok')}  {text}", since)

    def heard(self, who: str, text: str) -> None:
        first, *rest = text.splitlines() or [""]
        self.did(f"{self._paint(CYAN, who)}  {first}")
        for line in rest:
            self.plain(f"{' ' * 12}{line}")

    def failed(self, text: str) -> None:
        self._write(f"{self._clock()}  {self._paint(RED, 'FAILED')}  {text}")

    def plain(self, text: str = "") -> None:
        self._write(text)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def _clock(self) -> str:
        return self._paint(DIM, f"{self.seconds:7.1f} s")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    @staticmethod
    def _write(text: str) -> None:
        print(text, flush=True)
