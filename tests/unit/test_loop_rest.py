"""A burst of wake-ups is one: between two turns of a loop there is a rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import app.queue.loop
from app.queue.loop import Loop
from tests.unit.test_loop import NEVER_S, Bench, Task, running

if TYPE_CHECKING:
    import pytest


class Counting(Bench):
    turns = 0

    async def claim(self) -> Task | None:
        self.turns += 1
        return await super().claim()


async def many_wakes(rest_s: float, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many turns a hundred wake-ups in a hundred steps lead to."""
    monkeypatch.setattr(app.queue.loop, "REST_S", rest_s)
    stage, wake = Counting(0, lambda: asyncio.sleep(0, stage.settle)), asyncio.Event()
    async with running(Loop(stage, wake, poll_s=NEVER_S)):
        await stage.claiming.wait()
        for _ in range(100):
            wake.set()
            await asyncio.sleep(0.001)
        return stage.turns


async def test_a_burst_of_wake_ups_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await many_wakes(NEVER_S, monkeypatch) == 1
    assert await many_wakes(0, monkeypatch) > 10, "what keeps it from turning is the rest"
