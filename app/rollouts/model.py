"""A rollout and the judgement of it: what the swarm shows against what was wanted. Pure.

Swarm's own word is never enough: a spec update clears ``UpdateStatus`` and nothing sets it again when no task had to
change (moby/swarmkit, controlapi/service.go), and ``completed`` does not mean that tasks run. So a rollout is done
only when every replica of the present spec runs the exact image and has stayed up, seen by looking at the tasks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NewType

from app.engine.shape import (
    LABEL_BUILD,
    LABEL_DELIVERY,
    LABEL_PRODUCT,
    LABEL_ROLLOUT,
    Healthcheck,
    PublishMode,
    ServiceSnapshot,
    ServiceTarget,
    TaskSnapshot,
    TaskState,
    UpdateState,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

RolloutId = NewType("RolloutId", int)

CRASHES: Final = 3
SERVICE_PREFIX: Final = "tagship-"


class RolloutState(StrEnum):
    """The states of a rollout; see the enum ``rollout_state`` for its arrows."""

    PENDING = "pending"
    APPLYING = "applying"
    CONVERGING = "converging"
    DONE = "done"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in {RolloutState.PENDING, RolloutState.APPLYING, RolloutState.CONVERGING}


class RolloutKind(StrEnum):
    DEPLOY = "deploy"
    STOP = "stop"


class RolloutReason(StrEnum):
    """Why a rollout happened."""

    START = "start"
    STOP = "stop"
    IMAGE_BUILT = "image_built"
    PIN_MOVED = "pin_moved"
    CHANGED = "changed"
    REDEPLOY = "redeploy"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Steady:
    """Exactly these tasks have all been running since then."""

    since: datetime
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One change of one product's service, with everything that it needs frozen at the time it was queued."""

    id: RolloutId
    product_id: int
    slug: str
    product_name: str
    kind: RolloutKind
    reason: RolloutReason
    state: RolloutState
    image_id: int | None
    build_id: int | None
    image: str
    image_name: str | None
    image_tag: str | None
    github_repo: str | None
    commit_sha: str | None
    delivery_guid: str | None
    env_sealed: str
    port: int
    container_port: int | None
    publish_mode: PublishMode
    replicas: int
    healthcheck: Healthcheck | None
    live_rollout_id: RolloutId | None
    service_id: str | None
    applied_at: datetime | None
    deadline_at: datetime | None
    steady: Steady | None
    progress: str | None
    error: str | None
    task_errors: tuple[Mapping[str, Any], ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def wanted(self) -> int:
        """How many replicas shall run."""
        return 0 if self.kind is RolloutKind.STOP else self.replicas

    @property
    def service_name(self) -> str:
        return SERVICE_PREFIX + self.slug


def service_target(rollout: Rollout, env: Mapping[str, str], *, container_port: int, monitor_s: float) -> ServiceTarget:
    """The Swarm service that a rollout wants."""
    labels = {LABEL_PRODUCT: rollout.slug, LABEL_ROLLOUT: str(rollout.id)}
    provenance = {LABEL_PRODUCT: rollout.slug}
    if rollout.build_id is not None:
        provenance[LABEL_BUILD] = str(rollout.build_id)
    if rollout.delivery_guid is not None:
        provenance[LABEL_DELIVERY] = rollout.delivery_guid
    if rollout.commit_sha is not None:
        provenance["org.opencontainers.image.revision"] = rollout.commit_sha
    if rollout.image_tag is not None:
        provenance["org.opencontainers.image.version"] = rollout.image_tag
    return ServiceTarget(
        name=rollout.service_name,
        image=rollout.image,
        env=env,
        replicas=rollout.wanted,
        port=rollout.port,
        container_port=container_port,
        publish_mode=rollout.publish_mode,
        labels=provenance | labels,
        container_labels=provenance,
        monitor_s=monitor_s,
        restart=rollout.id if rollout.reason is RolloutReason.REDEPLOY else 0,
        healthcheck=rollout.healthcheck,
    )


@dataclass(frozen=True, slots=True)
class Expected:
    """What the service must show for a rollout to be done. ``rollout_id`` is the one its label names."""

    rollout_id: int
    image: str
    replicas: int
    monitor: timedelta
    deadline: datetime


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

DEAD: Final = frozenset({TaskState.FAILED, TaskState.REJECTED, TaskState.COMPLETE, TaskState.ORPHANED})
GONE: Final = DEAD | {TaskState.SHUTDOWN, TaskState.REMOVE}


def judge(service: ServiceSnapshot | None, expected: Expected, steady: Steady | None, now: datetime) -> Verdict:
    """Say what a look at the service means for the rollout that applied it; ``steady`` is what the look before
    found.
    """
    if service is None:
        return Broken("the service was removed while the rollout was under way; start the product again")
    return (
        _moved_away(service, expected)
        or _crashing(_dead_of_present(service))
        or _counted(service, expected, steady, now)
    )


def _counted(service: ServiceSnapshot, expected: Expected, steady: Steady | None, now: datetime) -> Verdict:
    """Count the tasks that run what was wanted, and how long they have."""
    running = _running(service, expected)
    leftover = [t for t in service.tasks if t.id not in running and t.state not in GONE and not _leaves(t, expected)]
    watched = None
    if len(running) == expected.replicas and not leftover:
        watched = steady if steady is not None and steady.tasks == running else Steady(now, running)
        stayed_up = not running or now - watched.since >= expected.monitor
        # The swarm may still roll back what it is updating, and None is what it says when no task had to change.
        if stayed_up and service.update_state in {None, UpdateState.COMPLETED}:
            return Converged()
    if now >= expected.deadline:
        return Broken(_late(service, expected, len(running)), _dead_of_present(service) or _stuck(service))
    return Waiting(_progress(service, expected, len(running)), watched)


def _dead_of_present(service: ServiceSnapshot) -> tuple[TaskSnapshot, ...]:
    return tuple(task for task in service.tasks if task.current and task.state in DEAD)


def _moved_away(service: ServiceSnapshot, expected: Expected) -> Waiting | Broken | None:
    """Whether the swarm or somebody else has replaced the spec that the rollout applied."""
    match service.update_state:
        case UpdateState.ROLLBACK_STARTED:
            return Waiting("the swarm is rolling back", None)
        case UpdateState.ROLLBACK_COMPLETED | UpdateState.ROLLBACK_PAUSED:
            return Broken(f"the swarm rolled the service back: {service.update_message}", _failed_of(service, expected))
        case UpdateState.PAUSED:
            return Broken(f"the swarm paused the update: {service.update_message}", _failed_of(service, expected))
        case UpdateState.UPDATING | UpdateState.COMPLETED | None:
            pass
    if service.labels.get(LABEL_ROLLOUT) != str(expected.rollout_id) or service.image != expected.image:
        return Broken(
            "somebody else changed the service while the rollout was under way; redeploy to make it ours again"
        )
    return None


def _failed_of(service: ServiceSnapshot, expected: Expected) -> tuple[TaskSnapshot, ...]:
    """The dead tasks that ran the rollout's image, or any dead ones when none did."""
    dead = tuple(task for task in service.tasks if task.state in DEAD)
    return tuple(task for task in dead if task.image == expected.image) or dead


def _crashing(dead: tuple[TaskSnapshot, ...]) -> Broken | None:
    """A slot whose task died again and again; the swarm itself would restart it for ever."""
    slot, crashes = next(iter(Counter(task.slot for task in dead).most_common(1)), (0, 0))
    if crashes < CRASHES:
        return None
    worst = next(task for task in dead if task.slot == slot)
    return Broken(f"its container keeps ending: {worst.error or worst.state} ({crashes} times)", dead)


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


def _stuck(service: ServiceSnapshot) -> tuple[TaskSnapshot, ...]:
    return tuple(task for task in service.tasks if task.current and task.state is not TaskState.RUNNING and task.error)


def _late(service: ServiceSnapshot, expected: Expected, running: int) -> str:
    reasons = sorted({task.error for task in service.tasks if task.current and task.error})
    why = f": {'; '.join(reasons)}" if reasons else ""
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


def runs_all_of(service: ServiceSnapshot | None, rollout: Rollout) -> bool:
    """Whether the service runs all replicas of an earlier rollout, by its label and image."""
    if service is None or service.labels.get(LABEL_ROLLOUT) != str(rollout.id) or service.image != rollout.image:
        return False
    running = [t for t in service.tasks if t.current and t.state is TaskState.RUNNING and t.image == rollout.image]
    return len(running) == rollout.wanted
