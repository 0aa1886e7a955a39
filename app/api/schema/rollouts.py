"""Rollouts, field by field."""

from __future__ import annotations

from app.api.schema.base import Out, Time
from app.rollouts.model import Rollout, RolloutKind, RolloutReason, RolloutState


class TaskErrorOut(Out):
    task: str
    slot: int
    node: str
    state: str
    error: str
    exit_code: int | None
    output: str


class RolloutOut(Out):
    id: int
    product_id: int
    product: str
    kind: RolloutKind
    state: RolloutState
    reason: RolloutReason
    image_id: int | None
    image_name: str | None
    build_id: int | None
    commit_sha: str | None
    image: str
    replicas: int
    port: int
    container_port: int | None
    progress: str | None
    error: str | None
    task_errors: list[TaskErrorOut]
    created_at: Time
    started_at: Time | None
    finished_at: Time | None

    @classmethod
    def of(cls, rollout: Rollout) -> RolloutOut:
        fields = {name: getattr(rollout, name) for name in rollout.__slots__}
        shown = {
            "product": rollout.slug,
            "image_name": f"{rollout.image_name}:{rollout.image_tag}" if rollout.image_name else None,
            "replicas": rollout.wanted,
            "container_port": rollout.container_port or rollout.exposed_port,
            "task_errors": [dict(error) for error in rollout.task_errors],
        }
        return cls.model_validate(fields | shown)
