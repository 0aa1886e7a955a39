"""The images that the engine has: look, list, tag, remove."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from app.engine.client import NOT_FOUND, parse_time
from app.engine.shape import ImageInfo
from app.errors import EngineRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.engine.client import Engine

NO_NAME: Final = "<none>"


async def inspect_image(engine: Engine, ref: str) -> ImageInfo | None:
    """Return the image of that ID or reference, None when the engine has none."""
    try:
        return _inspected(await engine.call(f"inspect the image {ref}", f"images/{_path(ref)}/json"))
    except EngineRefused as error:
        if error.status == NOT_FOUND:
            return None
        raise


async def list_images(engine: Engine) -> list[ImageInfo]:
    """Return every image that has a name or stands alone, newest first; a list does not tell ``exposed_tcp``."""
    return [_listed(entry) for entry in await engine.call("list its images", "images/json") or ()]


async def tag_image(engine: Engine, ref: str, name: str) -> None:
    """Give the image the name ``repo:tag``, taking it from whatever had it."""
    repo, _, tag = name.rpartition(":")
    if not repo or "/" in tag:
        repo, tag = name, "latest"
    await engine.call(f"tag the image {ref}", f"images/{_path(ref)}/tag", "POST", params={"repo": repo, "tag": tag})


async def remove_image(engine: Engine, ref: str, *, force: bool = False) -> bool:
    """Remove the name ``ref``, and the image with its last name; False when there was none.

    Raises ``EngineRefused`` (409) while a container uses it, or when an ID has several names and ``force`` is not set.
    """
    params = {"force": "1"} if force else {}
    try:
        await engine.call(f"remove the image {ref}", f"images/{_path(ref)}", "DELETE", params=params)
    except EngineRefused as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


def _path(ref: str) -> str:
    return quote(ref, safe="/:@")


def _inspected(entry: dict[str, Any]) -> ImageInfo:
    config = entry.get("Config") or {}
    return ImageInfo(
        id=entry["Id"],
        tags=_names(entry.get("RepoTags")),
        repo_digests=_names(entry.get("RepoDigests")),
        size=int(entry.get("Size") or 0),
        created=parse_time(entry.get("Created")),
        exposed_tcp=_tcp_ports(config.get("ExposedPorts") or {}),
        labels=config.get("Labels") or {},
    )


def _tcp_ports(exposed: Iterable[str]) -> tuple[int, ...]:
    """Read Docker's ``8080/tcp``; a port without a protocol is TCP."""
    ports = (port.partition("/") for port in exposed)
    return tuple(sorted({int(number) for number, _, kind in ports if kind in {"", "tcp"} and number.isdecimal()}))


def _listed(entry: dict[str, Any]) -> ImageInfo:
    created = int(entry.get("Created") or 0)
    return ImageInfo(
        id=entry["Id"],
        tags=_names(entry.get("RepoTags")),
        repo_digests=_names(entry.get("RepoDigests")),
        size=int(entry.get("Size") or 0),
        created=datetime.fromtimestamp(created, UTC) if created > 0 else None,
        exposed_tcp=(),
        labels=entry.get("Labels") or {},
    )


def _names(names: list[str] | None) -> tuple[str, ...]:
    """The names without the placeholder that engines write for an image that has none."""
    return tuple(name for name in names or () if not name.startswith(NO_NAME))
