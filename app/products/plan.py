"""What a change of a product would do before it is done: pure.

The same rollout that would be queued is made as a value, and the same spec from it; only its number is not given yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from app.engine.compare import FORCE_UPDATE, REPLICAS, ROLLOUT, Difference, differences, replaces_tasks
from app.engine.shape import PublishMode
from app.mask import MASK
from app.products.model import ProductStatus
from app.rollouts.model import Rollout, RolloutId, RolloutKind, RolloutReason, RolloutState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from app.engine.shape import ServiceTarget
    from app.products.model import Product, ProductFields

NO_NUMBER: Final = RolloutId(0)
ITS_NUMBER: Final = "the number of the rollout"


class PlanAction(StrEnum):
    """What one may ask the consequences of."""

    CHANGE = "change"
    START = "start"
    STOP = "stop"
    REDEPLOY = "redeploy"
    ROLLBACK = "rollback"


REASONS: Final = {
    PlanAction.CHANGE: RolloutReason.CHANGED,
    PlanAction.START: RolloutReason.START,
    PlanAction.STOP: RolloutReason.STOP,
    PlanAction.REDEPLOY: RolloutReason.REDEPLOY,
    PlanAction.ROLLBACK: RolloutReason.ROLLBACK,
}


@dataclass(frozen=True, slots=True)
class Brought:
    """The exact image of a rollout and where it came from; all but ``image`` None for a product without a pin."""

    image: str
    image_id: int | None = None
    image_name: str | None = None
    image_tag: str | None = None
    github_repo: str | None = None
    build_id: int | None = None
    commit_sha: str | None = None
    delivery_guid: str | None = None

    @property
    def name(self) -> str:
        return f"{self.image_name}:{self.image_tag}" if self.image_name else self.image


@dataclass(frozen=True, slots=True)
class Watch:
    """How a rollout is watched, in seconds: how long its tasks must stay up, and how long all may take."""

    monitor_s: float
    timeout_s: float


def planned_rollout(
    product: Product, fields: ProductFields, brought: Brought, action: PlanAction, *, installation: str, now: datetime
) -> Rollout:
    """The rollout that would be queued, without a number."""
    return Rollout(
        id=NO_NUMBER,
        product_id=product.id,
        slug=product.slug,
        product_name=fields.name,
        kind=RolloutKind.STOP if action is PlanAction.STOP else RolloutKind.DEPLOY,
        reason=REASONS[action],
        state=RolloutState.PENDING,
        image_id=brought.image_id,
        build_id=brought.build_id,
        image=brought.image,
        image_name=brought.image_name,
        image_tag=brought.image_tag,
        github_repo=brought.github_repo,
        commit_sha=brought.commit_sha,
        delivery_guid=brought.delivery_guid,
        env_sealed=fields.env,
        port=fields.port,
        container_port=fields.container_port,
        publish_mode=fields.publish_mode,
        replicas=fields.replicas,
        healthcheck=fields.healthcheck,
        live_rollout_id=RolloutId(product.live.rollout_id) if product.live else None,
        service_id=product.service_id,
        tasks_before=(),
        applied_at=None,
        deadline_at=None,
        steady=None,
        progress=None,
        error=None,
        task_errors=(),
        created_at=now,
        started_at=None,
        finished_at=None,
        installation=installation,
    )


def spec_changes(
    current: Mapping[str, Any] | None, wanted: Mapping[str, Any], *, replaces: bool = False
) -> list[Difference]:
    """What would differ in the service, the rollout's number aside, which always does. ``replaces``: all tasks are
    replaced although nothing else changes.
    """
    found = [one for one in differences(current or {}, wanted) if one.path not in {ROLLOUT, FORCE_UPDATE}]
    before, after = (
        int(((spec or {}).get("TaskTemplate") or {}).get("ForceUpdate") or 0) for spec in (current, wanted)
    )
    if current is not None and (replaces or before != after):
        found.append(Difference(FORCE_UPDATE, before, ITS_NUMBER if replaces else after))
    return found


def field_changes(
    before: ProductFields,
    after: ProductFields,
    *,
    env: tuple[Mapping[str, str], Mapping[str, str]],
    images: tuple[str, str],
) -> list[Difference]:
    """What would differ in the product itself, by the names of the API's fields; ``env`` holds the opened values, of
    which nothing comes out.
    """
    plain = ("name", "port", "container_port", "publish_mode", "replicas", "track")
    found = [
        Difference(name, _plain(getattr(before, name)), _plain(getattr(after, name)))
        for name in plain
        if getattr(before, name) != getattr(after, name)
    ]
    if images[0] != images[1]:
        found.insert(0, Difference("image", images[0], images[1]))
    if before.held_build_id != after.held_build_id:
        found.append(Difference("held_build_id", before.held_build_id, after.held_build_id))
    if before.healthcheck != after.healthcheck:
        was, shall = (" ".join(check.test) if check else None for check in (before.healthcheck, after.healthcheck))
        found.append(Difference("healthcheck", was, shall))
    for name in sorted({*env[0], *env[1]}):
        if env[0].get(name) != env[1].get(name):
            was, shall = (MASK if name in side else None for side in env)
            found.append(Difference(f"env_vars.{name}", was, shall, secret=True))
    return found


def _plain(value: str | int | None) -> str | int | None:
    return str(value) if isinstance(value, PublishMode) else value


def what_is_kept(product: Product, fields: Sequence[Difference]) -> list[str]:
    """The consequences of a change that no rollout follows."""
    if not fields:
        return ["Nothing changes."]
    if product.status is ProductStatus.AWAITING_IMAGE:
        return ["The product waits for its image: the change is kept until it starts, and nothing runs yet."]
    if not product.wanted:
        return ["The product is stopped: the change is kept for its next start, and nothing that runs changes."]
    return ["The containers go on running as they are."]


def consequences(
    product: Product,
    target: ServiceTarget,
    current: Mapping[str, Any] | None,
    changes: Sequence[Difference],
    watch: Watch,
    *,
    under_way: int | None,
) -> list[str]:
    """What the rollout would do, in sentences: to what is under way, to the tasks, when it fails, to others."""
    said = [f"Rollout {under_way}, which is under way, gives way to this one."] if under_way else []
    said += _to_tasks(target, current, changes)
    if target.replicas:
        back = (
            f"what rollout {product.live.rollout_id} made is put back"
            if product.live
            else "the service is scaled to nothing, since nothing ran before"
        )
        said.append(
            f"It is done when every task has stayed up for {watch.monitor_s:g} s; if it fails or takes longer than"
            f" {watch.timeout_s:g} s, {back}."
        )
    old = product.live.port if product.live else None
    if old not in {None, target.port} and target.replicas:
        said.append(f"Port {old} is free for others once that is done; the product then answers on {target.port}.")
    return [*said, "No other product changes."]


def _to_tasks(target: ServiceTarget, current: Mapping[str, Any] | None, changes: Sequence[Difference]) -> list[str]:
    after = target.replicas
    if current is None:
        return [f"The service {target.name} is made, with {_tasks(after)}."] if after else ["No service is running."]
    before = _replicas(current)
    if not after:
        stops = f"{_tasks(before)} {'stops' if before == 1 else 'stop'}" if before else "Nothing runs even now"
        return [f"{stops}; replicas, port and variables are remembered for the next start."]
    said = []
    kept = min(before, after)
    if kept and replaces_tasks(changes):
        which = "The task is replaced" if kept == 1 else f"All {kept} tasks are replaced, one at a time"
        said.append(f"{which}: {_order(target)}.")
    elif kept and before == after:
        said.append("The tasks that run are kept, and watched anew.")
    if after != before:
        more = after > before
        number = abs(after - before)
        kind = ("starts" if more else "stops") if number == 1 else ("start" if more else "stop")
        said.append(f"{number} {'task' if number == 1 else 'tasks'} {'more ' if more and before else ''}{kind}.")
    return said


def _order(target: ServiceTarget) -> str:
    if target.publish_mode is PublishMode.INGRESS:
        return "a new one starts before its old one stops"
    return "an old one stops before its new one starts, since both would need the port of their node"


def _tasks(number: int) -> str:
    return f"{number} {'task' if number == 1 else 'tasks'}"


def _replicas(spec: Mapping[str, Any]) -> int:
    found = next((one for one in differences({}, spec) if one.path == REPLICAS), None)
    return found.after if found is not None and isinstance(found.after, int) else 0
