"""The containers in which the classic builder runs the steps of builds of ours: found by their mark, and removed.

A dead engine leaves them behind, and a worker that hangs keeps them running: BuildKit knows its builds by name, the
classic builder does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from app.engine.client import CONFLICT, NOT_FOUND
from app.engine.mark import marked_name, read_build_name
from app.engine.shape import StepContainer
from app.errors import EngineRefused

if TYPE_CHECKING:
    from collections.abc import Collection

    from app.engine.client import Engine

SWARM_TASK: Final = "com.docker.swarm.task.id"  # on every container of the swarm's, and there may be many


async def step_containers(engine: Engine, installation: str) -> tuple[StepContainer, ...]:
    """The containers of steps of this installation's builds, running or not. Raises ``EngineUnavailable``."""
    named = [(container_id, read_build_name(name)) for container_id, name in await _marked(engine)]
    return tuple(
        StepContainer(container_id, known[1], known[2])
        for container_id, known in named
        if known is not None and known[0] == installation
    )


async def remove_steps(engine: Engine, names: Collection[str]) -> None:
    """Remove the containers of the builds of these names, which ends the step that runs, and with it the build."""
    for container_id, name in await _marked(engine):
        if name in names:
            await remove_step(engine, container_id)


async def remove_step(engine: Engine, container_id: str) -> bool:
    """Remove a container with what it runs; False when it is gone, or being removed by somebody else."""
    try:
        await engine.call(
            "remove what a build left",
            f"containers/{quote(container_id)}",
            "DELETE",
            params={"force": "1", "v": "1"},
        )
    except EngineRefused as error:
        if error.status in {NOT_FOUND, CONFLICT}:
            return False
        raise
    return True


async def _marked(engine: Engine) -> list[tuple[str, str]]:
    """Every container with a mark, as its ID and the name of its build. A list does not tell extra hosts."""
    listed: list[dict[str, Any]] | None = await engine.call("list its containers", "containers/json?all=1")
    wanted = [entry["Id"] for entry in listed or () if SWARM_TASK not in (entry.get("Labels") or {})]
    named = [(container_id, marked_name(await _extra_hosts(engine, container_id))) for container_id in wanted]
    return [(container_id, name) for container_id, name in named if name is not None]


async def _extra_hosts(engine: Engine, container_id: str) -> list[str]:
    """None of them when the container is gone by now."""
    try:
        shown = await engine.call("look at a container", f"containers/{quote(container_id)}/json")
    except EngineRefused as error:
        if error.status == NOT_FOUND:
            return []
        raise
    return (shown.get("HostConfig") or {}).get("ExtraHosts") or []
