"""The exact image of a rollout before the swarm is told of it: whether the nodes can have it, and what port it exposes.

An image without a registry is on this engine only; one of a registry can be fetched by every node, and by this engine
too when it has lost its own copy.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from app.engine.distribution import pull_image, registry_digest
from app.engine.image import inspect_image
from app.errors import ImageUnreachable, RegistryUnavailable

if TYPE_CHECKING:
    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess


async def refuse_unreachable(engine: Engine, access: RegistryAccess | None, image: str) -> None:
    """Raises ``ImageUnreachable`` when the image is gone, or other nodes cannot get it.

    Raises ``RegistryUnavailable`` and ``RegistryRefused`` when only the registry could tell.
    """
    if "@" in image:
        if await inspect_image(engine, image) is None and await registry_digest(engine, access, image) is None:
            raise ImageUnreachable(f"neither the engine nor the registry has {image} any more; rebuild the image")
        return
    if not image.startswith("sha256:"):
        return
    info = await engine.describe()
    if info.nodes > 1:
        raise ImageUnreachable(
            f"the swarm has {info.nodes} nodes and the image is only on this engine; all of them need a registry:"
            " set REGISTRY and rebuild the image"
        )
    if await inspect_image(engine, image) is None:
        raise ImageUnreachable(f"the engine has no image {image} any more; rebuild the image")


async def exposed_port(
    engine: Engine, access: RegistryAccess | None, image: str, *, pull: bool, within_s: float
) -> int | None:
    """The lowest TCP port that the image exposes, None when it exposes none or the engine has no such image.

    With ``pull`` the engine fetches a registry's image that it lacks. Raises then ``RegistryUnavailable`` (also when it
    takes longer than ``within_s``) and ``RegistryRefused``.
    """
    found = await inspect_image(engine, image)
    if found is None and pull and "@" in image:
        try:
            async with asyncio.timeout(within_s), aclosing(pull_image(engine, access, image)) as events:
                async for _ in events:
                    pass
        except TimeoutError:
            raise RegistryUnavailable(f"the engine could not pull {image} within {within_s:.0f} s") from None
        found = await inspect_image(engine, image)
    return next(iter(found.exposed_tcp), None) if found else None
