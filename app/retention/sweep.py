"""Take what a crash left off the engine: of everything there that is ours, what the database says nobody waits for.

The order matters: first the engine is looked at, then the database, so that what a build has just made is never
mistaken for what none has on record. May be stopped anywhere and begun again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from app.engine.client import CONFLICT
from app.engine.image import inspect_image, remove_image
from app.engine.inventory import remove_own_service, take_inventory
from app.engine.prune import holders
from app.engine.steps import remove_step
from app.errors import EngineRefused
from app.postgres.pool import transaction
from app.retention import store
from app.retention.orphans import Orphans, builds_of, what_to_remove

if TYPE_CHECKING:
    from app.engine.client import Engine
    from app.engine.shape import ImageInfo, OwnService
    from app.postgres.pool import Pool

log = structlog.get_logger(__name__)


class Sweeper:
    """One look at the engine for what nobody waits for."""

    def __init__(self, pool: Pool, engine: Engine, default_image: str) -> None:
        self._pool, self._engine, self._default_image = pool, engine, default_image

    async def decide(self) -> Orphans:
        """What would be removed now; nothing is changed."""
        async with transaction(self._pool) as conn:
            installation = await store.installation(conn)
        seen = await take_inventory(self._engine, installation)
        products = {service.product for service in seen.services}
        async with transaction(self._pool) as conn:
            records = await store.records(conn, builds_of(seen), products, default_image=self._default_image)
        return what_to_remove(seen, records)

    async def sweep(self) -> Orphans:
        """Remove services, steps, then images; what was removed. What cannot go yet is left for the next time."""
        found = await self.decide()
        services = [service for service in found.services if await self._remove_service(service)]
        steps = [step for step in found.steps if await remove_step(self._engine, step.id)]
        images = [orphan for orphan in found.images if await self._remove_image(orphan.image)]
        for step in steps:
            log.info("orphan_step_removed", container_id=step.id, build_id=step.build, attempt=step.attempt)
        for orphan in images:
            log.info("orphan_image_removed", image_id=orphan.image.id, names=orphan.image.tags, reason=orphan.reason)
        log.info("orphans_swept", images=len(images), services=len(services), steps=len(steps))
        return Orphans(tuple(images), tuple(services), tuple(steps))

    async def _remove_service(self, service: OwnService) -> bool:
        """Remove it, unless a product of its name has been made since."""
        async with transaction(self._pool) as conn:
            gone = await store.products_gone(conn, [service.product])
        if not gone or not await remove_own_service(self._engine, service):
            return False
        log.info("orphan_service_removed", service=service.name, product=service.product)
        return True

    async def _remove_image(self, image: ImageInfo) -> bool:
        """Remove it, unless it got a name or a container since; ``force`` is for the containers of our tasks that are
        over.
        """
        now = await inspect_image(self._engine, image.id)
        if now is None or now.tags != image.tags or await holders(self._engine, image.id):
            return False
        try:
            return await remove_image(self._engine, image.id, force=True)
        except EngineRefused as error:
            if error.status != CONFLICT:
                raise
            return False
