"""The Docker engine as the try-out sees it: whether the names it will use are free, and how ports can be published."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import aiodocker

from ops.tryout.processes import StoryFailed

if TYPE_CHECKING:
    from collections.abc import Iterable


def require_free(services: Iterable[str], repository: str) -> None:
    """No service of these names and no image of that repository exists: what we remove at the end is then surely ours.

    Raises ``StoryFailed`` with what stands in the way.
    """
    if found := asyncio.run(_existing(set(services), repository)):
        raise StoryFailed(
            f"the Docker engine already has {', '.join(found)}, which ops/try would replace: remove or rename it"
        )


async def _existing(services: set[str], repository: str) -> list[str]:
    async with aiodocker.Docker() as docker:
        names = {service["Spec"]["Name"] for service in await docker.services.list()}
        images = await docker.images.list(filters={"reference": [repository]})
        tags = {tag for image in images for tag in image["RepoTags"] or ()}
    return [f"the service {name}" for name in sorted(names & services)] + [f"the image {tag}" for tag in sorted(tags)]


def has_ipvs() -> bool:
    """Whether the kernel can balance the ports that a swarm publishes in ingress mode."""
    if Path("/proc/net/ip_vs").exists():
        return True
    modprobe = shutil.which("modprobe") or "/sbin/modprobe"
    try:
        return subprocess.run([modprobe, "--dry-run", "--quiet", "ip_vs"], check=False).returncode == 0
    except OSError:
        return False
