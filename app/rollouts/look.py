"""Looking at a service again and again until the judgement of it is final; what both ways of a rollout share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

from app.engine.service import apply_service, read_service, remove_service
from app.engine.shape import LABEL_PRODUCT, TaskState
from app.errors import EngineRefused, EngineUnavailable, LeaseLost, RolloutOvertaken, SwarmUnavailable
from app.postgres.pool import transaction
from app.rollouts import store
from app.rollouts.judge import Broken, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess
    from app.engine.shape import ServiceSnapshot, ServiceTarget
    from app.postgres.pool import Pool
    from app.queue.lease import Lease
    from app.rollouts.judge import Verdict
    from app.rollouts.model import Rollout, Steady

LOOK_S: Final = 0.25
STRAGGLER_S: Final = 3.0
MOST_LOOKS: Final = 20

Judge: TypeAlias = "Callable[[ServiceSnapshot | None, Steady | None, datetime], Verdict]"


class Lookout:
    """Engine and database as one rollout under one lease may use them: whatever is done after the lease was lost raises
    ``LeaseLost``, and an engine or swarm that cannot be asked now is ``EngineUnavailable``, never a judgement.
    """

    def __init__(self, pool: Pool, engine: Engine, lease: Lease, registry: RegistryAccess | None = None) -> None:
        self._pool, self._engine, self._lease, self._registry = pool, engine, lease, registry

    async def now(self) -> datetime:
        """The database's time."""
        async with transaction(self._pool) as conn:
            now = await store.time_under_lease(conn, self._lease)
        if now is None:
            raise self.lost()
        return now

    async def rollout(self, rollout_id: int) -> Rollout | None:
        """A rollout as its row is now: this one, or the one that describes what ran before."""
        async with transaction(self._pool) as conn:
            return await store.read(conn, rollout_id)

    def lost(self) -> LeaseLost:
        return self._lease.lost()

    async def read(self, name: str) -> ServiceSnapshot | None:
        try:
            return await read_service(self._engine, name)
        except (EngineRefused, SwarmUnavailable) as error:
            raise EngineUnavailable(f"the service {name} cannot be looked at now: {error}") from error

    async def apply(self, target: ServiceTarget, *, replaces: int | None = None) -> str:
        """Bring the spec to the swarm, only while the lease holds; the service's id."""
        try:
            return await apply_service(
                self._engine, target, still_ours=self._holds, replaces=replaces, access=self._registry
            )
        except RolloutOvertaken as error:
            raise self.lost() from error
        except SwarmUnavailable as error:
            raise EngineUnavailable(f"the swarm does not take changes now: {error}") from error

    async def remove(self, name: str, product: str) -> None:
        """Take the product's service away, only while the lease holds; one that is somebody else's stays."""
        service = await self.read(name)
        if service is None:
            # The worker that was superseded may be making it at this very moment; it hears of that with its next beat.
            await asyncio.sleep(STRAGGLER_S)
            service = await self.read(name)
        if service is None or service.labels.get(LABEL_PRODUCT) != product:
            return
        await self._forgotten(service)
        if not await self._holds():
            raise self.lost()
        try:
            await remove_service(self._engine, name)
        except SwarmUnavailable as error:
            raise EngineUnavailable(f"the swarm does not take changes now: {error}") from error

    async def _forgotten(self, service: ServiceSnapshot | None) -> None:
        """Wait, not for ever, until the swarm has forgotten the tasks that it is about to forget. A manager panics when
        their service is removed at that very moment: swarmkit, orchestrator/service.go, SetServiceTasksRemove, seen
        with 20.10.24.
        """
        for _ in range(MOST_LOOKS):
            if service is None or not any(task.desired_state is TaskState.REMOVE for task in service.tasks):
                return
            await asyncio.sleep(LOOK_S)
            service = await self.read(service.name)

    async def watch(self, name: str, judge: Judge, steady: Steady | None = None) -> Broken | None:
        """Look until all is well (None) or it never will be; every change between two looks is recorded."""
        shown: tuple[str, Steady | None] = ("", steady)
        while True:
            verdict = judge(await self.read(name), shown[1], await self.now())
            if isinstance(verdict, Broken):
                return verdict
            if not isinstance(verdict, Waiting):
                return None
            if (verdict.progress, verdict.steady) != shown:
                shown = (verdict.progress, verdict.steady)
                async with transaction(self._pool) as conn:
                    await store.record_progress(conn, self._lease, *shown)
            await asyncio.sleep(LOOK_S)

    async def _holds(self) -> bool:
        async with transaction(self._pool) as conn:
            return await store.time_under_lease(conn, self._lease) is not None
