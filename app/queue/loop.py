"""Claim, run, settle: the one loop behind every stage. It knows no stage and no table.

Polling is the truth and a wake-up only a hint, so a lost NOTIFY costs at most one poll interval. Each job runs as its
own task beside a heartbeat that renews its lease; when the lease is lost, the job is cancelled and whatever it still
tries to write is fenced off by its token.

A job that must end early (the process stops, the lease is lost, a person cancels) has ``STOP_S`` for all of this: a
settling that is under way ends by itself, what runs is cancelled and cleans up. Then its row is settled, whether the
job has ended or not. Together that stays below ten seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Generic

import structlog

from app.errors import AppError, LeaseLost
from app.queue.lease import Beat, JobT, Stage
from app.queue.stored import until_stored
from app.queue.watch import CANCELLED, ENDED, HANDED_BACK, LEASE_LOST, RETRIED, UNSETTLED, Unwatched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from app.queue.watch import Watch

log = structlog.get_logger(__name__)

POLL_S: Final = 2.0
REST_S: Final = 0.05
BEAT_S: Final = 1.0
TURN_S: Final = 1.0
SETTLE_S: Final = 3.0
STOP_S: Final = 6.0
HANDBACK_S: Final = 2.0


class Loop(Generic[JobT]):
    """Runs one stage until it is told to stop. ``turned_at`` is the event loop's clock at the last turn (at first: when
    the loop was made), for readiness checks. Make it inside a running event loop.

    ``beat_s`` is the time between two renewals, ``settle_s`` what a settling gets that is under way when the job must
    end early, and ``stop_s`` what the job gets in all.
    """

    def __init__(
        self,
        stage: Stage[JobT],
        wake: asyncio.Event,
        *,
        poll_s: float = POLL_S,
        beat_s: float = BEAT_S,
        settle_s: float = SETTLE_S,
        stop_s: float = STOP_S,
        watch: Watch | None = None,
    ) -> None:
        self.stage = stage
        self._watch = watch or Unwatched()
        self._clock = asyncio.get_running_loop().time
        self.turned_at = self._clock()
        self._poll_s, self._beat_s, self._settle_s, self._stop_s = poll_s, beat_s, settle_s, stop_s
        self._wake = wake
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Claim nothing more and hand running jobs back; ``run`` returns when they are."""
        self._stopping.set()
        self._wake.set()

    def turn_age(self) -> float:
        """Seconds since it turned last; may be asked in any thread."""
        return self._clock() - self.turned_at

    async def run(self) -> None:
        """Work until ``stop`` is called, then until every running job has ended or was handed back."""
        structlog.contextvars.bind_contextvars(stage=self.stage.name)
        while not self._stopping.is_set():
            self._wake.clear()
            self._beat_at_once()
            await self._turn_unless_stuck()
            with suppress(TimeoutError):  # a burst of wake-ups is one: each turn asks the database several things
                await asyncio.wait_for(self._stopping.wait(), REST_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._poll_s)
        await self.settled()

    async def _turn_unless_stuck(self) -> None:
        """One turn; a database that does not answer does not keep the process from stopping."""
        turning = asyncio.create_task(self.turn())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({turning, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.wait({turning}, timeout=TURN_S)
        turning.cancel()
        await asyncio.wait({turning})

    def _beat_at_once(self) -> None:
        """Let every running job renew its lease now: whoever woke us may have asked for its end."""
        woken, self._woken = self._woken, asyncio.Event()
        woken.set()

    async def turn(self) -> int:
        """Recover what lost workers left, then claim as much as there is room for; how many jobs were started.

        A failure (the database is away, a bug) is logged and the next turn tries again.
        """
        started = 0
        self.turned_at = self._clock()
        try:
            for outcome in await self.stage.recover() or ():
                self._watch.recovered(outcome)
            while len(self._running) < self.stage.concurrency and not self._stopping.is_set():
                job = await self.stage.claim()
                if job is None:
                    break
                self._spawn(self._supervise(job))
                started += 1
        except AppError as error:
            log.warning("turn_failed", reason=str(error))
            self._watch.turn_failed()
        except Exception:
            log.exception("turn_crashed")
            self._watch.turn_failed()
        return started

    async def settled(self) -> None:
        """Wait until no job of this loop is running."""
        while self._running:
            await asyncio.wait(set(self._running))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()

    async def _supervise(self, job: JobT) -> None:
        """Run one job to its end, or to the moment when it must end early, and leave its row as it should be."""
        structlog.contextvars.bind_contextvars(**{f"{self.stage.name}_id": job.lease.row_id})
        if self._stopping.is_set():  # it was being claimed when the process was told to stop
            await self._conclude(self.stage.hand_back(job), HANDED_BACK)
            return
        begun_at = self._clock()
        self._watch.begun(job.lease.waited_s)
        settling = asyncio.Event()
        runner = asyncio.create_task(self._perform(job, settling))
        beater = asyncio.create_task(self._beat(job))
        stopper = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({runner, beater, stopper}, return_when=asyncio.FIRST_COMPLETED)
            cut = not runner.done() and not await self._end_early(runner, settling)
            outcome = await self._ending(job, runner, beater.result() if beater.done() else None, cut=cut)
            self._watch.ended(outcome, self._clock() - begun_at)
        finally:
            for task in (runner, beater, stopper):
                task.cancel()

    async def _perform(self, job: JobT, settling: asyncio.Event) -> str:
        """Run and settle, and say how it ended; what a job raised is settled too, as soon as the database takes it."""
        try:
            settle = await self.stage.run(job)
            settling.set()
            return await settle() or ENDED
        except LeaseLost:
            raise
        except Exception as error:
            if _is_cut():  # whatever it raises now, it was made to end
                raise
            settling.set()
            _say_crashed(error)
            return await until_stored(partial(self.stage.crash, job, error)) or RETRIED

    async def _end_early(self, runner: asyncio.Task[str], settling: asyncio.Event) -> bool:
        """Make a running job end; whether it was settled all the same."""
        until = self._clock() + self._stop_s
        if settling.is_set():
            await asyncio.wait({runner}, timeout=self._settle_s)
        if not runner.done():
            runner.cancel()
            await asyncio.wait({runner}, timeout=until - self._clock())
        if not runner.done():
            log.error("job_did_not_stop", after_s=self._stop_s)
            return False
        return not runner.cancelled() and runner.exception() is None

    async def _ending(self, job: JobT, runner: asyncio.Task[str], beat: Beat | None, *, cut: bool) -> str:
        """Bring the row into the state that fits how its job ended, and say how; ``cut``: it was made to end."""
        error = _error_of(runner)
        if beat is Beat.LOST or isinstance(error, LeaseLost):
            log.warning("lease_lost")
            return LEASE_LOST
        if cut:
            if error is not None:
                log.warning("job_stopped_badly", exc_info=error)
            if beat is Beat.CANCEL:
                return await self._conclude(self.stage.cancel(job), CANCELLED)
            return await self._conclude(self.stage.hand_back(job), HANDED_BACK)
        if runner.cancelled():
            itself = RuntimeError("the job cancelled itself")
            _say_crashed(itself)
            return await self._conclude(self.stage.crash(job, itself), RETRIED)
        if error is not None:
            _say_unsettled(error)
            return UNSETTLED
        return runner.result()

    async def _conclude(self, ending: Awaitable[str | None], otherwise: str) -> str:
        """Perform an ending and say how it went; one that fails is logged, and the row's lease runs out."""
        try:
            async with asyncio.timeout(HANDBACK_S):
                return await ending or otherwise
        except Exception as failure:  # noqa: BLE001 - it is logged, and the lease is what settles the row
            _say_unsettled(failure)
            return UNSETTLED

    async def _beat(self, job: JobT) -> Beat:
        """Renew the lease every ``beat_s`` and at every wake-up until that is not possible any more; say why."""
        loop = asyncio.get_running_loop()
        held_until = loop.time() + job.lease.seconds
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), min(self._beat_s, job.lease.seconds / 4))
            asked_at = loop.time()
            try:
                async with asyncio.timeout_at(max(held_until, asked_at + self._beat_s)):
                    beat = await self.stage.renew(job)
            except (AppError, TimeoutError):
                if loop.time() >= held_until:
                    return Beat.LOST
                continue
            except Exception:  # a bug: nobody knows whether the lease still holds, so it is taken for lost
                log.exception("beat_crashed")
                return Beat.LOST
            if beat is not Beat.HELD:
                return beat
            held_until = asked_at + job.lease.seconds


def _is_cut() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _error_of(runner: asyncio.Task[str]) -> Exception | None:
    if not runner.done() or runner.cancelled():
        return None
    error = runner.exception()
    return error if error is None or isinstance(error, Exception) else RuntimeError(repr(error))


def _say_crashed(error: Exception) -> None:
    if isinstance(error, AppError) and error.retryable:
        log.warning("job_interrupted", reason=str(error))
    else:
        log.error("job_crashed", exc_info=error)


def _say_unsettled(failure: Exception) -> None:
    if isinstance(failure, AppError | TimeoutError):
        log.warning("settling_failed", reason=str(failure) or "the database did not answer in time")
    else:
        log.error("settling_crashed", exc_info=failure)
