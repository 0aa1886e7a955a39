"""The looks, look_pace, seen_tags and redeliveries tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.github.watching import Page
from app.postgres.queries import load_queries
from app.queue.lease import Beat, Lease
from app.reconcile.hooks import EVERY_S, MOST_TIMES, Asked
from app.reconcile.model import Seen
from app.repositories.model import RepositoryId

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from app.postgres.pool import Connection
    from app.reconcile.model import FoundTag
    from app.reconcile.pace import Pause

SQL: Final = load_queries("reconcile")

STAGE: Final = "look"


@dataclass(frozen=True, slots=True)
class ClaimedLook:
    """A look at the tags of one GitHub repository that this worker holds the lease of.

    ``repo`` is in lower case and ``spelled`` as it was registered last. ``registrations`` are those that were there
    when the look began: what is registered later asks for another one, and ``asks`` tells whether somebody did.
    ``pages`` is the listing that was decided last.
    """

    lease: Lease
    repo: str
    spelled: str
    asks: int
    begun_at: datetime
    failures: int
    pages: tuple[Page, ...]
    registrations: tuple[RepositoryId, ...]
    hooks_due: bool


async def start(conn: Connection) -> None:
    """A process begins: every registered repository is looked at soon."""
    await conn.execute(SQL.missing_looks)
    await conn.execute(SQL.start_looks)
    await conn.execute(SQL.forget_old_redeliveries)


async def claim(conn: Connection, *, token: UUID, lease_s: float, worker: str) -> ClaimedLook | None:
    """Take a look that is due; None when none is, or the pace does not allow one now."""
    look_id = await conn.fetchval(SQL.claim_look, token, lease_s, worker)
    if look_id is None:
        return None
    row = await conn.fetchrow(SQL.read_look, look_id, token)
    assert row is not None
    return ClaimedLook(
        lease=Lease(STAGE, look_id, token, lease_s),
        repo=row["repo"],
        spelled=row["spelled"] or row["repo"],
        asks=row["asks"],
        begun_at=row["begun_at"],
        failures=row["failures"],
        pages=tuple(Page(page["etag"], page["full"]) for page in row["pages"]),
        registrations=tuple(RepositoryId(one) for one in row["registrations"]),
        hooks_due=row["hooks_due"],
    )


async def renew(conn: Connection, lease: Lease) -> Beat:
    held = await conn.fetchval(SQL.renew_look, lease.row_id, lease.token, lease.seconds)
    return Beat.LOST if held is None else Beat.HELD


async def seen_of(conn: Connection, repo: str, tags: Collection[str]) -> dict[str, Seen]:
    """What is known of these tags; a tag that is not known is left out."""
    rows = await conn.fetch(SQL.seen_of, repo, list(tags))
    return {row["tag"]: Seen(row["commit_sha"], row["listed_sha"]) for row in rows}


async def images_named(conn: Connection, name: str, tags: Collection[str]) -> dict[str, bool]:
    """Which of these tags have an image of that name; True: it is being deleted."""
    return {row["tag"]: row["deleting"] for row in await conn.fetch(SQL.images_named, name, list(tags))}


async def lock_registrations(conn: Connection, ids: Sequence[RepositoryId]) -> set[RepositoryId]:
    """Lock the registrations that are still there, before anything else: the look ends what was owed to them."""
    return {RepositoryId(row["id"]) for row in await conn.fetch(SQL.lock_registrations, list(ids))}


async def hold(conn: Connection, lease: Lease) -> int | None:
    """Keep the look ours until the transaction ends; how often it has been asked for now, None when it is not ours."""
    asks: int | None = await conn.fetchval(SQL.hold_look, lease.row_id, lease.token)
    return asks


async def note_seen(conn: Connection, look: ClaimedLook, tags: Sequence[FoundTag]) -> set[str]:
    """Write down what was found, in one statement; the tags of which no delivery has told since the look began. Each
    is held until the transaction ends, so that no delivery of it is decided meanwhile.
    """
    columns = [[tag.name for tag in tags], [tag.commit for tag in tags], [tag.listed_sha for tag in tags]]
    rows = await conn.fetch(SQL.note_seen_tags, look.repo, *columns, look.begun_at)
    return {row["tag"] for row in rows}


async def end_first_look(conn: Connection, ids: Collection[RepositoryId]) -> None:
    """What these registrations were owed of the past is queued."""
    await conn.execute(SQL.end_first_look, list(ids))


async def settle(
    conn: Connection,
    look: ClaimedLook,
    pages: Sequence[Page],
    next_at: datetime,
    *,
    problem: str | None = None,
    failures: int = 0,
) -> bool:
    """The tags were listed and decided; False when the lease was lost. ``problem``: not all of them could be."""
    listed = [{"etag": page.etag, "full": page.full} for page in pages]
    held = (look.lease.row_id, look.lease.token, look.asks)
    return await conn.fetchval(SQL.settle_look, *held, next_at, listed, problem, failures) is not None


async def fail(
    conn: Connection, look: ClaimedLook, next_at: datetime, error: str, *, failures: int, over: bool
) -> bool:
    """The tags could not be listed; False when the lease was lost. ``over``: whoever asked for it has the answer."""
    lease = look.lease
    row_id = await conn.fetchval(SQL.fail_look, lease.row_id, lease.token, look.asks, next_at, failures, error, over)
    return row_id is not None


async def hand_back(conn: Connection, lease: Lease) -> bool:
    return await conn.fetchval(SQL.hand_back_look, lease.row_id, lease.token) is not None


async def slow_down(conn: Connection, pause: Pause) -> None:
    """Let others wait. It locks the one row of the pace, which therefore comes last in a transaction."""
    await conn.execute(SQL.slow_down, pause.open_s, pause.closed_s)


async def put_hooks_off(conn: Connection, lease: Lease, wait_s: float, error: str | None) -> None:
    """Failed deliveries of the repository are looked for again after so long; ``error``: they are not shown to us."""
    await conn.execute(SQL.put_hooks_off, lease.row_id, lease.token, wait_s, error)


async def arrived(conn: Connection, guids: Collection[str]) -> set[str]:
    """Which of these deliveries are stored."""
    return {row["guid"] for row in await conn.fetch(SQL.stored_guids, list(guids))}


async def asked_again(conn: Connection, guids: Collection[str]) -> dict[str, Asked]:
    """What GitHub was asked to send again of these."""
    rows = await conn.fetch(SQL.redeliveries_of, list(guids))
    return {row["guid"]: Asked(row["times"], row["ago_s"]) for row in rows}


async def note_redelivery(conn: Connection, guid: str, repo: str) -> bool:
    """Write down that GitHub is asked to send a delivery again, before it is; False when that is not due."""
    return await conn.fetchval(SQL.note_redelivery, guid, repo, MOST_TIMES, EVERY_S) is not None
