"""What is known of tasks beside their state: the names of their nodes, and what their health checks said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.engine.client import NOT_FOUND
from app.engine.frame import storable
from app.errors import AppError, EngineRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.engine.client import Engine


async def node_names(engine: Engine, node_ids: Iterable[str]) -> dict[str, str]:
    """The host names of these nodes by id; a node that has left the swarm has none."""
    wanted = set(node_ids) - {""}
    if not wanted:
        return {}
    nodes: list[dict[str, Any]] = await engine.call("list the nodes of the swarm", "nodes") or []
    names = {node["ID"]: str((node.get("Description") or {}).get("Hostname") or "") for node in nodes}
    return {node_id: names.get(node_id, "") for node_id in wanted}


async def slot_of(engine: Engine, task_id: str) -> int:
    """The slot of a task; 0 when the swarm has forgotten it, or the task has none."""
    try:
        task = await engine.call(f"look up the task {task_id}", f"tasks/{quote(task_id, safe='')}")
    except EngineRefused as error:
        if error.status == NOT_FOUND:
            return 0
        raise
    return int(task.get("Slot") or 0)


async def health_output(engine: Engine, container_id: str) -> str:
    """What the last failed health check of a container said, with its exit code; "" when none failed, or another engine
    has the container. Docker keeps the last five results (moby, daemon/health.go), of 4 KiB each.
    """
    try:
        container = await engine.call("look at a container's health", f"containers/{quote(container_id, safe='')}/json")
    except AppError:
        return ""
    checks = ((container.get("State") or {}).get("Health") or {}).get("Log") or ()
    failed = next((check for check in reversed(checks) if check.get("ExitCode")), None)
    if failed is None:
        return ""
    said = storable(str(failed.get("Output") or "")).strip()
    return f"health check (exit code {failed['ExitCode']}): {said or 'it said nothing'}"
