"""A rollout: its states, what it freezes, and the service it wants. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NewType

from app.engine.shape import (
    LABEL_BUILD,
    LABEL_DELIVERY,
    LABEL_INSTALLATION,
    LABEL_PRODUCT,
    LABEL_ROLLOUT,
    Healthcheck,
    PublishMode,
    ServiceTarget,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

RolloutId = NewType("RolloutId", int)

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
    REMOVE = "remove"


class RolloutReason(StrEnum):
    """Why a rollout happened."""

    START = "start"
    STOP = "stop"
    IMAGE_BUILT = "image_built"
    PIN_MOVED = "pin_moved"
    CHANGED = "changed"
    REDEPLOY = "redeploy"
    ROLLBACK = "rollback"
    DELETE = "delete"


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
    env_sealed: Mapping[str, str]
    port: int
    container_port: int | None
    publish_mode: PublishMode
    replicas: int
    healthcheck: Healthcheck | None
    live_rollout_id: RolloutId | None
    service_id: str | None
    tasks_before: tuple[str, ...]
    applied_at: datetime | None
    deadline_at: datetime | None
    steady: Steady | None
    progress: str | None
    error: str | None
    task_errors: tuple[Mapping[str, Any], ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exposed_port: int | None = None
    installation: str = ""

    @property
    def wanted(self) -> int:
        """How many replicas shall run."""
        return self.replicas if self.kind is RolloutKind.DEPLOY else 0

    @property
    def service_name(self) -> str:
        return SERVICE_PREFIX + self.slug


@dataclass(frozen=True, slots=True)
class PastDeploy:
    """A deploy rollout that was done; equal fingerprints mean that the same was run in the same way."""

    id: RolloutId
    reason: RolloutReason
    fingerprint: str


def rollback_target(past: Iterable[PastDeploy], wanted: str) -> RolloutId | None:
    """Where a product goes back to, from its successful deploys (oldest first) and the fingerprint of what it asks for
    now: the newest success that is something else. None when there is none.

    What an earlier rollback left behind does not count, so that a second rollback goes further back, and not forward
    to what the first one left. After a deploy that failed, the newest success is what still runs.
    """
    kept: list[PastDeploy] = []
    for deploy in past:
        if deploy.reason is RolloutReason.ROLLBACK:
            back = [at for at, one in enumerate(kept) if one.fingerprint == deploy.fingerprint]
            del kept[back[-1] + 1 if back else len(kept) :]
        kept.append(deploy)
    return next((deploy.id for deploy in reversed(kept) if deploy.fingerprint != wanted), None)


def service_target(rollout: Rollout, env: Mapping[str, str], *, container_port: int, monitor_s: float) -> ServiceTarget:
    """The Swarm service that a rollout wants."""
    labels = {
        LABEL_PRODUCT: rollout.slug,
        LABEL_ROLLOUT: str(rollout.id),
        LABEL_INSTALLATION: rollout.installation,  # on the service only: in a task it would restart it
    }
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


def facts_of(rollout: Rollout) -> dict[str, Any]:
    """What a notice says about a rollout."""
    return {
        "rollout_id": rollout.id,
        "product_id": rollout.product_id,
        "product": rollout.product_name,
        "slug": rollout.slug,
        "kind": str(rollout.kind),
        "reason": str(rollout.reason),
        "state": str(rollout.state),
        "image": f"{rollout.image_name}:{rollout.image_tag}" if rollout.image_name else rollout.image,
        "image_name": rollout.image_name,
        "image_id": rollout.image_id,
        "build_id": rollout.build_id,
        "github_repo": rollout.github_repo,
        "commit": rollout.commit_sha,
        "replicas": rollout.wanted,
        "port": rollout.port,
        "error": rollout.error,
        "task_errors": [dict(task) for task in rollout.task_errors],
    }
