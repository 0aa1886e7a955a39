"""The judgement of a rollout: what the swarm shows against what was wanted. Pure.

Swarm's own word is never enough: a spec update clears ``UpdateStatus`` and nothing sets it again when no task had to
change (moby/swarmkit, controlapi/service.go), and ``completed`` does not mean that tasks run. So a rollout is done only
when every replica of the present spec runs the exact image and has stayed up, seen by looking at the tasks. The swarm
keeps dead tasks of earlier lives whose spec was the same; what they died of says nothing about this rollout.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from app.engine.shape import LABEL_ROLLOUT, ServiceSnapshot, TaskSnapshot, TaskState, UpdateState
from app.rollouts.model import Rollout, Steady

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

CRASHES: Final = 3
DEAD: Final = frozenset({TaskState.FAILED, TaskState.REJECTED, TaskState.COMPLETE, TaskState.ORPHANED})
GONE: Final = DEAD | {TaskState.SHUTDOWN, TaskState.REMOVE}
UNDISTURBED: Final = frozenset({None, UpdateState.COMPLETED, UpdateState.ROLLBACK_COMPLETED})


@dataclass(frozen=True, slots=True)
class Expected:
    """What the service must show. ``rollout_id`` is the one its label names; ``before`` are tasks of earlier lives."""

    rollout_id: int
    image: str
    replicas: int
    monitor: timedelta
    deadline: datetime
    before: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rollout: Rollout, *, monitor: timedelta, deadline: datetime) -> Expected:
        """What the service of a rollout must show by ``deadline``."""
        return cls(rollout.id, rollout.image, rollout.wanted, monitor, deadline, frozenset(rollout.tasks_before))


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet; ``steady`` is since when all replicas run, to be shown again at the next look."""

    progress: str
    steady: Steady | None


@dataclass(frozen=True, slots=True)
class Converged:
    """Every replica runs the exact image and has stayed up."""


@dataclass(frozen=True, slots=True)
class Broken:
    """It will not become what was wanted; ``sentence`` says why, ``tasks`` are those that show it."""

    sentence: str
    tasks: tuple[TaskSnapshot, ...] = field(default=())


Verdict = Waiting | Converged | Broken


def judge(service: ServiceSnapshot | None, expected: Expected, steady: Steady | None, now: datetime) -> Verdict:
    """Say what a look at the service means for the rollout that applied it; ``steady`` is what the look before
    found.
    """
    if service is None:
        return _without_service(expected)
    return _rolling_back(service, expected, now) or judge_restored(service, expected, steady, now)


def judge_restored(
    service: ServiceSnapshot | None, expected: Expected, steady: Steady | None, now: datetime
) -> Verdict:
    """The same for a service that the swarm, or we, have put back to an earlier rollout."""
    if service is None:
        return _without_service(expected)
    return (
        _changed_by_hand(service, expected)
        or _crashing(_dead(service, expected))
        or _counted(service, expected, steady, now)
    )


def _without_service(expected: Expected) -> Verdict:
    if expected.replicas == 0:
        return Converged()
    return Broken("the service was removed while the rollout was under way; start the product again")


def _rolling_back(service: ServiceSnapshot, expected: Expected, now: datetime) -> Waiting | Broken | None:
    """Whether the swarm has given up on the spec that the rollout applied."""
    match service.update_state:
        case UpdateState.ROLLBACK_STARTED if now < expected.deadline:
            return Waiting("the swarm is rolling back", None)
        case UpdateState.ROLLBACK_STARTED:
            return Broken("the swarm's rollback did not come to an end", _failed(service, expected))
        case UpdateState.ROLLBACK_COMPLETED | UpdateState.ROLLBACK_PAUSED:
            return _given_up("rolled the service back", service, expected)
        case UpdateState.PAUSED:
            return _given_up("paused the update", service, expected)
        case UpdateState.UPDATING | UpdateState.COMPLETED | None:
            return None


def _given_up(what: str, service: ServiceSnapshot, expected: Expected) -> Broken:
    failed = _failed(service, expected)
    return Broken(f"the swarm {what}: {_reasons(failed) or service.update_message}", failed)


def _reasons(tasks: Iterable[TaskSnapshot]) -> str:
    """What the tasks themselves say, each once."""
    return "; ".join(sorted({task.error for task in tasks if task.error}))


def _changed_by_hand(service: ServiceSnapshot, expected: Expected) -> Broken | None:
    if service.labels.get(LABEL_ROLLOUT) == str(expected.rollout_id) and service.image == expected.image:
        return None
    return Broken("somebody else changed the service while the rollout was under way; redeploy to make it ours again")


def _failed(service: ServiceSnapshot, expected: Expected) -> tuple[TaskSnapshot, ...]:
    """The tasks that died under this rollout; those of its image where that tells them apart."""
    dead = tuple(task for task in service.tasks if task.state in DEAD and task.id not in expected.before)
    return tuple(task for task in dead if task.image == expected.image) or dead


def _dead(service: ServiceSnapshot, expected: Expected) -> tuple[TaskSnapshot, ...]:
    return tuple(task for task in service.tasks if _of_this_life(task, expected) and task.state in DEAD)


def _of_this_life(task: TaskSnapshot, expected: Expected) -> bool:
    return task.current and task.id not in expected.before


def _crashing(dead: tuple[TaskSnapshot, ...]) -> Broken | None:
    """A slot whose task died again and again; the swarm itself would restart it for ever."""
    slot, crashes = next(iter(Counter(task.slot for task in dead).most_common(1)), (0, 0))
    if crashes < CRASHES:
        return None
    worst = next(task for task in dead if task.slot == slot)
    return Broken(f"its container keeps ending: {worst.error or worst.state} ({crashes} times)", dead)


def _counted(service: ServiceSnapshot, expected: Expected, steady: Steady | None, now: datetime) -> Verdict:
    """Count the tasks that run what was wanted, and how long they have."""
    running = _running(service, expected)
    leftover = [t for t in service.tasks if t.id not in running and t.state not in GONE and not _leaves(t, expected)]
    watched = None
    if len(running) == expected.replicas and not leftover:
        watched = steady if steady is not None and steady.tasks == running else Steady(now, running)
        stayed_up = not running or now - watched.since >= expected.monitor
        # The swarm may still roll back what it is updating; None is what it says when no task had to change.
        if stayed_up and service.update_state in UNDISTURBED:
            return Converged()
    # What came up in time may still show that it stays up.
    if now >= expected.deadline + (expected.monitor if watched else expected.monitor * 0):
        return Broken(_late(service, expected, len(running)), _dead(service, expected) or _stuck(service, expected))
    return Waiting(_progress(service, expected, len(running)), watched)


def _running(service: ServiceSnapshot, expected: Expected) -> tuple[str, ...]:
    """The ids, sorted, of the tasks of the present spec that run the exact image and are meant to go on."""
    return tuple(
        sorted(
            task.id
            for task in service.tasks
            if task.current
            and task.image == expected.image
            and task.state is TaskState.RUNNING
            and task.desired_state is TaskState.RUNNING
        )
    )


def _leaves(task: TaskSnapshot, expected: Expected) -> bool:
    """Whether a task is on its way out and need not be waited for; when nothing shall run, all must have gone."""
    return expected.replicas > 0 and task.desired_state in GONE


def _stuck(service: ServiceSnapshot, expected: Expected) -> tuple[TaskSnapshot, ...]:
    return tuple(
        task
        for task in service.tasks
        if _of_this_life(task, expected) and task.state is not TaskState.RUNNING and task.error
    )


def _late(service: ServiceSnapshot, expected: Expected, running: int) -> str:
    reasons = _reasons(task for task in service.tasks if _of_this_life(task, expected))
    why = f": {reasons}" if reasons else ""
    return f"only {running} of {expected.replicas} replicas were running steadily when the time was up{why}"


def _progress(service: ServiceSnapshot, expected: Expected, running: int) -> str:
    states = Counter(
        str(task.state)
        for task in service.tasks
        if task.current and task.desired_state not in GONE and task.state is not TaskState.RUNNING
    )
    rest = "".join(f", {count} {state}" for state, count in sorted(states.items()))
    watching = ", watching that they stay up" if running == expected.replicas and not rest else ""
    return f"{running} of {expected.replicas} running{rest}{watching}"
