"""Tagship as users run it, with a probe in its event loop: ``python -m tests.fault.probed serve``.

At SIGUSR1, and at its end, it prints one line of JSON, ``loop_held``: the longest time since the last such line for
which one step held the loop, by the clock (which on a busy machine counts others' work too) and in processor time, and
what the step was.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import signal
import sys
import time
from typing import Any

from app.__main__ import main


class Probe:
    """Times every step of every event loop of this process."""

    def __init__(self) -> None:
        self.forget()

    def show_and_forget(self, *_: object) -> None:
        self.show()
        self.forget()

    def forget(self) -> None:
        self.clock_ms = self.processor_ms = 0.0
        self.by_clock = self.by_processor = ""
        self.steps = 0

    def install(self) -> None:
        perform = asyncio.Handle._run

        processor = time.thread_time()

        def timed(handle: asyncio.Handle) -> None:
            nonlocal processor  # asked once a step, for it is a system call
            clock, before = time.perf_counter(), processor
            perform(handle)
            processor = time.thread_time()
            self._note(handle, 1000 * (time.perf_counter() - clock), 1000 * (processor - before))

        setattr(asyncio.Handle, "_run", timed)  # noqa: B010 - a probe, not a method that callers know
        signal.signal(signal.SIGUSR1, self.show_and_forget)
        atexit.register(self.show)

    def show(self) -> None:
        seen = {name: round(value, 1) if isinstance(value, float) else value for name, value in vars(self).items()}
        print(json.dumps({"event": "loop_held"} | seen), file=sys.stderr, flush=True)

    def _note(self, handle: asyncio.Handle, clock_ms: float, processor_ms: float) -> None:
        self.steps += 1
        if clock_ms > self.clock_ms:
            self.clock_ms, self.by_clock = clock_ms, described(handle)
        if processor_ms > self.processor_ms:
            self.processor_ms, self.by_processor = processor_ms, described(handle)


def described(handle: asyncio.Handle) -> str:
    """The coroutine whose step it was, with where it waits now; or the function that was called."""
    callback = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return repr(callback)[:200]
    names = []
    awaited: Any = task.get_coro()
    while awaited is not None and hasattr(awaited, "cr_frame"):
        line = awaited.cr_frame.f_lineno if awaited.cr_frame else 0
        names.append(f"{awaited.__qualname__}:{line}")
        awaited = awaited.cr_await
    return " > ".join(names)


if __name__ == "__main__":
    Probe().install()
    main()
