"""Tagship as users run it, except that the whole process stops itself (SIGSTOP) at a named checkpoint: the moment when
it logs that event. ``python -m tests.fault.paused EVENT serve``; a number, as in ``EVENT:2``, means the event's second
time; ``@FILE`` means whatever event the file names at that time.

The checkpoints are the events of the log, so the product has nothing in it for tests.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable


def stop_at(checkpoint: str) -> None:
    """From now on, stop this process when it logs the event, once."""
    if checkpoint.startswith("@"):
        _stop_when(_is_named_in(Path(checkpoint[1:])))
        return
    name, _, nth = checkpoint.partition(":")
    left = int(nth or 1)

    def is_it(event: object) -> bool:
        nonlocal left
        left -= event == name
        return event == name and left == 0

    _stop_when(is_it)


def _is_named_in(file: Path) -> Callable[[object], bool]:
    """Whether the file names an event; it does so once."""

    def is_it(event: object) -> bool:
        if not file.exists() or file.read_text() != event:
            return False
        file.unlink()
        return True

    return is_it


def _stop_when(is_it: Callable[[object], bool]) -> None:
    make_record = logging.getLogRecordFactory()

    def record_or_stop(*args: Any, **more: Any) -> logging.LogRecord:
        record = make_record(*args, **more)
        if isinstance(record.msg, dict) and is_it(record.msg.get("event")):
            os.kill(os.getpid(), signal.SIGSTOP)
        return record

    logging.setLogRecordFactory(record_or_stop)


if __name__ == "__main__":
    stop_at(sys.argv.pop(1))
    main()
