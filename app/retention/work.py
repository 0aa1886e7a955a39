"""The chores: upkeep that is done from time to time, each by one process at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from app.errors import AppError, sentence_of
from app.postgres.pool import transaction
from app.queue.watch import RETRIED
from app.retention import store
from app.retention.model import Chore

if TYPE_CHECKING:
    from app.postgres.pool import Pool
    from app.queue.lease import Beat, Lease, Settle
    from app.retention.upkeep import Upkeep

log = structlog.get_logger(__name__)

LEASE_S: Final = 60.0
PURGE_EVERY_S: Final = 60.0
STUCK_WAIT_S: Final = 600.0
ORPHANS_EVERY_S: Final = 3600.0
FAILED_WAIT_S: Final = 60.0
HOUR_S: Final = 3600.0
DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class ClaimedChore:
    """A chore that this worker holds the lease of."""

    lease: Lease
    chore: Chore


class ChoreStage:
    """The stage that does what is due from time to time; each chore by one process at a time."""

    name = store.STAGE
    concurrency = 1

    def __init__(self, pool: Pool, upkeep: Upkeep, *, worker: str, interval_h: float) -> None:
        self._pool, self._upkeep, self._worker = pool, upkeep, worker
        self._interval_s = interval_h * HOUR_S
        self._chores = [Chore.PURGE, Chore.ORPHANS] + ([Chore.RETENTION] if interval_h else [])
        self._begun = False

    async def recover(self) -> None:
        """At first: what the process before may have left is looked for at once. A chore whose worker was lost needs
        nothing, it is claimed again.
        """
        if not self._begun:
            async with transaction(self._pool) as conn:
                await store.due_at_start(conn, Chore.ORPHANS)
            self._begun = True

    async def claim(self) -> ClaimedChore | None:
        async with transaction(self._pool) as conn:
            claimed = await store.claim(conn, self._chores, token=uuid4(), lease_s=LEASE_S, worker=self._worker)
        return ClaimedChore(*claimed) if claimed else None

    async def renew(self, job: ClaimedChore) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job.lease)

    async def run(self, job: ClaimedChore) -> Settle:
        """Do it, and say when it is due again."""
        try:
            wait_s = await self._do(job.chore)
        except AppError as error:
            log.warning("chore_put_off", chore=str(job.chore), reason=str(error))
            return partial(self._settle, job, FAILED_WAIT_S, done=False)
        return partial(self._settle, job, wait_s, done=True)

    async def _do(self, chore: Chore) -> float:
        """Do a chore; after how many seconds it is due again, which is not the same moment everywhere."""
        match chore:
            case Chore.PURGE:
                left = await self._upkeep.finish()
                if left:
                    log.warning("removals_wait", images=len(left), reason=left[0].reason)
                return STUCK_WAIT_S if left else PURGE_EVERY_S
            case Chore.RETENTION:
                outcome = await self._upkeep.carry_out(await self._upkeep.decide())
                log.info("retention_done", removed=len(outcome.plan.removed), kept=len(outcome.plan.kept))
                return self._interval_s * random.uniform(0.9, 1.1)  # noqa: S311
            case Chore.ORPHANS:
                await self._upkeep.sweep()
                return ORPHANS_EVERY_S * random.uniform(0.9, 1.1)  # noqa: S311

    async def hand_back(self, job: ClaimedChore) -> None:
        async with transaction(self._pool) as conn:
            await store.settle(conn, job.lease, 0, done=False)

    async def cancel(self, job: ClaimedChore) -> None:
        """Nobody cancels a chore; what arrives here is handed back."""
        await self.hand_back(job)

    async def crash(self, job: ClaimedChore, error: Exception) -> str:
        """An error of ours: again in a minute."""
        async with transaction(self._pool) as conn:
            await store.settle(conn, job.lease, FAILED_WAIT_S, done=False)
        log.warning("chore_put_off", chore=str(job.chore), reason=sentence_of(error))
        return RETRIED

    async def _settle(self, job: ClaimedChore, wait_s: float, *, done: bool) -> str:
        async with transaction(self._pool) as conn:
            if not await store.settle(conn, job.lease, wait_s, done=done):
                raise job.lease.lost()
        return DONE if done else RETRIED
