"""Carry one rollout out: apply the spec once, watch until the judgement is final, and put back what ran before if it
failed.

The order of effects, each of which may be the last one before a crash:
1. the row is claimed under a lease; 2. the swarm has the spec, labelled with the rollout's id, so that applying again
is no change; 3. the row says ``converging``; 4. every look at the tasks is recorded; 5. one transaction settles the
rollout, says what the product is now and queues a notice. When the judgement is bad, the reason is recorded first
(4a), then what ran before is put back (4b), then the row is settled: a successor that finds a recorded reason goes on
with 4b.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import structlog

from app.engine.image import inspect_image
from app.engine.service import apply_service, read_service, task_log_tail
from app.engine.shape import LABEL_ROLLOUT, ServiceTarget
from app.errors import AppError, EngineUnavailable, LeaseLost, RolloutOvertaken, SwarmUnavailable
from app.notices import store as notices
from app.notices.model import NoticeEvent
from app.postgres.pool import transaction
from app.rollouts import store
from app.rollouts.frozen import open_env
from app.rollouts.model import (
    Broken,
    Converged,
    Expected,
    Rollout,
    RolloutKind,
    RolloutState,
    Waiting,
    judge,
    runs_all_of,
    service_target,
)

if TYPE_CHECKING:
    from app.engine.client import Engine
    from app.engine.shape import TaskSnapshot
    from app.postgres.pool import Pool
    from app.queue.lease import Beat, Lease
    from app.sealing import Vault

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.25
# swarmkit waits a minute for an old task that was never placed before it starts another in its slot.
RESTORE_S: Final = 150.0
SHOWN_TASKS: Final = 5
SHOWN_LINES: Final = 20
ENGINE_AWAY_S: Final = 3.0


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
    ) -> None:
        self.concurrency = concurrency
        self._pool, self._engine, self._vault = pool, engine, vault
        self._worker, self._lease_s = worker, lease_s
        self._monitor_s, self._timeout_s = monitor_s, timeout_s

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

    async def run(self, job: ClaimedRollout) -> None:
        """Bring the service to what the rollout wants, or back to what it was, and settle the row."""
        rollout = job.rollout
        log.info("rollout_started", product=rollout.slug, image=rollout.image, reason=str(rollout.reason))
        if rollout.error is None:
            failure = await self._go_forward(job)
            if failure is None:
                await self._settle_done(job)
                return
            await self._record(job, failure)
            job = replace(job, rollout=replace(rollout, error=failure.sentence))
        await self._go_back(job)

    async def hand_back(self, job: ClaimedRollout) -> None:
        async with transaction(self._pool) as conn:
            await store.hand_back(conn, job.lease)
        log.info("rollout_handed_back")

    async def cancel(self, job: ClaimedRollout) -> None:
        """A running rollout is not cancelled, it is superseded; what arrives here is handed back."""
        await self.hand_back(job)

    async def crash(self, job: ClaimedRollout, error: Exception) -> None:
        """The engine went away, or an error of ours: look again in a moment; the deadline ends it in the end."""
        sentence = str(error) if isinstance(error, AppError) else f"an internal error ({type(error).__name__})"
        log.warning("rollout_delayed", reason=sentence)
        async with transaction(self._pool) as conn:
            await store.record_progress(conn, job.lease, sentence, None)
            await store.delay(conn, job.lease, ENGINE_AWAY_S)

    # ------------------------------------------------------------------ forward

    async def _go_forward(self, job: ClaimedRollout) -> Broken | None:
        """Apply and watch; None when it converged, else why it never will. Raises ``EngineUnavailable`` to be tried
        again.
        """
        try:
            if job.rollout.state is not RolloutState.CONVERGING:
                await self._apply(job, await self._target(job.rollout))
            return await self._watch(job)
        except EngineUnavailable:
            raise
        except (LeaseLost, RolloutOvertaken) as error:
            raise LeaseLost(job.lease.stage, job.lease.row_id) from error
        except AppError as error:
            return Broken(str(error))

    async def _target(self, rollout: Rollout) -> ServiceTarget:
        container_port = rollout.container_port or await self._exposed_port(rollout)
        env = open_env(self._vault, rollout.slug, rollout.env_sealed)
        return service_target(rollout, env, container_port=container_port, monitor_s=self._monitor_s)

    async def _exposed_port(self, rollout: Rollout) -> int:
        """The lowest TCP port that the image exposes; the published one when it exposes none."""
        image = await inspect_image(self._engine, rollout.image)
        return next(iter(image.exposed_tcp), rollout.port) if image else rollout.port

    async def _apply(self, job: ClaimedRollout, target: ServiceTarget) -> None:
        await self._refuse_unreachable_image(job.rollout)
        service_id = await apply_service(self._engine, target, still_ours=lambda: self._still_ours(job.lease))
        async with transaction(self._pool) as conn:
            if not await store.mark_converging(conn, job.lease, service_id):
                raise LeaseLost(job.lease.stage, job.lease.row_id)
        log.info("service_applied", product=job.rollout.slug, service_id=service_id)

    async def _refuse_unreachable_image(self, rollout: Rollout) -> None:
        """An image that only this engine has cannot run on other nodes, and must be here still."""
        if rollout.kind is RolloutKind.STOP or not rollout.image.startswith("sha256:"):
            return
        info = await self._engine.describe()
        if info.nodes > 1:
            raise SwarmUnavailable(
                f"the swarm has {info.nodes} nodes and the image is only on this engine; all need a registry"
            )
        if await inspect_image(self._engine, rollout.image) is None:
            raise SwarmUnavailable(f"the engine has no image {rollout.image} any more; rebuild the image")

    async def _still_ours(self, lease: Lease) -> bool:
        async with transaction(self._pool) as conn:
            return await store.database_time(conn, lease) is not None

    async def _watch(self, job: ClaimedRollout) -> Broken | None:
        rollout, steady, progress = job.rollout, job.rollout.steady, job.rollout.progress
        assert rollout.deadline_at is not None
        expected = Expected(
            rollout.id, rollout.image, rollout.wanted, timedelta(seconds=self._monitor_s), rollout.deadline_at
        )
        while True:
            service = await read_service(self._engine, rollout.service_name)
            async with transaction(self._pool) as conn:
                now = await store.database_time(conn, job.lease)
                if now is None:
                    raise LeaseLost(job.lease.stage, job.lease.row_id)
                verdict = judge(service, expected, steady, now)
                if isinstance(verdict, Waiting) and (verdict.progress, verdict.steady) != (progress, steady):
                    progress, steady = verdict.progress, verdict.steady
                    await store.record_progress(conn, job.lease, progress, steady)
            match verdict:
                case Converged():
                    return None
                case Broken():
                    return verdict
                case Waiting():
                    await asyncio.sleep(LOOK_S)

    async def _settle_done(self, job: ClaimedRollout) -> None:
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
                raise LeaseLost(job.lease.stage, job.lease.row_id)
            await notices.enqueue(conn, NoticeEvent.ROLLOUT_DONE, rollout.id, facts_of(rollout))
        log.info("rollout_done", product=rollout.slug)

    # ------------------------------------------------------------------ back

    async def _record(self, job: ClaimedRollout, failure: Broken) -> None:
        shown = [await self._task_error(task) for task in failure.tasks[:SHOWN_TASKS]]
        async with transaction(self._pool) as conn:
            if not await store.record_failure(conn, job.lease, failure.sentence, shown):
                raise LeaseLost(job.lease.stage, job.lease.row_id)
        log.warning("rollout_broken", product=job.rollout.slug, reason=failure.sentence)

    async def _task_error(self, task: TaskSnapshot) -> dict[str, Any]:
        return {
            "task": task.id,
            "slot": task.slot,
            "node": task.node_id,
            "state": str(task.state),
            "error": task.error,
            "exit_code": task.exit_code,
            "output": await task_log_tail(self._engine, task.id, lines=SHOWN_LINES) if task.container_id else "",
        }

    async def _go_back(self, job: ClaimedRollout) -> None:
        """Put what ran before back, see whether it really runs, and settle the rollout by that."""
        rollout = job.rollout
        good = await self._good_rollout(rollout)
        try:
            kept = await self._restore(job, good)
        except EngineUnavailable:
            raise
        except (LeaseLost, RolloutOvertaken) as error:
            raise LeaseLost(job.lease.stage, job.lease.row_id) from error
        except AppError as error:
            log.warning("restore_failed", product=rollout.slug, reason=str(error))
            kept = False
        state = RolloutState.ROLLED_BACK if kept else RolloutState.FAILED
        async with transaction(self._pool) as conn:
            held = await store.settle(
                conn,
                job.lease,
                state,
                status="running" if kept else "failed",
                live=good.id if good else None,
            )
            if not held:
                raise LeaseLost(job.lease.stage, job.lease.row_id)
            settled = await store.read(conn, rollout.id)
            assert settled is not None
            await notices.enqueue(conn, NoticeEvent.ROLLOUT_FAILED, rollout.id, facts_of(settled))
        log.warning("rollout_failed", product=rollout.slug, state=str(state), reason=rollout.error)

    async def _good_rollout(self, rollout: Rollout) -> Rollout | None:
        """The rollout that describes what ran before."""
        if rollout.live_rollout_id is None:
            return None
        async with transaction(self._pool) as conn:
            return await store.read(conn, rollout.live_rollout_id)

    async def _restore(self, job: ClaimedRollout, good: Rollout | None) -> bool:
        """Make the service what it was; whether all its replicas run. Without an earlier one it is scaled to nothing,
        so that a container that cannot run is not restarted for ever.
        """
        rollout = job.rollout
        service = await read_service(self._engine, rollout.service_name)
        if service is None and good is None:
            return False
        if good is None:
            await self._put(job, replace(await self._target(rollout), replicas=0))
            return False
        if service is None or service.labels.get(LABEL_ROLLOUT) != str(good.id):
            await self._put(job, await self._target(good))
        deadline = asyncio.get_running_loop().time() + RESTORE_S
        while not runs_all_of(await read_service(self._engine, rollout.service_name), good):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def _put(self, job: ClaimedRollout, target: ServiceTarget) -> None:
        """Apply a target over the one of this rollout."""
        await apply_service(
            self._engine, target, still_ours=lambda: self._still_ours(job.lease), replaces=job.rollout.id
        )


def facts_of(rollout: Rollout) -> dict[str, Any]:
    """What a notice says about a rollout."""
    return {
        "rollout_id": rollout.id,
        "product_id": rollout.product_id,
        "product": rollout.product_name,
        "slug": rollout.slug,
        "kind": str(rollout.kind),
        "reason": str(rollout.reason),
        "state": str(rollout.state),
        "image": f"{rollout.image_name}:{rollout.image_tag}" if rollout.image_name else rollout.image,
        "commit": rollout.commit_sha,
        "replicas": rollout.wanted,
        "port": rollout.port,
        "error": rollout.error,
        "task_errors": [dict(task) for task in rollout.task_errors],
    }
