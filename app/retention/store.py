"""What retention reads and writes: removals on the builds table, deletions on docker_images, and the chores table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.builds import store as builds
from app.postgres.queries import load_queries
from app.queue.lease import Beat, Lease
from app.retention.model import BuiltImage, Chore, Use, Why
from app.retention.orphans import KnownBuild, Records

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from app.builds.model import Image
    from app.postgres.pool import Connection

SQL: Final = load_queries("retention")

TOPIC: Final = "chores"
STAGE: Final = "chore"


@dataclass(frozen=True, slots=True)
class InUse:
    """A product that needs an image."""

    id: int
    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class Busy:
    """A build of the image waits or runs."""


async def built_images(conn: Connection, image_id: int | None = None) -> list[BuiltImage]:
    """Everything that builds made and that was not removed, oldest build first; of one image, or of all."""
    return [BuiltImage(**row) for row in await conn.fetch(SQL.built_images, image_id)]


async def time(conn: Connection) -> datetime:
    """The database's time, by which the age of what was built is judged."""
    now: datetime = await conn.fetchval(SQL.time)
    return now


async def uses(conn: Connection, keep: int) -> list[Use]:
    """Every need that a product has of a built image; of what it ran before, the newest ``keep`` and one more."""
    rows = await conn.fetch(SQL.uses, keep + 1)
    return [Use(row["product"], Why(row["why"]), row["build_id"], row["image"], row["rank"]) for row in rows]


async def remove(conn: Connection, built: BuiltImage) -> bool:
    """Say that nothing may run what this build made any more; False when something came to need it meanwhile.

    The engine and the registry are rid of it later: see ``to_purge``.
    """
    if await builds.lock_image(conn, built.image_id) is None:
        return False
    # Statement by statement: what was committed while we waited for these locks is seen by the next one.
    await conn.execute(SQL.lock_build, built.build_id)
    if await conn.fetchval(SQL.mark_removed, built.build_id) is None:
        return False
    await conn.execute(SQL.forget_live, built.build_id)
    return True


async def obstacles(conn: Connection, image_id: int) -> Busy | list[InUse]:
    """Why an image cannot be deleted now: a build of it waits or runs, or these products need it; else no products."""
    if await conn.fetchval(SQL.image_is_busy, image_id):
        return Busy()
    return [InUse(**row) for row in await conn.fetch(SQL.image_in_use, image_id)]


async def delete(conn: Connection, image: Image) -> Busy | list[InUse]:
    """Make a locked image go, unless something is in the way: gone for everybody at once, its row when engine and
    registry are rid of what it had.
    """
    await conn.execute(SQL.lock_builds, image.id)
    found = await obstacles(conn, image.id)
    if found == []:
        await conn.execute(SQL.mark_deleting, image.id)
        await conn.execute(SQL.remove_all_builds, image.id)
    return found


async def to_purge(conn: Connection, image_id: int | None, *, after: int = 0, limit: int = 100) -> list[BuiltImage]:
    """What was removed and may still be on the engine or in the registry, behind the build ``after``; of one image, or
    of all.
    """
    rows = await conn.fetch(SQL.to_purge, image_id, after, limit)
    return [BuiltImage(**row, live=False, busy=False) for row in rows]


async def mark_purged(conn: Connection, build_id: int) -> None:
    await conn.execute(SQL.mark_purged, build_id)


async def digest_is_needed(conn: Connection, build_id: int, exact_ref: str) -> bool:
    """Whether another build has the same manifest in the registry."""
    return bool(await conn.fetchval(SQL.digest_is_needed, build_id, exact_ref))


async def delete_purged(conn: Connection, image_id: int) -> bool:
    """Delete the row of an image that is being deleted, with its builds and logs; False while something of it is left,
    or when it is wanted again.
    """
    return await conn.fetchval(SQL.delete_purged_image, image_id) is not None


async def images_to_delete(conn: Connection) -> list[int]:
    """Images of which only the row is left."""
    return [row["id"] for row in await conn.fetch(SQL.images_to_delete)]


async def installation(conn: Connection) -> str:
    """What our images and services on an engine are labelled with."""
    return str(await conn.fetchval(SQL.installation))


async def records(
    conn: Connection, builds: Collection[int], products: Collection[str], *, default_image: str
) -> Records:
    """What is known of these builds and of the products with these slugs."""
    known = {
        row["id"]: KnownBuild(row["over"], row["succeeded"], frozenset(row["made"]), row["at_work"])
        for row in await conn.fetch(SQL.builds_known, list(builds))
    }
    work = await conn.fetchrow(SQL.builds_at_work)
    assert work is not None
    return Records(
        builds=known,
        last_build_id=work["last_build_id"],
        claimed_since=work["claimed_since"],
        gone=await products_gone(conn, products),
        default_image=default_image,
    )


async def products_gone(conn: Connection, slugs: Collection[str]) -> frozenset[str]:
    """Those of these slugs whose product somebody asked to delete, and that no product has now."""
    asked = {row["slug"] for row in await conn.fetch(SQL.products_asked_to_go, list(slugs))}
    return frozenset(asked - {row["slug"] for row in await conn.fetch(SQL.products_that_exist, list(slugs))})


async def due_at_start(conn: Connection, chore: Chore) -> None:
    """Let a chore be due now, unless it is already."""
    await conn.execute(SQL.chore_at_start, chore)


async def claim(
    conn: Connection, names: Collection[Chore], *, token: UUID, lease_s: float, worker: str
) -> tuple[Lease, Chore] | None:
    """Take a chore that is due; None when none is, or somebody works on it."""
    row = await conn.fetchrow(SQL.claim_chore, token, lease_s, worker, list(names))
    return (Lease(STAGE, row["id"], token, lease_s), Chore(row["name"])) if row else None


async def renew(conn: Connection, lease: Lease) -> Beat:
    held = await conn.fetchval(SQL.renew_chore, lease.row_id, lease.token, lease.seconds)
    return Beat.LOST if held is None else Beat.HELD


async def settle(conn: Connection, lease: Lease, wait_s: float, *, done: bool) -> bool:
    """Let the chore wait for its next turn; False when the lease was lost."""
    return await conn.fetchval(SQL.settle_chore, lease.row_id, lease.token, wait_s, done) is not None
