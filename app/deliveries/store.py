"""The deliveries table, and the one transaction that stores, decides and queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.builds import store as builds
from app.builds.model import BuildId, Cause, Outdated, Queue, needs_build
from app.deliveries.model import BuildFor, Ignored, decide
from app.postgres.queries import load_queries
from app.repositories import store as repositories

if TYPE_CHECKING:
    from app.github.payload import NotATagPush, TagPush
    from app.postgres.pool import Connection
    from app.repositories.model import Repository

SQL: Final = load_queries("deliveries")


@dataclass(frozen=True, slots=True)
class Accepted:
    """Builds were queued."""

    builds: tuple[BuildId, ...]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """This delivery was stored before; nothing new happens."""


Outcome = Accepted | Ignored | Duplicate


async def take_in(
    conn: Connection, *, guid: str, event: str, content_type: str, body: bytes, parsed: TagPush | NotATagPush
) -> Outcome:
    """Store a delivery, decide what it asks for and queue its builds, all in the caller's transaction."""
    delivery_id = await conn.fetchval(SQL.insert_delivery, guid, event, parsed.repo, parsed.ref, body, content_type)
    if delivery_id is None:
        return Duplicate()
    registrations = await repositories.registrations_of(conn, parsed.repo) if parsed.repo else []
    decision = decide(parsed, registrations)
    outcome: Accepted | Ignored = (
        decision if isinstance(decision, Ignored) else await _queue(conn, decision, delivery_id)
    )
    match outcome:
        case Accepted():
            await conn.fetchval(SQL.settle_delivery, delivery_id, "accepted", None)
        case Ignored(reason):
            await conn.fetchval(SQL.settle_delivery, delivery_id, "ignored", reason)
    return outcome


async def store_unreadable(
    conn: Connection, *, guid: str, event: str, content_type: str, body: bytes, reason: str
) -> None:
    """Keep a delivery that was rightly signed and makes no sense, with the reason."""
    delivery_id = await conn.fetchval(SQL.insert_delivery, guid, event, None, None, body, content_type)
    if delivery_id is not None:
        await conn.fetchval(SQL.settle_delivery, delivery_id, "failed", reason)


async def _queue(conn: Connection, decision: BuildFor, delivery_id: int) -> Accepted | Ignored:
    queued: list[BuildId] = []
    reasons: list[str] = []
    for registration in sorted(decision.registrations, key=lambda found: found.image_name):
        match await _queue_one(conn, decision.push, registration, delivery_id):
            case Outdated(reason):
                reasons.append(f"{registration.image_name}:{decision.push.tag}: {reason}")
            case build_id:
                queued.append(build_id)
    return Accepted(tuple(queued)) if queued else Ignored("; ".join(reasons))


async def _queue_one(conn: Connection, push: TagPush, registration: Repository, delivery_id: int) -> BuildId | Outdated:
    image_id, latest = await builds.upsert_image(
        conn, name=registration.image_name, tag=push.tag, repo=push.repo, ref=push.ref
    )
    match needs_build(latest, push.commit):
        case Outdated() as outdated:
            return outdated
        case Queue():
            return await builds.enqueue(
                conn,
                image_id,
                cause=Cause.DELIVERY,
                commit=push.commit,
                recipe=registration.recipe,
                repository_id=registration.id,
                delivery_id=delivery_id,
            )
