"""What is kept on one engine and in its registry, and the removal of the rest.

The order of effects, each of which may be the last one before a crash: 1. one transaction per build says that nothing
may run it any more, if nothing does; 2. registry and engine lose what it made; 3. the row says so. The chore ``purge``
finishes what stopped between 1 and 3, also of images that people delete.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from app.engine.client import CONFLICT
from app.engine.image import list_images
from app.engine.prune import build_cache_bytes, holders, prune_build_cache
from app.engine.shape import LABEL_BUILD
from app.errors import EngineRefused
from app.postgres.pool import transaction
from app.retention import store
from app.retention.model import OnEngine, Plan, Policy, is_made_by, plan
from app.retention.purge import Purger
from app.retention.sweep import Sweeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.engine.client import Engine
    from app.engine.shape import ImageInfo
    from app.postgres.pool import Pool
    from app.registry.client import RegistryClient
    from app.retention.model import BuiltImage
    from app.retention.orphans import Orphans
    from app.retention.purge import Left
    from app.settings import Settings

log = structlog.get_logger(__name__)

GB: Final = 1_000_000_000
OVERTAKEN: Final = "something came to need it meanwhile"


@dataclass(frozen=True, slots=True)
class BuildCache:
    """The engine's build cache in bytes: its size before, the limit (None: it is left alone), and what goes or went."""

    size_bytes: int
    limit_bytes: int | None
    reclaimed_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What goes, or went. ``freed_bytes`` counts images whole, so layers that others share make it too high."""

    plan: Plan
    build_cache: BuildCache

    @property
    def freed_bytes(self) -> int:
        return sum(verdict.built.size_bytes for verdict in self.plan.removed) + self.build_cache.reclaimed_bytes


class Upkeep:
    """What is kept and removed on one engine and in its registry."""

    def __init__(
        self, pool: Pool, engine: Engine, registry: RegistryClient | None, policy: Policy, cache_bytes: int | None
    ) -> None:
        self._pool, self._engine, self._registry = pool, engine, registry
        self._policy, self._cache_bytes = policy, cache_bytes

    @classmethod
    def of(cls, settings: Settings, pool: Pool, engine: Engine, registry: RegistryClient | None) -> Upkeep:
        """As the settings say."""
        policy = Policy(
            keep=settings.tagship_retention_keep,
            young=timedelta(days=settings.tagship_retention_days),
            default_image=settings.tagship_default_image,
        )
        cache = settings.tagship_build_cache_gb
        return cls(pool, engine, registry, policy, round(cache * GB) if cache else None)

    async def look(self) -> Outcome:
        """What retention would do now; nothing is changed. Raises ``EngineUnavailable``."""
        decided = await self.decide()
        size = await build_cache_bytes(self._engine)
        over = max(0, size - self._cache_bytes) if self._cache_bytes is not None else 0
        return Outcome(decided, BuildCache(size, self._cache_bytes, over))

    async def decide(self) -> Plan:
        """What is kept and what goes, as things are now."""
        async with transaction(self._pool) as conn:
            built = await store.built_images(conn)
            uses = await store.uses(conn, self._policy.keep)
            now = await store.time(conn)
        here = await self.on_engine(built)
        return await asyncio.to_thread(plan, built, uses, here, self._policy, now)

    async def carry_out(self, decided: Plan) -> Outcome:
        """Remove what was decided, as far as nothing came to need it, and shrink the build cache; what was done.

        Raises ``EngineUnavailable``; then the chore ``purge`` goes on.
        """
        stays: dict[int, str] = {}
        for verdict in decided.removed:
            async with transaction(self._pool) as conn:
                if not await store.remove(conn, verdict.built):
                    stays[verdict.built.build_id] = OVERTAKEN
        stays |= {left.built.build_id: left.reason for left in await self.finish()}
        kept = [
            replace(verdict, reason=stays[verdict.built.build_id])
            for verdict in decided.removed
            if verdict.built.build_id in stays
        ]
        gone = [verdict for verdict in decided.removed if verdict.built.build_id not in stays]
        return Outcome(Plan((*decided.kept, *kept), tuple(gone)), await self._prune_cache())

    async def finish(self, image_id: int | None = None) -> list[Left]:
        """Finish removals that were begun, of one image or of all; what has to stay for now."""
        return await Purger(self._pool, self._engine, self._registry).finish(image_id)

    async def sweep(self) -> Orphans:
        """Remove what a crash left on the engine; what went. Raises ``EngineUnavailable``."""
        return await Sweeper(self._pool, self._engine, self._policy.default_image).sweep()

    async def on_engine(self, built: Sequence[BuiltImage]) -> dict[int, OnEngine]:
        """Those of these that the engine has, by build id, with who uses them."""
        labelled: dict[str, list[ImageInfo]] = {}
        for image in await list_images(self._engine):
            labelled.setdefault(image.labels.get(LABEL_BUILD, ""), []).append(image)
        held = {holder.image_id: holder.name for holder in await holders(self._engine)}
        found = {}
        for one in built:
            for image in labelled.get(str(one.build_id), ()):
                if is_made_by(image, one.build_id, one.exact_ref, one.digest):
                    found[one.build_id] = OnEngine(image.id, held.get(image.id))
        return found

    async def _prune_cache(self) -> BuildCache:
        size = await build_cache_bytes(self._engine)
        if self._cache_bytes is None or size <= self._cache_bytes:
            return BuildCache(size, self._cache_bytes, 0)
        try:
            reclaimed = await prune_build_cache(self._engine, self._cache_bytes)
        except EngineRefused as error:
            if error.status != CONFLICT:  # somebody else is pruning it
                raise
            reclaimed = 0
        log.info("build_cache_pruned", size_bytes=size, reclaimed_bytes=reclaimed)
        return BuildCache(size, self._cache_bytes, reclaimed)
