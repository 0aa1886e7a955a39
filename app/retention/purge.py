"""Take what removed builds made off the engine and out of the registry.

The rows say what has to go (``removed_at`` without ``purged_at``), so this may be stopped anywhere and begun again, by
a request or by the timer. Only what carries the very build's label is touched, and of that only its own name when it
has others.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog

from app.engine.client import CONFLICT
from app.engine.image import inspect_image, remove_image
from app.engine.prune import holders
from app.errors import EngineRefused, RegistryRefused, RegistryUnavailable
from app.postgres.pool import transaction
from app.reference import parse_reference
from app.retention import store
from app.retention.model import foreign_names, is_made_by

if TYPE_CHECKING:
    from app.engine.client import Engine
    from app.postgres.pool import Pool
    from app.registry.client import RegistryClient
    from app.retention.model import BuiltImage

log = structlog.get_logger(__name__)

AT_A_TIME: Final = 100


@dataclass(frozen=True, slots=True)
class Left:
    """What could not be removed yet, and why, as a sentence."""

    built: BuiltImage
    reason: str


class Purger:
    """One run over what has to go; it remembers what the registry's tags were."""

    def __init__(self, pool: Pool, engine: Engine, registry: RegistryClient | None) -> None:
        self._pool, self._engine, self._registry = pool, engine, registry
        self._tags: dict[str, dict[str, list[str]]] = {}

    async def finish(self, image_id: int | None = None) -> list[Left]:
        """Remove everything that has to go, of one image or of all, and the rows of deleted images; what is left.

        Raises ``EngineUnavailable``: then the next run goes on.
        """
        left: list[Left] = []
        after = 0
        while True:
            async with transaction(self._pool) as conn:
                found = await store.to_purge(conn, image_id, after=after, limit=AT_A_TIME)
            for built in found:
                reason = await self._remove(built)
                left += [Left(built, reason)] if reason else []
            if len(found) < AT_A_TIME:
                break
            after = found[-1].build_id
        await self._delete_rows(image_id)
        return left

    async def _delete_rows(self, image_id: int | None) -> None:
        async with transaction(self._pool) as conn:
            waiting = [image_id] if image_id is not None else await store.images_to_delete(conn)
        for waiting_id in waiting:
            async with transaction(self._pool) as conn:
                deleted = await store.delete_purged(conn, waiting_id)
            if deleted:
                log.info("image_deleted", image_id=waiting_id)

    async def _remove(self, built: BuiltImage) -> str | None:
        """Remove one build's image everywhere; why it has to stay for now, if it has."""
        reason = await self._from_registry(built) or await remove_from_engine(self._engine, built)
        if reason is None:
            async with transaction(self._pool) as conn:
                await store.mark_purged(conn, built.build_id)
            log.info("image_removed", build_id=built.build_id, image=built.image_ref, exact=built.exact_ref)
        return reason

    async def _from_registry(self, built: BuiltImage) -> str | None:
        """Delete the manifest, unless others need it: a digest that goes takes every tag on it along."""
        repository = self._registry.repository_of(built.exact_ref) if self._registry is not None else None
        if self._registry is None or repository is None or "@" not in built.exact_ref:
            return None
        try:
            if not await self._is_shared(self._registry, repository, built):
                await self._registry.delete(repository, built.digest)
        except (RegistryUnavailable, RegistryRefused) as error:
            if isinstance(error, RegistryRefused) and error.status == HTTPStatus.METHOD_NOT_ALLOWED:
                log.warning("manifest_kept", build_id=built.build_id, exact=built.exact_ref, reason=str(error))
                return None
            return str(error)
        return None

    async def _is_shared(self, registry: RegistryClient, repository: str, built: BuiltImage) -> bool:
        """Whether another build has this manifest, or somebody gave it another tag."""
        async with transaction(self._pool) as conn:
            if await store.digest_is_needed(conn, built.build_id, built.exact_ref):
                return True
        if repository not in self._tags:
            self._tags[repository] = await registry.tags_by_digest(repository)
        others = set(self._tags[repository].get(built.digest, ())) - {parse_reference(built.image_ref).tag}
        if others:
            log.warning("manifest_kept", build_id=built.build_id, exact=built.exact_ref, tags=sorted(others))
        return bool(others)


async def remove_from_engine(engine: Engine, built: BuiltImage) -> str | None:
    """Remove what a build made from the engine; a sentence when it has to stay for now. Raises ``EngineUnavailable``.

    Of an image that somebody else gave another name only our name goes. Removing by ID cannot hit an image that has
    taken the name meanwhile; ``force`` is for the containers of our tasks that are over, the engine refuses it while
    any container runs.
    """
    image = await inspect_image(engine, built.exact_ref)
    if image is None or not is_made_by(image, built.build_id, built.exact_ref, built.digest):
        return None
    if found := await holders(engine, image.id):
        return f"the container {found[0].name} on the engine uses it"
    foreign = foreign_names(image, built.image_ref)
    try:
        for name in [name for name in image.tags if name not in foreign] if foreign else [image.id]:
            await remove_image(engine, name, force=not foreign)
    except EngineRefused as error:
        if error.status != CONFLICT:
            raise
        return str(error)
    return None
