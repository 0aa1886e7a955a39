"""The deliveries table, and the one transaction that stores, decides and queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.access import audit
from app.access.model import Act, Subject, Via
from app.builds import store as builds
from app.builds.model import BuildId, ImageId, Outdated, Queue, Source, needs_build
from app.deliveries.model import BuildFor, Ignored, decide
from app.github.payload import NotATagPush, TagChange, TagPush
from app.postgres.queries import load_queries
from app.repositories import store as repositories

if TYPE_CHECKING:
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

SOMEBODY: Final = "github"
PUSHED: Final = "push_tag"


async def take_in(
    conn: Connection,
    *,
    guid: str,
    event: str,
    content_type: str,
    body: bytes,
    parsed: TagPush | NotATagPush,
    address: str | None = None,
) -> Outcome:
    """Store a delivery, decide what it asks for and queue its builds, all in the caller's transaction.

    One that is accepted leaves its line in the audit log: whoever pushed, from the ``address`` that sent it to us.
    """
    delivery_id = await conn.fetchval(SQL.insert_delivery, guid, event, parsed.repo, parsed.ref, body, content_type)
    if delivery_id is None:
        return Duplicate()
    outcome = await queue_builds(conn, delivery_id, parsed, is_new=True)
    match outcome:
        case Accepted(queued):
            await conn.fetchval(SQL.settle_delivery, delivery_id, "accepted", None)
            pusher = (parsed.pusher if isinstance(parsed, TagPush) else None) or SOMEBODY
            act = Act(pusher, None, Via.WEBHOOK, address, PUSHED)
            await audit.record(conn, act, subject_of(delivery_id, guid, parsed), guid=guid, builds=list(queued))
        case Ignored(reason):
            await conn.fetchval(SQL.settle_delivery, delivery_id, "ignored", reason)
    return outcome


def subject_of(delivery_id: int, guid: str, parsed: TagPush | NotATagPush) -> Subject:
    """A delivery as the audit log names it: ``owner/name@tag``."""
    name = f"{parsed.repo}@{parsed.tag}" if isinstance(parsed, TagPush) else parsed.repo or guid
    return Subject("delivery", delivery_id, name)


async def queue_builds(
    conn: Connection, delivery_id: int, parsed: TagPush | NotATagPush, *, is_new: bool = False
) -> Accepted | Ignored:
    """Decide with today's registrations what a stored delivery asks for, and queue what is needed of it: nothing that
    it has led to before and that has not failed. Whatever comes of it, the tag is known from then on.
    """
    registrations = await repositories.registrations_of(conn, parsed.repo) if parsed.repo else []
    if registrations and isinstance(parsed, TagPush) and parsed.kind is not TagChange.DELETED:
        await repositories.note_seen(conn, parsed.repo, parsed.tag, parsed.commit)
    decision = decide(parsed, registrations)
    return decision if isinstance(decision, Ignored) else await _queue(conn, decision, delivery_id, is_new=is_new)


async def store_unreadable(
    conn: Connection, *, guid: str, event: str, content_type: str, body: bytes, reason: str
) -> None:
    """Keep a delivery that was rightly signed and makes no sense, with the reason."""
    delivery_id = await conn.fetchval(SQL.insert_delivery, guid, event, None, None, body, content_type)
    if delivery_id is not None:
        await conn.fetchval(SQL.settle_delivery, delivery_id, "failed", reason)


async def _queue(conn: Connection, decision: BuildFor, delivery_id: int, *, is_new: bool) -> Accepted | Ignored:
    queued: list[BuildId] = []
    reasons: list[str] = []
    for registration in sorted(decision.registrations, key=lambda found: found.image_name):
        match await _queue_one(conn, decision.push, registration, delivery_id, is_new=is_new):
            case Outdated(reason):
                reasons.append(f"{registration.image_name}:{decision.push.tag}: {reason}")
            case build_id:
                queued.append(build_id)
    return Accepted(tuple(queued)) if queued else Ignored("; ".join(reasons))


async def _queue_one(
    conn: Connection, push: TagPush, registration: Repository, delivery_id: int, *, is_new: bool
) -> BuildId | Outdated:
    image_id, latest = await builds.upsert_image(
        conn, name=registration.image_name, tag=push.tag, repo=push.repo, ref=push.ref
    )
    earlier = None if is_new else await _earlier(conn, delivery_id, image_id)
    match earlier or needs_build(latest, push.commit):
        case Outdated() as outdated:
            return outdated
        case Queue():
            return await builds.enqueue(
                conn,
                image_id,
                source=Source.DELIVERY,
                commit=push.commit,
                recipe=registration.recipe,
                repository_id=registration.id,
                delivery_id=delivery_id,
            )


async def _earlier(conn: Connection, delivery_id: int, image_id: ImageId) -> Outdated | None:
    """What the same delivery has led to, if that stands: a replay must not bring back a commit that a tag has left."""
    build_id = await conn.fetchval(SQL.build_of_delivery, delivery_id, image_id)
    return None if build_id is None else Outdated(f"this delivery has been built already (build {build_id})")
