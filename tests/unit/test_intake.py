"""Bodies that arrive side by side hold a bounded memory, and give all of it back however they end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from app.deliveries.intake import Intake
from app.github.signature import SignatureCheck, sign
from app.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.deliveries.intake import Body

PART: Final = b"x" * 10


def check(body: bytes = b"") -> SignatureCheck:
    return SignatureCheck(["a secret"], sign("a secret", body))


async def parts(count: int, gate: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """So many parts, the last of them when the gate is open."""
    for number in range(count):
        if gate is not None and number == count - 1:
            await gate.wait()
        yield PART


async def begun(intake: Intake, count: int, gate: asyncio.Event) -> asyncio.Task[Body]:
    """A body of which all but the last part has arrived."""
    before = intake._held
    reading = asyncio.create_task(intake.read(parts(count, gate), check()))
    while intake._held < before + (count - 1) * len(PART):
        await asyncio.sleep(0)
    return reading


async def test_a_body_is_checked_and_kept_as_it_arrives() -> None:
    intake, body = Intake(1000, 1000), PART * 7
    signed = check(body)
    read = await intake.read(parts(7), signed)
    assert (read.held, intake._held, signed.verify()) == (70, 70, 0)
    assert read.whole() == body
    read.leave()
    assert intake._held == 0


@pytest.mark.parametrize("count", [8, 100], ids=["somewhat", "far"])
async def test_what_is_too_large_is_refused_and_holds_nothing(count: int) -> None:
    intake = Intake(1000, 70)
    with pytest.raises(Problem, match="larger") as refused:
        await intake.read(parts(count), check())
    assert (refused.value.status, intake._held) == (413, 0)


async def test_of_what_is_far_too_large_no_more_is_read() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += len(PART)
            yield PART

    with pytest.raises(Problem):
        await Intake(1000, 70).read(endless(), check())
    assert read == 220


async def test_a_body_that_is_left_behind_holds_nothing() -> None:
    intake, gate = Intake(1000, 1000), asyncio.Event()
    reading = await begun(intake, 5, gate)
    reading.cancel()
    await asyncio.wait({reading})
    assert intake._held == 0


async def test_when_memory_is_full_the_one_that_came_first_is_given_up() -> None:
    intake, gate = Intake(100, 100), asyncio.Event()
    slow = [await begun(intake, 5, gate) for _ in range(2)]
    read = await intake.read(parts(5), check())
    assert read.held == 50
    gate.set()
    with pytest.raises(Problem, match="too slowly") as refused:
        await slow[0]
    assert refused.value.status == 503
    assert (await slow[1]).held == 50
    assert intake._held == 100


async def test_what_is_being_worked_on_is_waited_for_and_never_given_up() -> None:
    intake = Intake(100, 100)
    working = await intake.read(parts(10), check())
    waiting = asyncio.create_task(intake.read(parts(10), check()))
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()
    assert working.whole() == PART * 10
    working.leave()
    assert (await asyncio.wait_for(waiting, 30)).held == 100


async def test_many_large_bodies_at_once_all_come_to_an_end() -> None:
    intake = Intake(100, 100)

    async def one() -> str:
        try:
            body = await intake.read(parts(9), check())
        except Problem as problem:
            return str(problem.status.value)
        body.leave()
        return "read"

    ends = await asyncio.wait_for(asyncio.gather(*(one() for _ in range(20))), 60)
    assert "read" in ends
    assert intake._held == 0
