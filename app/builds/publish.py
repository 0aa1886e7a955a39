"""Images between a build and our registry: private bases come in before it, what it made goes out after it.

Pushing the same image again changes nothing, so a crash anywhere in here costs only the next attempt's time.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from app.engine.distribution import pull_image, push_image, registry_digest
from app.engine.image import inspect_image, tag_image
from app.engine.shape import ImagePushed
from app.errors import EngineUnavailable, RegistryUnavailable
from app.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """What the registry has: ``exact_ref`` is ``registry/name@sha256:…``, ``digest`` its manifest digest."""

    exact_ref: str
    digest: str


async def fetch_bases(
    engine: Engine, access: RegistryAccess, missing: Iterable[str], write: Callable[[str], Awaitable[None]]
) -> list[str]:
    """Pull those base images that are in our registry, and tell which remain missing.

    The builders have no credentials of ours (moby's BuildKit takes none without a client session), so what is private
    has to be on the engine before. Raises ``RegistryUnavailable`` or ``RegistryRefused``.
    """
    left = []
    for reference in missing:
        if parse_reference(reference).host != access.host:
            left.append(reference)
            continue
        await write(f"pulling the base image {reference}\n")
        async with aclosing(pull_image(engine, access, reference)) as events:
            async for event in events:
                await write(event.text)
    return left


async def publish(
    engine: Engine, access: RegistryAccess, image_id: str, reference: str, write: Callable[[str], Awaitable[None]]
) -> Published:
    """Push the image under its full ``reference`` and make sure that the registry has exactly this image.

    The order of effects: 1. the engine has the image under that name, whoever had it before; 2. the registry has the
    layers and the tag; 3. what was pushed is compared with what was made, since the name may have been taken by
    another build meanwhile; 4. the registry is asked for the digest. Raises ``RegistryUnavailable``,
    ``RegistryRefused`` and ``EngineUnavailable``.
    """
    await tag_image(engine, image_id, reference)
    digest, answered = "", False
    async with aclosing(push_image(engine, access, reference)) as events:
        async for event in events:
            if isinstance(event, ImagePushed):
                digest = event.digest
                continue
            if not answered:
                answered = True
                log.info("push_started", image=reference)
            await write(event.text)
    name = parse_reference(reference)
    image = await inspect_image(engine, image_id)
    pushed = [parse_reference(known) for known in image.repo_digests] if image else []
    if not any((one.host, one.repository, one.digest) == (name.host, name.repository, digest) for one in pushed):
        raise EngineUnavailable(f"the name {reference} was given to another image while it was being pushed")
    exact = f"{reference.removesuffix(f':{name.tag}')}@{digest}"
    if await registry_digest(engine, access, exact) != digest:
        raise RegistryUnavailable(f"the registry took {reference} and does not have its digest {digest}")
    log.info("image_pushed", image=reference, digest=digest)
    return Published(exact, digest)
