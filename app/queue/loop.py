"""Claim, run, settle: the one loop behind every stage. It knows no stage and no table.

Polling is the truth and a wake-up only a hint, so a lost NOTIFY costs at most one poll interval. Each job runs as its
own task beside a heartbeat that renews its lease; when the lease is lost, the job is cancelled and whatever it still
tries to write is fenced off by its token.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic

import structlog

from app.errors import AppError, LeaseLost
from app.queue.lease import Beat, JobT, Stage

if TYPE_CHECKING:
    from collections.abc import Coroutine

log = structlog.get_logger(__name__)

POLL_S: Final = 2.0
BEAT_S: Final = 1.0
HANDBACK_S: Final = 5.0


class Loop(Generic[JobT]):
    """Runs one stage until it is told to stop. ``turned_at`` is the loop's clock at its last turn, for readiness
    checks.
    """

    def __init__(self, stage: Stage[JobT], wake: asyncio.Event, *, poll_s: float = POLL_S) -> None:
        self.stage = stage
        self.poll_s = poll_s
        self.turned_at = 0.0
        self._wake = wake
        self._stopping = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Claim nothing more and hand running jobs back; ``run`` returns when they are."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Work until ``stop`` is called, then until every running job has been handed back."""
        structlog.contextvars.bind_contextvars(stage=self.stage.name)
        while not self._stopping.is_set():
            self._wake.clear()
            await self.turn()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self.poll_s)
        while self._running:
            await asyncio.wait(set(self._running))

    async def turn(self) -> int:
        """Recover what lost workers left, then claim as much as there is room for; how many jobs were started.

        A failure (the database is away, a bug) is logged and the next turn tries again.
        """
        started = 0
        self.turned_at = asyncio.get_running_loop().time()
        try:
            await self.stage.recover()
            while len(self._running) < self.stage.concurrency and not self._stopping.is_set():
                job = await self.stage.claim()
                if job is None:
                    break
                self._spawn(self._supervise(job))
                started += 1
        except AppError as error:
            log.warning("turn_failed", reason=str(error))
        except Exception:
            log.exception("turn_crashed")
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
        structlog.contextvars.bind_contextvars(**{f"{self.stage.name}_id": job.lease.row_id})
        runner = asyncio.create_task(self.stage.run(job))
        beater = asyncio.create_task(self._beat(job))
        stopper = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({runner, beater, stopper}, return_when=asyncio.FIRST_COMPLETED)
            ended = runner.done()
            if not ended:
                runner.cancel()
                await asyncio.wait({runner})
            await self._ending(job, runner, beater.result() if beater.done() else None, ended=ended)
        finally:
            for task in (beater, stopper):
                task.cancel()

    async def _ending(self, job: JobT, runner: asyncio.Task[None], beat: Beat | None, *, ended: bool) -> None:
        """Bring the row into the state that fits how its job ended."""
        error = None if runner.cancelled() else runner.exception()
        try:
            async with asyncio.timeout(HANDBACK_S):
                if beat is Beat.LOST or isinstance(error, LeaseLost):
                    log.warning("lease_lost")
                elif error is not None and ended:
                    log.error("job_crashed", exc_info=error)
                    await self.stage.crash(job, error if isinstance(error, Exception) else RuntimeError(str(error)))
                elif beat is Beat.CANCEL:
                    await self.stage.cancel(job)
                elif not ended:
                    await self.stage.hand_back(job)
        except (AppError, TimeoutError) as failure:
            log.warning("settling_failed", reason=str(failure) or "the database did not answer in time")
        except Exception:
            log.exception("settling_crashed")

    async def _beat(self, job: JobT) -> Beat:
        """Renew the lease until that is not possible any more; say why."""
        loop = asyncio.get_running_loop()
        held_until = loop.time() + job.lease.seconds
        while True:
            await asyncio.sleep(min(BEAT_S, job.lease.seconds / 4))
            try:
                beat = await self.stage.renew(job)
            except AppError:
                if loop.time() >= held_until:
                    return Beat.LOST
                continue
            if beat is not Beat.HELD:
                return beat
            held_until = loop.time() + job.lease.seconds
