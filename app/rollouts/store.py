"""The rollouts table: one function per named query, the guard in the statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.engine.shape import PublishMode
from app.postgres.queries import load_queries
from app.queue.lease import Beat, Lease
from app.queue.wake import wake, wake_all
from app.rollouts.frozen import healthcheck_from
from app.rollouts.model import PastDeploy, Rollout, RolloutId, RolloutKind, RolloutReason, RolloutState, Steady

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from app.postgres.pool import Connection

SQL: Final = load_queries("rollouts")

TOPIC: Final = "rollouts"
STAGE: Final = "rollout"
LEAST_LEFT_S: Final = 60.0


def state_topic(rollout_id: int) -> str:
    """The topic that wakes whoever waits for this rollout to become final."""
    return f"rollout/{rollout_id}"


async def enqueue(
    conn: Connection,
    product_ids: Sequence[int],
    *,
    kind: RolloutKind,
    reason: RolloutReason,
    unpinned_image: str | None = None,
) -> list[RolloutId]:
    """Queue a rollout of each product's present fields; whatever rollout of them is under way gives way to it.

    ``unpinned_image`` is the exact image of products that are pinned to none. The products must be locked by the
    caller, and none of them on its way out: nothing takes over from a removal.
    """
    if not product_ids:
        return []
    ids = list(product_ids)
    await wake_all(conn, [state_topic(row["id"]) for row in await conn.fetch(SQL.supersede_rollouts, ids)])
    rows = await conn.fetch(SQL.enqueue_rollouts, ids, kind, reason, unpinned_image)
    status = "deleting" if kind is RolloutKind.REMOVE else "deploying"
    await conn.execute(SQL.products_deploying, ids, kind is RolloutKind.DEPLOY, status)
    await wake(conn, TOPIC)
    return [RolloutId(row["id"]) for row in rows]


async def claim(
    conn: Connection, *, token: UUID, lease_s: float, worker: str, timeout_s: float
) -> tuple[Lease, Rollout] | None:
    """Claim the oldest rollout that waits or lost its worker; its deadline counts from its first claim, and is put off
    a little when a later claim finds it close.
    """
    again_s = min(timeout_s, LEAST_LEFT_S)
    claimed = await conn.fetchrow(SQL.claim_rollout, token, lease_s, worker, timeout_s, again_s)
    if claimed is None:
        return None
    rollout = await read(conn, claimed["id"])
    assert rollout is not None
    return Lease(STAGE, rollout.id, token, lease_s, claimed["waited_s"]), rollout


async def renew(conn: Connection, lease: Lease) -> Beat:
    held = await conn.fetchval(SQL.renew_rollout, lease.row_id, lease.token, lease.seconds)
    return Beat.LOST if held is None else Beat.HELD


async def time_under_lease(conn: Connection, lease: Lease) -> datetime | None:
    """The database's time; None when the lease was lost."""
    now: datetime | None = await conn.fetchval(SQL.time_under_lease, lease.row_id, lease.token)
    return now


async def note_tasks_before(conn: Connection, lease: Lease, tasks: Sequence[str]) -> None:
    """Remember which tasks there are before the spec is applied for the first time."""
    await conn.execute(SQL.note_tasks_before, lease.row_id, lease.token, list(tasks))


async def mark_converging(
    conn: Connection, lease: Lease, service_id: str | None, exposed_port: int | None = None
) -> bool:
    """Record that the swarm has the spec; ``exposed_port`` is the port found in the image, where none was given."""
    marked = await conn.fetchval(SQL.mark_converging, lease.row_id, lease.token, service_id, exposed_port)
    return marked is not None


async def record_progress(conn: Connection, lease: Lease, progress: str, steady: Steady | None) -> bool:
    since, tasks = (steady.since, list(steady.tasks)) if steady else (None, [])
    return await conn.fetchval(SQL.record_progress, lease.row_id, lease.token, progress, since, tasks) is not None


async def record_failure(conn: Connection, lease: Lease, error: str, task_errors: Sequence[dict[str, Any]]) -> bool:
    """Remember why it failed, before anything is put back."""
    return await conn.fetchval(SQL.record_failure, lease.row_id, lease.token, error, list(task_errors)) is not None


async def settle(conn: Connection, lease: Lease, state: RolloutState, *, status: str, live: RolloutId | None) -> bool:
    """Make the rollout final and say what its product is now, in the caller's transaction; False when the lease was
    lost.
    """
    await conn.execute(SQL.lock_product_of, lease.row_id)
    row = await conn.fetchrow(SQL.settle_rollout, lease.row_id, lease.token, state)
    if row is None:
        return False
    await conn.execute(SQL.settle_product, row["product_id"], status, live, row["service_id"])
    await wake(conn, state_topic(lease.row_id))
    return True


async def seconds_since_push(conn: Connection, rollout_id: RolloutId) -> float | None:
    """How long ago the delivery came, or was replayed, that brought what a rollout ships; None when none did."""
    seconds: float | None = await conn.fetchval(SQL.seconds_since_push, rollout_id)
    return seconds


async def finish_removal(conn: Connection, lease: Lease) -> bool:
    """Delete the product whose service is gone, and its rollouts with it; False when the lease was lost."""
    await conn.execute(SQL.lock_product_of, lease.row_id)
    gone = await conn.fetchval(SQL.delete_removed_product, lease.row_id, lease.token)
    await wake(conn, state_topic(lease.row_id))
    return gone is not None


async def removal_of(conn: Connection, product_id: int) -> RolloutId | None:
    """The rollout that removes a product, if one is under way."""
    found: int | None = await conn.fetchval(SQL.removal_under_way, product_id)
    return None if found is None else RolloutId(found)


async def past_deploys(conn: Connection, product_id: int) -> tuple[list[PastDeploy], str]:
    """What a product has successfully run, oldest first (the newest 500), and the fingerprint of what it asks for
    now.
    """
    rows = await conn.fetch(SQL.past_deploys, product_id)
    past = [PastDeploy(RolloutId(row["id"]), RolloutReason(row["reason"]), row["fingerprint"]) for row in rows]
    return past, await conn.fetchval(SQL.wanted_fingerprint, product_id)


async def images_of(
    conn: Connection, product_id: int, images: Sequence[str]
) -> dict[str, tuple[str | None, str | None]]:
    """The ``name:tag`` and the commit of each of these exact images that the product was rolled out with."""
    rows = await conn.fetch(SQL.images_rolled_out, product_id, list(images))
    return {
        row["image"]: (
            f"{row['image_name']}:{row['image_tag']}" if row["image_name"] else None,
            row["commit_sha"],
        )
        for row in rows
    }


async def hand_back(conn: Connection, lease: Lease) -> bool:
    back = await conn.fetchval(SQL.hand_back_rollout, lease.row_id, lease.token) is not None
    await wake(conn, TOPIC)
    return back


async def delay(conn: Connection, lease: Lease, wait_s: float) -> bool:
    return await conn.fetchval(SQL.delay_rollout, lease.row_id, lease.token, wait_s) is not None


async def read(conn: Connection, rollout_id: int) -> Rollout | None:
    row = await conn.fetchrow(SQL.read_rollout, rollout_id)
    return _rollout(row) if row else None


async def read_all(conn: Connection, rollout_ids: Sequence[int]) -> dict[int, Rollout]:
    """These rollouts by their ids; one that is gone is not among them."""
    return {row["id"]: _rollout(row) for row in await conn.fetch(SQL.read_rollouts, list(rollout_ids))}


async def of_product(conn: Connection, product_id: int, *, before: int | None, limit: int) -> list[Rollout]:
    """A page of a product's rollouts, newest first."""
    return [_rollout(row) for row in await conn.fetch(SQL.rollouts_of_product, product_id, before, limit)]


def _rollout(row: asyncpg.Record) -> Rollout:
    special = {"steady", "state", "kind", "reason", "publish_mode", "healthcheck", "task_errors", "tasks_before"}
    fields = {name: row[name] for name in Rollout.__slots__ if name not in special}
    return Rollout(
        **fields,
        state=RolloutState(row["state"]),
        kind=RolloutKind(row["kind"]),
        reason=RolloutReason(row["reason"]),
        publish_mode=PublishMode(row["publish_mode"]),
        healthcheck=healthcheck_from(row["healthcheck"]),
        steady=Steady(row["steady_since"], tuple(row["steady_tasks"])) if row["steady_since"] else None,
        task_errors=tuple(row["task_errors"]),
        tasks_before=tuple(row["tasks_before"]),
    )
