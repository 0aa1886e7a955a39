"""What hangs says where it does, and ends.

pytest-timeout ends a test after ``timeout`` (pyproject.toml) by an exception, which something may swallow. So a process
whose test has not ended after ``faulthandler_timeout`` either shows the stacks of its threads and ends; pytest-xdist
then fails that test and goes on. Here the same is done for a process that does not end after its last test, and for all
of them when ops/test says by SIGUSR1 that its limit has passed.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from types import FrameType

ENDS_WITHIN_S: Final = 60
STDERR: Final = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real standard error, which tests replace, and listen to SIGUSR1."""
    config.stash[STDERR] = stderr = os.dup(2)
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGUSR1, _end)
    faulthandler.register(signal.SIGUSR1, file=stderr, chain=not hasattr(config, "workerinput"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """From now on only the end of the process is missing."""
    faulthandler.dump_traceback_later(ENDS_WITHIN_S, exit=True, file=session.config.stash[STDERR])


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """Let the workers show their stacks as well, and end as with an interrupt from the keyboard."""
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            if b"execnet" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGUSR1)
    raise KeyboardInterrupt("the limit of ops/test has passed")
