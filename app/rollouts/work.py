"""Carry one rollout out: apply the spec once, watch until the judgement is final, and put back what ran before if it
failed.

The order of effects, each of which may be the last one before a crash:
1. the row is claimed under a lease; 2. the swarm has the spec, labelled with the rollout's id, so that applying again
is no change; 3. the row says ``converging``; 4. every look at the tasks is recorded; 5. one transaction settles the
rollout, says what the product is now and queues a notice. When the judgement is bad, the reason is recorded first
(4a), then what ran before is put back (4b), then the row is settled: a successor that finds a recorded reason goes on
with 4b. An engine or database that is away is no judgement: the rollout is put off and looked at again.

A removal scales the service to nothing, watches its tasks go, removes the service, and then deletes the product in one
statement. It has no way back and never fails: whatever stops it puts it off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from app.engine.shape import LABEL_ROLLOUT
from app.errors import AppError, LeaseLost, sentence_of
from app.notices import store as notices
from app.notices.model import NoticeEvent
from app.postgres.pool import transaction
from app.queue.watch import LEASE_LOST, RETRIED, uncounted
from app.rollouts import store
from app.rollouts.evidence import task_error
from app.rollouts.frozen import open_env
from app.rollouts.image import exposed_port, refuse_unreachable
from app.rollouts.judge import Broken, Expected, judge, judge_restored
from app.rollouts.look import Lookout
from app.rollouts.model import Rollout, RolloutKind, RolloutState, facts_of, service_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess
    from app.engine.shape import ServiceTarget
    from app.postgres.pool import Connection, Pool
    from app.queue.lease import Beat, Lease, Settle
    from app.sealing import Vault

log = structlog.get_logger(__name__)

# swarmkit waits a minute for an old task that was never placed before it starts another in its slot.
RESTORE: Final = timedelta(seconds=150)
AGAIN_S: Final = 3.0
SHOWN_TASKS: Final = 5
REMOVED: Final = "removed"


@dataclass(frozen=True, slots=True)
class ClaimedRollout:
    """A rollout that this worker holds the lease of."""

    lease: Lease
    rollout: Rollout


class RolloutStage:
    """The stage that brings products to what they are pinned to."""

    name = store.STAGE

    def __init__(
        self,
        pool: Pool,
        engine: Engine,
        vault: Vault,
        *,
        worker: str,
        concurrency: int,
        lease_s: float,
        monitor_s: float,
        timeout_s: float,
        registry: RegistryAccess | None = None,
        shipped: Callable[[float], None] = uncounted,
    ) -> None:
        self._shipped = shipped
        self.concurrency = concurrency
        self._pool, self._engine, self._vault, self._registry = pool, engine, vault, registry
        self._worker, self._lease_s, self._timeout_s = worker, lease_s, timeout_s
        self._monitor = timedelta(seconds=monitor_s)

    async def recover(self) -> None:
        """Nothing to do: a rollout whose worker was lost is claimed again as it is."""

    async def claim(self) -> ClaimedRollout | None:
        """Claim a rollout, if the engine answers: its deadline must not pass while nothing can be done."""
        if not await self._engine.answers():
            return None
        async with transaction(self._pool) as conn:
            claimed = await store.claim(
                conn, token=uuid4(), lease_s=self._lease_s, worker=self._worker, timeout_s=self._timeout_s
            )
        return ClaimedRollout(*claimed) if claimed else None

    async def renew(self, job: ClaimedRollout) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job.lease)

    async def run(self, job: ClaimedRollout) -> Settle:
        """Bring the service to what the rollout wants, or back to what it was, and say how to settle the row."""
        rollout = job.rollout
        log.info("rollout_started", product=rollout.slug, image=rollout.image, reason=str(rollout.reason))
        swarm = Lookout(self._pool, self._engine, job.lease, self._registry)
        if rollout.kind is RolloutKind.REMOVE:
            return await self._remove(job, swarm)
        if rollout.error is None:
            failure = await self._go_forward(job, swarm)
            if failure is None:
                return partial(self._settle_done, job)
            await self._record(job, failure)
        kept = await self._go_back(job, swarm)
        return partial(self._settle_back, job, kept=kept)

    async def hand_back(self, job: ClaimedRollout) -> None:
        async with transaction(self._pool) as conn:
            handed_back = await store.hand_back(conn, job.lease)
        if handed_back:
            log.info("rollout_handed_back")

    async def cancel(self, job: ClaimedRollout) -> None:
        """A running rollout is not cancelled, it is superseded; what arrives here is handed back."""
        await self.hand_back(job)

    async def crash(self, job: ClaimedRollout, error: Exception) -> str:
        """The engine went away, or an error of ours: look again in a moment, until the deadline has passed."""
        sentence = sentence_of(error)
        async with transaction(self._pool) as conn:
            now = await store.time_under_lease(conn, job.lease)
            rollout = await store.read(conn, job.rollout.id)
            if now is None or rollout is None or rollout.deadline_at is None:
                return LEASE_LOST
            gives_up = rollout.kind is not RolloutKind.REMOVE
            if gives_up and now >= rollout.deadline_at and rollout.error is None:
                await store.record_failure(conn, job.lease, sentence, [])
            ends = gives_up and now >= rollout.deadline_at + RESTORE and rollout.error is not None
            if ends:
                await self._settle_failed(conn, job.lease, rollout, RolloutState.FAILED)
            else:
                await store.record_progress(conn, job.lease, sentence, None)
                await store.delay(conn, job.lease, AGAIN_S)
        if ends:
            log.warning("rollout_failed", product=rollout.slug, state="failed", reason=rollout.error)
            return RolloutState.FAILED
        log.warning("rollout_delayed", reason=sentence)
        return RETRIED

    # ------------------------------------------------------------------ forward

    async def _go_forward(self, job: ClaimedRollout, swarm: Lookout) -> Broken | None:
        """Apply and watch; None when it converged, else why it never will. Raises what another try may mend."""
        try:
            return await self._converge(job, swarm)
        except LeaseLost:
            raise
        except AppError as error:
            if error.retryable:
                raise
            return Broken(str(error))

    async def _converge(self, job: ClaimedRollout, swarm: Lookout) -> Broken | None:
        if job.rollout.state is not RolloutState.CONVERGING:
            await self._apply(job, swarm)
        rollout = await swarm.rollout(job.rollout.id)
        assert rollout is not None
        assert rollout.deadline_at is not None
        expected = Expected.of(rollout, monitor=self._monitor, deadline=rollout.deadline_at)
        failure = await swarm.watch(
            rollout.service_name,
            lambda service, steady, now: judge(service, expected, steady, now),
            rollout.steady,
        )
        if failure is None and rollout.kind is RolloutKind.STOP:
            await self._give_port_up(rollout, swarm)
        return failure

    async def _apply(self, job: ClaimedRollout, swarm: Lookout) -> None:
        rollout = job.rollout
        if rollout.kind is RolloutKind.DEPLOY:
            await refuse_unreachable(self._engine, self._registry, rollout.image)
        service = await swarm.read(rollout.service_name)
        async with transaction(self._pool) as conn:
            await store.note_tasks_before(conn, job.lease, [task.id for task in service.tasks] if service else [])
        service_id = found_port = None
        if service is not None or rollout.kind is RolloutKind.DEPLOY:
            target = await self._target(rollout)
            service_id = await swarm.apply(target)
            log.info("service_applied", product=rollout.slug, service_id=service_id)
            found_port = target.container_port if rollout.container_port is None else None
        async with transaction(self._pool) as conn:
            if not await store.mark_converging(conn, job.lease, service_id, found_port):
                raise swarm.lost()
        log.info("rollout_converging", product=rollout.slug)

    async def _give_port_up(self, rollout: Rollout, swarm: Lookout) -> None:
        """Leave a stopped product's port to others, as soon as its product asks for another one."""
        if await swarm.read(rollout.service_name) is not None:
            await swarm.apply(replace(await self._target(rollout), published=False), replaces=rollout.id)

    async def _target(self, rollout: Rollout) -> ServiceTarget:
        container_port = rollout.container_port or await self._exposed_port(rollout) or rollout.port
        env = open_env(self._vault, rollout.slug, rollout.env_sealed)
        return service_target(rollout, env, container_port=container_port, monitor_s=self._monitor.total_seconds())

    async def _exposed_port(self, rollout: Rollout) -> int | None:
        pull = rollout.wanted > 0
        return await exposed_port(self._engine, self._registry, rollout.image, pull=pull, within_s=self._timeout_s)

    async def _settle_done(self, job: ClaimedRollout) -> str:
        rollout = job.rollout
        stopped = rollout.kind is RolloutKind.STOP
        async with transaction(self._pool) as conn:
            held = await store.settle(
                conn,
                job.lease,
                RolloutState.DONE,
                status="stopped" if stopped else "running",
                live=None if stopped else rollout.id,
            )
            if not held:
                raise job.lease.lost()
            settled = replace(rollout, state=RolloutState.DONE)
            await notices.enqueue(conn, NoticeEvent.ROLLOUT_DONE, rollout.id, facts_of(settled))
            since_push = await store.seconds_since_push(conn, rollout.id)
        log.info("rollout_done", product=rollout.slug)
        if since_push is not None:
            self._shipped(since_push)
        return RolloutState.DONE

    # ------------------------------------------------------------------ away

    async def _remove(self, job: ClaimedRollout, swarm: Lookout) -> Settle:
        """Stop what runs, and take the service away. Tasks that do not stop in time, say those of a lost node, go when
        the swarm reaches them; a service that is not ours is left alone.
        """
        failure = await self._go_forward(job, swarm)
        if failure is not None:
            log.warning("product_not_stopped", product=job.rollout.slug, reason=failure.sentence)
        await swarm.remove(job.rollout.service_name, job.rollout.slug)
        return partial(self._settle_removed, job)

    async def _settle_removed(self, job: ClaimedRollout) -> str:
        async with transaction(self._pool) as conn:
            if not await store.finish_removal(conn, job.lease):
                raise job.lease.lost()
        log.info("product_removed", product=job.rollout.slug)
        return REMOVED

    # ------------------------------------------------------------------ back

    async def _record(self, job: ClaimedRollout, failure: Broken) -> None:
        shown = [await task_error(self._engine, task) for task in failure.tasks[:SHOWN_TASKS]]
        async with transaction(self._pool) as conn:
            if not await store.record_failure(conn, job.lease, failure.sentence, shown):
                raise job.lease.lost()
        log.warning("rollout_broken", product=job.rollout.slug, reason=failure.sentence)

    async def _go_back(self, job: ClaimedRollout, swarm: Lookout) -> bool:
        """Put what ran before back; whether it really runs and stays up."""
        try:
            return job.rollout.kind is RolloutKind.DEPLOY and await self._restore(job, swarm)
        except LeaseLost:
            raise
        except AppError as error:
            if error.retryable:
                raise
            log.warning("restore_failed", product=job.rollout.slug, reason=str(error))
            return False

    async def _settle_back(self, job: ClaimedRollout, *, kept: bool) -> str:
        async with transaction(self._pool) as conn:
            rollout = await store.read(conn, job.rollout.id)
            assert rollout is not None
            state = RolloutState.ROLLED_BACK if kept else RolloutState.FAILED
            await self._settle_failed(conn, job.lease, rollout, state)
        log.warning("rollout_failed", product=rollout.slug, state=str(state), reason=rollout.error)
        return state

    async def _settle_failed(self, conn: Connection, lease: Lease, rollout: Rollout, state: RolloutState) -> None:
        """Say that it failed, and whether what ran before runs."""
        status = "running" if state is RolloutState.ROLLED_BACK else "failed"
        if not await store.settle(conn, lease, state, status=status, live=rollout.live_rollout_id):
            raise lease.lost()
        await notices.enqueue(conn, NoticeEvent.ROLLOUT_FAILED, rollout.id, facts_of(replace(rollout, state=state)))

    async def _restore(self, job: ClaimedRollout, swarm: Lookout) -> bool:
        """Make the service what it was; whether all its replicas run and stay up.

        Without an earlier rollout the service is scaled to nothing, so that a container that cannot run is not
        restarted for ever.
        """
        live = job.rollout.live_rollout_id
        good = await swarm.rollout(live) if live is not None else None
        service = await swarm.read(job.rollout.service_name)
        if good is None:
            if service is not None:
                nothing = replace(await self._target(job.rollout), replicas=0, published=False)
                await swarm.apply(nothing, replaces=job.rollout.id)
            return False
        by_swarm = service is not None and service.labels.get(LABEL_ROLLOUT) == str(good.id)
        if not by_swarm:
            await swarm.apply(await self._target(good), replaces=job.rollout.id)
        log.info("service_put_back", product=good.slug, image=good.image, by_swarm=by_swarm)
        before = replace(good, tasks_before=tuple(task.id for task in service.tasks) if service else ())
        expected = Expected.of(before, monitor=self._monitor, deadline=await swarm.now() + RESTORE)
        broken = await swarm.watch(
            good.service_name, lambda seen, steady, now: judge_restored(seen, expected, steady, now)
        )
        return broken is None
