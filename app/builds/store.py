"""The docker_images, builds and build_log tables: one function per named query, the guard in the statement."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from app.builds.model import Build, BuildId, BuildState, ClaimedBuild, Image, ImageId, Source
from app.postgres.queries import load_queries
from app.queue.lease import Beat, Lease
from app.queue.wake import wake
from app.repositories.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from app.postgres.pool import Connection

SQL: Final = load_queries("builds")

TOPIC: Final = "builds"
STAGE: Final = "build"


class Piece(NamedTuple):
    """One row of a log: its number, its text, and when it was written."""

    seq: int
    text: str
    written_at: datetime


class Cancel(Enum):
    """What asking for the end of a build came to."""

    ASKED = auto()
    ASKED_BEFORE = auto()
    NOTHING = auto()


def log_topic(build_id: int) -> str:
    """The topic that wakes whoever follows this build's log."""
    return f"log/{build_id}"


async def upsert_image(conn: Connection, *, name: str, tag: str, repo: str, ref: str) -> tuple[ImageId, Build | None]:
    """Make sure of the image row, lock it until the transaction ends, and read its latest build."""
    row = await conn.fetchrow(SQL.upsert_image, name, tag, repo, ref)
    assert row is not None
    return ImageId(row["id"]), await read(conn, row["latest_build_id"]) if row["latest_build_id"] else None


async def insert_image(conn: Connection, *, name: str, tag: str, repo: str, ref: str) -> ImageId | None:
    """Make the image row, or take over one that is being deleted; None when ``name:tag`` exists."""
    value = await conn.fetchval(SQL.insert_image, name, tag, repo, ref)
    return None if value is None else ImageId(value)


async def image_id_of(conn: Connection, name: str, tag: str) -> ImageId | None:
    value = await conn.fetchval(SQL.image_id_by_name, name, tag)
    return None if value is None else ImageId(value)


async def lock_image(conn: Connection, image_id: int) -> Image | None:
    """Lock an image until the transaction ends, so that what is decided about it stays true."""
    if await conn.fetchrow(SQL.lock_image, image_id) is None:
        return None
    return await read_image(conn, image_id)


async def enqueue(
    conn: Connection,
    image_id: ImageId,
    *,
    source: Source,
    commit: str | None,
    recipe: Recipe,
    repository_id: int | None = None,
    delivery_id: int | None = None,
) -> BuildId:
    """Queue a build of a locked image: it becomes the image's latest, and older attempts give way to it."""
    frozen = {
        "dockerfile": recipe.dockerfile,
        "context": recipe.context,
        "target": recipe.target,
        "build_args": dict(recipe.build_args),
    }
    given = (image_id, repository_id, delivery_id, source, commit, frozen)
    return BuildId(await conn.fetchval(SQL.insert_build, *given, TOPIC))


async def claim(conn: Connection, *, token: UUID, lease_s: float, worker: str) -> ClaimedBuild | None:
    """Claim the oldest waiting build whose image nobody is building."""
    build_id = await conn.fetchval(SQL.claim_build, token, lease_s, worker)
    if build_id is None:
        return None
    row = await conn.fetchrow(SQL.read_claimed, build_id, token)
    assert row is not None
    return ClaimedBuild(
        lease=Lease(STAGE, row["id"], token, lease_s, row["waited_s"]),
        image_id=ImageId(row["image_id"]),
        name=row["name"],
        tag=row["tag"],
        repo=row["github_repo"],
        commit_sha=row["commit_sha"],
        recipe=Recipe(**row["recipe"]),
        attempt=row["attempt"],
        delivery_guid=row["delivery_guid"],
        last_seq=row["last_seq"],
        tag_moved=row["tag_moved"],
        installation=row["installation"],
    )


async def renew(conn: Connection, lease: Lease) -> Beat:
    cancel_wanted = await conn.fetchval(SQL.renew_build, lease.row_id, lease.token, lease.seconds)
    if cancel_wanted is None:
        return Beat.LOST
    return Beat.CANCEL if cancel_wanted else Beat.HELD


async def set_commit(conn: Connection, lease: Lease, commit: str) -> bool:
    return await conn.fetchval(SQL.set_commit, lease.row_id, lease.token, commit) is not None


async def append_log(conn: Connection, lease: Lease, seq: int, data: str) -> bool:
    """Write one piece of log and wake its followers; False when the lease was lost."""
    written = await conn.fetchval(SQL.append_log, lease.row_id, lease.token, seq, data) is not None
    await wake(conn, log_topic(lease.row_id))
    return written


async def read_log(conn: Connection, build_id: int, after: int, limit: int) -> list[Piece]:
    """Pieces of log behind position ``after``, in order."""
    rows = await conn.fetch(SQL.read_log, build_id, after, limit)
    return [Piece(row["seq"], row["data"], row["written_at"]) for row in rows]


async def read_log_tail(conn: Connection, build_id: int, pieces: int) -> str:
    """The text of the last pieces of log."""
    return "".join(row["data"] for row in reversed(await conn.fetch(SQL.read_log_tail, build_id, pieces)))


async def succeed(
    conn: Connection, lease: Lease, *, image_ref: str, exact_ref: str, digest: str, size_bytes: int
) -> ImageId | None:
    """building -> success; None when the lease was lost."""
    value = await conn.fetchval(SQL.succeed_build, lease.row_id, lease.token, image_ref, exact_ref, digest, size_bytes)
    await wake(conn, log_topic(lease.row_id))
    return None if value is None else ImageId(value)


async def set_live(conn: Connection, image_id: ImageId, build_id: int) -> bool:
    """Let products run what this build made; False when a newer build of the image has been queued meanwhile."""
    return await conn.fetchrow(SQL.set_live_build, image_id, build_id) is not None


async def fail(conn: Connection, lease: Lease, error: str) -> bool:
    """building -> failed; False when the lease was lost."""
    failed = await conn.fetchval(SQL.fail_build, lease.row_id, lease.token, error) is not None
    await wake(conn, log_topic(lease.row_id))
    return failed


async def cancel_if_wanted(conn: Connection, lease: Lease, reason: str) -> bool:
    """building -> cancelled if somebody asked for that; False when nobody did, or the lease was lost. Nobody asks any
    more until the transaction ends.
    """
    await conn.fetchval(SQL.lock_build, lease.row_id)
    done = await conn.fetchval(SQL.cancel_if_wanted, lease.row_id, lease.token, reason) is not None
    if done:
        await wake(conn, log_topic(lease.row_id))
        await wake(conn, TOPIC)
    return done


async def retry(conn: Connection, lease: Lease, wait_s: float) -> bool:
    """building -> pending with one more attempt; False when all are used up or the lease was lost."""
    return await conn.fetchval(SQL.retry_build, lease.row_id, lease.token, wait_s) is not None


async def hand_back(conn: Connection, lease: Lease) -> bool:
    """building -> pending for the next attempt, or the last one again, since this worker stops; False: lease lost."""
    back = await conn.fetchval(SQL.hand_back_build, lease.row_id, lease.token) is not None
    await wake(conn, TOPIC)
    return back


async def expired(conn: Connection) -> list[tuple[Lease, int]]:
    """Builds whose workers were lost, locked, as ``(lease, attempt)``."""
    rows = await conn.fetch(SQL.expired_builds)
    return [(Lease(STAGE, row["id"], row["lease_token"], 0), row["attempt"]) for row in rows]


async def cancel(conn: Connection, build_id: int) -> Cancel:
    """Cancel a waiting build, or ask for the end of a running one, whose worker hears of it at once."""
    await conn.fetchval(SQL.lock_build, build_id)
    if await conn.fetchval(SQL.cancel_pending, build_id) is not None:
        await wake(conn, log_topic(build_id))
        return Cancel.ASKED
    is_new = await conn.fetchval(SQL.ask_to_cancel, build_id)
    await wake(conn, TOPIC)
    if is_new is None:
        return Cancel.NOTHING
    return Cancel.ASKED if is_new else Cancel.ASKED_BEFORE


async def hold(conn: Connection, build_id: int) -> bool:
    """Keep what a build made from being removed until the transaction ends; False when it has been, or never was."""
    return await conn.fetchval(SQL.hold_build, build_id) is not None


async def images_on_record(conn: Connection, build_ids: Sequence[int]) -> dict[int, tuple[ImageId, str, str]]:
    """What the builds with these ids have made: by build id, ``(image id, exact reference, digest)``."""
    rows = await conn.fetch(SQL.made_by, list(build_ids))
    return {row["id"]: (ImageId(row["image_id"]), row["exact_ref"], row["digest"]) for row in rows}


async def read(conn: Connection, build_id: int) -> Build | None:
    row = await conn.fetchrow(SQL.read_build, build_id)
    return _build(row) if row else None


async def read_image(conn: Connection, image_id: int) -> Image | None:
    row = await conn.fetchrow(SQL.read_image, image_id)
    return _image(row) if row else None


async def list_images(
    conn: Connection,
    *,
    name: str | None = None,
    tag: str | None = None,
    repo: str | None = None,
    status: BuildState | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Image]:
    """A page of images, newest first, behind the image ``before``; ``repo`` in whatever case."""
    return [_image(row) for row in await conn.fetch(SQL.list_images, name, status, before, limit, tag, repo)]


async def builds_of(conn: Connection, image_id: int) -> list[tuple[Build, str | None]]:
    """Every build of an image, newest first, each with the GUID of the delivery that asked for it."""
    return [(_build(row), row["delivery_guid"]) for row in await conn.fetch(SQL.builds_of_image, image_id)]


async def facts(conn: Connection, build_id: int) -> dict[str, object]:
    """What a notice says about a build."""
    row = await conn.fetchrow(SQL.build_facts, build_id)
    assert row is not None
    return dict(row)


def _build(row: asyncpg.Record) -> Build:
    fields = {name: row[name] for name in Build.__slots__}
    fields["state"], fields["source"], fields["recipe"] = (
        BuildState(row["state"]),
        Source(row["source"]),
        Recipe(**row["recipe"]),
    )
    return Build(**fields)


def _image(row: asyncpg.Record) -> Image:
    fields = {name: row[name] for name in Image.__slots__}
    fields["build_status"] = BuildState(row["build_status"])
    return Image(**fields)
