"""What the loop does with a job, whatever happens to the job, its lease or the process."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Never
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from app.errors import DatabaseUnavailable, EngineUnavailable, LeaseLost
from app.queue.lease import Beat, Lease, Settle
from app.queue.loop import Loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
    from typing import Any

PATIENCE_S: Final = 10.0
NEVER_S: Final = 3600.0


@dataclass(frozen=True)
class Task:
    lease: Lease


class Bench:
    """A stage without a table: ``did`` is what happened to its jobs, ``work`` what running one means."""

    name = "bench"

    def __init__(self, jobs: int, work: Callable[[], Awaitable[Settle]], concurrency: int = 1) -> None:
        self.concurrency = concurrency
        self.waiting = deque(Task(Lease(self.name, number, uuid4(), 30)) for number in range(jobs))
        self.work = work
        self.did: list[str] = []
        self.running = self.most_running = 0
        self.renewal: Beat | Exception = Beat.HELD
        self.recovery: Exception | None = None
        self.claims: deque[Exception] = deque()
        self.claiming, self.may_claim = asyncio.Event(), asyncio.Event()
        self.may_claim.set()
        self.begun, self.renewed, self.changed = asyncio.Event(), asyncio.Event(), asyncio.Condition()

    async def recover(self) -> None:
        if self.recovery is not None:
            raise self.recovery

    async def claim(self) -> Task | None:
        self.claiming.set()
        await self.may_claim.wait()
        if self.claims:
            raise self.claims.popleft()
        return self.waiting.popleft() if self.waiting else None

    async def run(self, job: Task) -> Settle:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.begun.set()
        try:
            return await self.work()
        except asyncio.CancelledError:
            await self.say("stopped")
            raise
        finally:
            self.running -= 1

    async def renew(self, job: Task) -> Beat:
        self.renewed.set()
        if isinstance(self.renewal, Exception):
            raise self.renewal
        return self.renewal

    async def hand_back(self, job: Task) -> None:
        await self.say("handed back")

    async def cancel(self, job: Task) -> None:
        await self.say("cancelled")

    async def crash(self, job: Task, error: Exception) -> None:
        await self.say(f"crashed: {error}")

    async def settle(self) -> None:
        await self.say("settled")

    async def say(self, what: str) -> None:
        self.did.append(what)
        async with self.changed:
            self.changed.notify_all()

    async def until(self, *did: str) -> None:
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: self.did == list(did))


async def endless() -> Never:
    while True:
        await asyncio.Event().wait()


def stubborn(free: asyncio.Event) -> Callable[[], Awaitable[Settle]]:
    """Work that no cancellation ends."""

    async def work() -> Settle:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return endless

    return work


def failing(error: Exception) -> Callable[[], Awaitable[Never]]:
    async def work() -> Never:
        raise error

    return work


def new_loop(stage: Bench, *, settle_s: float = PATIENCE_S, stop_s: float = PATIENCE_S) -> Loop[Task]:
    wake = asyncio.Event()
    return Loop(stage, wake, poll_s=NEVER_S, beat_s=0.01, settle_s=settle_s, stop_s=stop_s)


@asynccontextmanager
async def running(loop: Loop[Task]) -> AsyncIterator[asyncio.Task[None]]:
    """The loop at work; on leaving it has been told to stop and has ended."""
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        loop.stop()
        await asyncio.wait_for(task, PATIENCE_S)


async def turned(stage: Bench, **limits: float) -> list[MutableMapping[str, Any]]:
    """One turn and everything that its jobs lead to; what was logged."""
    loop = new_loop(stage, **limits)
    with capture_logs() as logged:
        await loop.turn()
        await asyncio.wait_for(loop.settled(), PATIENCE_S)
    return logged


def events(logged: list[MutableMapping[str, Any]]) -> list[str]:
    return [entry["event"] for entry in logged]


# ---------------------------------------------------------------- jobs that end by themselves


async def test_a_job_is_run_and_then_settled() -> None:
    stage = Bench(1, lambda: asyncio.sleep(0, stage.settle))
    assert await turned(stage) == []
    assert stage.did == ["settled"]


@pytest.mark.parametrize(
    ("error", "event"),
    [(EngineUnavailable("the engine is away"), "job_interrupted"), (KeyError("a bug"), "job_crashed")],
)
async def test_a_job_that_raises_has_crashed_and_what_may_pass_is_no_bug(error: Exception, event: str) -> None:
    stage = Bench(1, failing(error))
    assert events(await turned(stage)) == [event]
    assert stage.did == [f"crashed: {error}"]


async def test_a_settling_that_raises_has_crashed() -> None:
    stage = Bench(1, lambda: asyncio.sleep(0, failing(DatabaseUnavailable("away"))))
    assert events(await turned(stage)) == ["job_interrupted"]
    assert stage.did == ["crashed: away"]


async def test_a_job_that_cancels_itself_has_crashed() -> None:
    async def work() -> Settle:
        raise asyncio.CancelledError

    stage = Bench(1, work)
    await turned(stage)
    assert stage.did == ["stopped", "crashed: the job cancelled itself"]


async def test_a_job_that_found_its_lease_lost_settles_nothing() -> None:
    stage = Bench(1, failing(LeaseLost("bench", 0)))
    assert events(await turned(stage)) == ["lease_lost"]
    assert stage.did == []


async def test_an_ending_that_fails_is_logged_and_the_loop_goes_on() -> None:
    class Broken(Bench):
        async def crash(self, job: Task, error: Exception) -> None:
            raise EngineUnavailable("away")

    stage = Broken(1, failing(KeyError("a bug")))
    assert events(await turned(stage)) == ["job_crashed", "settling_failed"]


async def test_a_crash_is_written_down_as_soon_as_the_database_is_back() -> None:
    class Patient(Bench):
        tries = 0

        async def crash(self, job: Task, error: Exception) -> None:
            self.tries += 1
            if self.tries == 1:
                raise DatabaseUnavailable("away")
            await super().crash(job, error)

    stage = Patient(1, failing(EngineUnavailable("the engine is away")))
    assert events(await turned(stage)) == ["job_interrupted", "settling_delayed"]
    assert stage.did == ["crashed: the engine is away"]


# ---------------------------------------------------------------- the heartbeat


async def test_a_lost_lease_stops_the_job_and_settles_nothing() -> None:
    stage = Bench(1, endless)
    stage.renewal = Beat.LOST
    assert events(await turned(stage)) == ["lease_lost"]
    assert stage.did == ["stopped"]


async def test_a_beat_that_raises_counts_as_a_lost_lease() -> None:
    stage = Bench(1, endless)
    stage.renewal = KeyError("a bug")
    assert events(await turned(stage)) == ["beat_crashed", "lease_lost"]
    assert stage.did == ["stopped"]


async def test_a_database_that_is_away_loses_the_lease_only_when_its_time_is_up() -> None:
    stage = Bench(0, endless)
    stage.waiting.append(Task(Lease("bench", 1, uuid4(), 0.2)))
    stage.renewal = DatabaseUnavailable("away")
    begun = asyncio.get_running_loop().time()
    assert events(await turned(stage)) == ["lease_lost"]
    assert asyncio.get_running_loop().time() - begun >= 0.2


async def test_a_renewal_without_an_answer_loses_the_lease_when_its_time_is_up() -> None:
    class Silent(Bench):
        async def renew(self, job: Task) -> Beat:
            await asyncio.Event().wait()
            return Beat.HELD

    stage = Silent(0, endless)
    stage.waiting.append(Task(Lease("bench", 1, uuid4(), 0.2)))
    assert events(await turned(stage)) == ["lease_lost"]


async def test_a_cancelled_job_is_stopped_and_then_settled_as_cancelled() -> None:
    stage = Bench(1, endless)
    stage.renewal = Beat.CANCEL
    assert await turned(stage) == []
    assert stage.did == ["stopped", "cancelled"]


async def test_a_cancellation_that_comes_while_a_job_is_settled_comes_too_late() -> None:
    async def settle() -> None:
        stage.renewed.clear()
        stage.renewal = Beat.CANCEL
        await stage.renewed.wait()
        await stage.settle()

    stage = Bench(1, lambda: asyncio.sleep(0, settle))
    assert await turned(stage) == []
    assert stage.did == ["settled"]


# ---------------------------------------------------------------- the process stops


async def test_a_stop_hands_a_running_job_back() -> None:
    stage = Bench(1, endless)
    async with running(new_loop(stage)):
        await stage.begun.wait()
    assert stage.did == ["stopped", "handed back"]


async def test_a_stop_while_a_job_is_claimed_hands_it_back_before_it_begins() -> None:
    stage = Bench(2, endless, concurrency=2)
    stage.may_claim.clear()
    loop = new_loop(stage)
    async with running(loop):
        await stage.claiming.wait()
        loop.stop()
        stage.may_claim.set()
    assert stage.did == ["handed back"]
    assert not stage.begun.is_set()
    assert len(stage.waiting) == 1, "nothing more was claimed"


async def test_a_stop_lets_a_settling_end() -> None:
    settling, go_on = asyncio.Event(), asyncio.Event()

    async def settle() -> None:
        settling.set()
        await go_on.wait()
        await stage.settle()

    stage = Bench(1, lambda: asyncio.sleep(0, settle))
    loop = new_loop(stage)
    async with running(loop) as task:
        await settling.wait()
        loop.stop()
        await asyncio.wait({task}, timeout=0.1)
        assert not task.done()
        go_on.set()
    assert stage.did == ["settled"]


async def test_a_settling_that_takes_too_long_after_a_stop_is_cut_off_and_handed_back() -> None:
    settling = asyncio.Event()

    async def settle() -> None:
        settling.set()
        await endless()

    stage = Bench(1, lambda: asyncio.sleep(0, settle))
    async with running(new_loop(stage, settle_s=0.05)):
        await settling.wait()
    assert stage.did == ["handed back"]


async def test_a_job_that_does_not_stop_is_handed_back_all_the_same() -> None:
    free = asyncio.Event()
    stage = Bench(1, stubborn(free))
    with capture_logs() as logged:
        async with running(new_loop(stage, stop_s=0.05)):
            await stage.begun.wait()
    free.set()
    assert events(logged) == ["job_did_not_stop"]
    assert stage.did == ["handed back"]


async def test_a_job_that_ends_well_although_it_was_told_to_stop_is_not_handed_back() -> None:
    async def work() -> Settle:
        with suppress(asyncio.CancelledError):
            await endless()
        return stage.settle

    stage = Bench(1, work)
    async with running(new_loop(stage)):
        await stage.begun.wait()
    assert stage.did == ["settled"]


async def test_a_job_that_fails_while_it_stops_is_handed_back_and_that_is_logged() -> None:
    async def work() -> Settle:
        try:
            await endless()
        finally:
            raise KeyError("while cleaning up")

    stage = Bench(1, work)
    with capture_logs() as logged:
        async with running(new_loop(stage)):
            await stage.begun.wait()
    assert events(logged) == ["job_stopped_badly"]
    assert stage.did == ["handed back"]


# ---------------------------------------------------------------- turns


async def test_never_more_jobs_run_than_are_allowed_and_all_get_their_turn() -> None:
    async def work() -> Settle:
        await asyncio.sleep(0)
        return stage.settle

    stage = Bench(7, work, concurrency=3)
    async with running(new_loop(stage)):
        await stage.until(*["settled"] * 7)
    assert stage.most_running == 3


async def test_a_wake_up_makes_it_turn_at_once() -> None:
    stage = Bench(0, lambda: asyncio.sleep(0, stage.settle))
    wake = asyncio.Event()
    async with running(Loop(stage, wake, poll_s=NEVER_S)):
        await stage.claiming.wait()
        stage.waiting.append(Task(Lease("bench", 1, uuid4(), 30)))
        wake.set()
        await stage.until("settled")


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), KeyError("a bug")])
async def test_a_turn_that_fails_is_logged_and_the_next_one_works(error: Exception) -> None:
    stage = Bench(1, lambda: asyncio.sleep(0, stage.settle))
    loop = new_loop(stage)
    stage.recovery = error
    with capture_logs() as logged:
        assert await loop.turn() == 0
        stage.recovery = None
        stage.claims.append(error)
        assert await loop.turn() == 0
    assert events(logged) == ["turn_failed" if isinstance(error, DatabaseUnavailable) else "turn_crashed"] * 2
    assert await loop.turn() == 1
    await stage.until("settled")


async def test_a_loop_that_has_not_turned_yet_is_not_stalled() -> None:
    begun = asyncio.get_running_loop().time()
    loop = new_loop(Bench(0, endless))
    assert begun <= loop.turned_at <= asyncio.get_running_loop().time()


async def test_a_wake_up_makes_a_running_job_renew_its_lease_at_once() -> None:
    wake = asyncio.Event()
    stage = Bench(1, endless)
    async with running(Loop(stage, wake, poll_s=NEVER_S, beat_s=NEVER_S)):
        await asyncio.wait_for(stage.begun.wait(), PATIENCE_S)
        stage.renewal = Beat.CANCEL
        wake.set()
        await stage.until("stopped", "cancelled")
