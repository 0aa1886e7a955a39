"""What is kept of a task that shows why a rollout failed: its state, its last words, and what its health check said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.engine.service import task_log_tail
from app.engine.tasks import health_output

if TYPE_CHECKING:
    from app.engine.client import Engine
    from app.engine.shape import TaskSnapshot

SHOWN_LINES: Final = 20


async def task_error(engine: Engine, task: TaskSnapshot) -> dict[str, Any]:
    """One entry of a rollout's ``task_errors``. ``output`` are the last lines of the task's container, as far as they
    can be had, and the failed health check that may have ended it.
    """
    output = ""
    if task.container_id:
        said = await task_log_tail(engine, task.id, lines=SHOWN_LINES)
        output = "\n".join(filter(None, (said, await health_output(engine, task.container_id))))
    return {
        "task": task.id,
        "slot": task.slot,
        "node": task.node_id,
        "state": str(task.state),
        "error": task.error,
        "exit_code": task.exit_code,
        "output": output,
    }
