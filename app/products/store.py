"""The products table, and what a built image does to it, or would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.engine.shape import PublishMode
from app.postgres.queries import load_queries
from app.products import pins
from app.products.model import Live, Product, ProductFields, ProductId, ProductStatus
from app.rollouts import store as rollouts
from app.rollouts.frozen import healthcheck_from, healthcheck_json
from app.rollouts.model import RolloutKind, RolloutReason

if TYPE_CHECKING:
    import asyncpg

    from app.postgres.pool import Connection
    from app.rollouts.model import RolloutId

SQL: Final = load_queries("products")


async def insert(conn: Connection, *, slug: str, fields: ProductFields, status: ProductStatus) -> ProductId:
    """Make a product. Raises asyncpg's ``UniqueViolationError``, naming the constraint, when slug or port are taken."""
    value = await conn.fetchval(
        SQL.insert_product,
        fields.name,
        slug,
        fields.port,
        fields.container_port,
        fields.publish_mode,
        fields.replicas,
        fields.image_id,
        fields.track,
        dict(fields.env),
        healthcheck_json(fields.healthcheck),
        status,
    )
    return ProductId(value)


async def update(conn: Connection, product: Product, fields: ProductFields) -> None:
    """Write a locked product's fields. Raises asyncpg's ``UniqueViolationError`` when the port is taken."""
    await conn.execute(
        SQL.update_product,
        product.id,
        fields.name,
        fields.port,
        fields.container_port,
        fields.publish_mode,
        fields.replicas,
        fields.image_id,
        fields.track,
        dict(fields.env),
        healthcheck_json(fields.healthcheck),
        fields.held_build_id,
    )


async def read(conn: Connection, product_id: int) -> Product | None:
    row = await conn.fetchrow(SQL.read_product, product_id)
    return _product(row) if row else None


async def lock(conn: Connection, product_id: int) -> Product | None:
    """Lock a product until the transaction ends, so that what is decided about it stays true."""
    if await conn.fetchval(SQL.lock_product, product_id) is None:
        return None
    return await read(conn, product_id)


async def list_products(
    conn: Connection,
    *,
    status: ProductStatus | None = None,
    image_id: int | None = None,
    slug: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Product]:
    """A page of products, newest first."""
    return [_product(row) for row in await conn.fetch(SQL.list_products, status, image_id, slug, before, limit)]


async def holder_of_slug(conn: Connection, slug: str) -> ProductId | None:
    """The id of the product that has a slug."""
    found: int | None = await conn.fetchval(SQL.holder_of_slug, slug)
    return None if found is None else ProductId(found)


async def holder_of_port(conn: Connection, port: int, *, besides: int | None = None) -> str | None:
    """The slug of a product, besides one, that shall have a port, or whose service still has it although it shall have
    another.
    """
    slug: str | None = await conn.fetchval(SQL.holder_of_port, port, besides)
    return slug


async def delete_unstarted(conn: Connection, product_id: int) -> bool:
    """Delete a locked product that never had a rollout, and so no service; False when it had one."""
    return await conn.fetchval(SQL.delete_unstarted_product, product_id) is not None


@dataclass(frozen=True, slots=True)
class Pinned:
    """A product that is pinned to an image of some name, as people know it."""

    slug: str
    name: str
    follower: pins.Follower


async def pinned_to_name(conn: Connection, name: str, tag: str) -> tuple[list[Pinned], int | None] | None:
    """Every product pinned to an image of this name, by slug, and the id of ``name:tag`` if there is one; None when
    neither an image nor a repository has the name.
    """
    if not await conn.fetchval(SQL.name_is_known, name):
        return None
    rows = await conn.fetch(SQL.products_of_name, name)
    return [Pinned(row["slug"], row["name"], _follower(row)) for row in rows], await conn.fetchval(
        SQL.image_id_of, name, tag
    )


async def follow_build(conn: Connection, image_id: int, name: str, tag: str) -> list[RolloutId]:
    """Move the pins of the products that follow a built image and queue their rollouts, in the caller's transaction."""
    images = [row["id"] for row in await conn.fetch(SQL.images_named, name)]
    # Locked before they are read: what another build's transaction moved meanwhile is then seen as it is.
    locked = [row["id"] for row in await conn.fetch(SQL.lock_products_on, images)]
    followers = [_follower(row) for row in await conn.fetch(SQL.followers, locked, image_id)]
    decided = pins.moves(followers, image_id, tag)
    if decided.pins:
        await conn.execute(SQL.move_pins, list(decided.pins), image_id)
    await conn.execute(SQL.release_builds, [one.product_id for one in followers if one.image_id == image_id])
    moved = await rollouts.enqueue(
        conn, decided.rollouts_for_pin_moved, kind=RolloutKind.DEPLOY, reason=RolloutReason.PIN_MOVED
    )
    built = await rollouts.enqueue(
        conn, decided.rollouts_for_image_built, kind=RolloutKind.DEPLOY, reason=RolloutReason.IMAGE_BUILT
    )
    return moved + built


def _follower(row: asyncpg.Record) -> pins.Follower:
    runs = row["wanted"] or row["status"] == ProductStatus.AWAITING_IMAGE
    return pins.Follower(row["id"], runs, row["image_id"], row["pinned_tag"], row["track"])


def _product(row: asyncpg.Record) -> Product:
    fields = ProductFields(
        name=row["name"],
        port=row["port"],
        container_port=row["container_port"],
        publish_mode=PublishMode(row["publish_mode"]),
        replicas=row["replicas"],
        image_id=row["image_id"],
        track=row["track"],
        env=row["env_sealed"],
        healthcheck=healthcheck_from(row["healthcheck"]),
        held_build_id=row["held_build_id"],
    )
    return Product(
        id=ProductId(row["id"]),
        slug=row["slug"],
        fields=fields,
        image_name=f"{row['pinned_name']}:{row['pinned_tag']}" if row["image_id"] else None,
        live_build_id=row["live_build_id"],
        wanted=row["wanted"],
        status=ProductStatus(row["status"]),
        service_id=row["service_id"],
        live=_live(row) if row["live_rollout_id"] else None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _live(row: asyncpg.Record) -> Live:
    return Live(
        rollout_id=row["live_rollout_id"],
        image=row["live_image"],
        image_name=f"{row['live_image_name']}:{row['live_image_tag']}" if row["live_image_name"] else None,
        build_id=row["live_rollout_build_id"],
        port=row["live_port"],
        container_port=row["live_container_port"],
        replicas=row["live_replicas"],
        since=row["live_since"],
    )
