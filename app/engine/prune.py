"""What holds images on an engine, and what its build cache takes: asked before anything is removed.

The build cache has no owner: every build on the engine fills it, and its oldest parts go first whoever made them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from app.engine.client import filters
from app.engine.shape import LABEL_PRODUCT
from app.errors import EngineRefused

if TYPE_CHECKING:
    from app.engine.client import Engine

SLOW: Final = aiohttp.ClientTimeout(total=600, sock_connect=5)
DF_BY_TYPE: Final = (1, 42)
MAX_USED_SPACE: Final = (1, 48)
OVER: Final = frozenset({"exited", "dead"})
MEASURING: Final = "disk usage operation is already running"
LONGEST_WAIT_S: Final = 120.0
PAUSE_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Holder:
    """A container that keeps an image on the engine, running or not."""

    name: str
    image_id: str


async def holders(engine: Engine, image_id: str | None = None) -> list[Holder]:
    """The containers that need their images, of one image or of all.

    A task of ours that is over does not count: the swarm keeps its container for a while, and never starts it again.
    """
    params = {"all": "1"} | ({"filters": filters(ancestor=image_id)} if image_id else {})
    entries = await engine.call("list its containers", "containers/json", params=params)
    found = [Holder(_name(entry), str(entry.get("ImageID") or "")) for entry in entries or () if not _is_over(entry)]
    return [holder for holder in found if image_id in {None, holder.image_id}]


async def build_cache_bytes(engine: Engine) -> int:
    """What the build cache takes that no image shares."""
    info = await engine.describe()
    params = {"type": "build-cache"} if info.api_version >= DF_BY_TYPE else {}
    shown = await _measured(engine, params)
    if usage := shown.get("BuildCacheUsage"):
        return int(usage.get("TotalSize") or 0)
    return sum(int(entry.get("Size") or 0) for entry in shown.get("BuildCache") or () if not entry.get("Shared"))


async def _measured(engine: Engine, params: dict[str, str]) -> Any:
    """What ``system/df`` says. An engine before Docker 23 measures for one at a time and answers everybody else with
    HTTP 500 meanwhile (moby, daemon/disk_usage.go): whoever that is, it is over soon.
    """
    now = asyncio.get_running_loop().time
    give_up = now() + LONGEST_WAIT_S
    while True:
        try:
            return await engine.call("measure its build cache", "system/df", params=params, timeout=SLOW)
        except EngineRefused as error:
            if MEASURING not in error.message or now() > give_up:
                raise
        await asyncio.sleep(PAUSE_S)


async def prune_build_cache(engine: Engine, keep_bytes: int) -> int:
    """Shrink the build cache to ``keep_bytes``, what was not used for longest first; how many bytes that freed."""
    info = await engine.describe()
    name = "max-used-space" if info.api_version >= MAX_USED_SPACE else "keep-storage"
    shown = await engine.call(
        "prune its build cache", "build/prune", "POST", params={name: str(keep_bytes)}, timeout=SLOW
    )
    return int(shown.get("SpaceReclaimed") or 0)


def _name(entry: dict[str, Any]) -> str:
    names = entry.get("Names") or [entry["Id"][:12]]
    return str(names[0]).removeprefix("/")


def _is_over(entry: dict[str, Any]) -> bool:
    return LABEL_PRODUCT in (entry.get("Labels") or {}) and entry.get("State") in OVER
