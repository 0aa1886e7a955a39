"""The products table, and what a built image does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.engine.shape import PublishMode
from app.postgres.queries import load_queries
from app.products import pins
from app.products.model import Product, ProductFields, ProductId, ProductStatus
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
    )


async def read(conn: Connection, product_id: int) -> Product | None:
    row = await conn.fetchrow(SQL.read_product, product_id)
    return _product(row) if row else None


async def lock(conn: Connection, product_id: int) -> Product | None:
    """Lock a product until the transaction ends, so that what is decided about it stays true."""
    if await conn.fetchval(SQL.lock_product, product_id) is None:
        return None
    return await read(conn, product_id)


async def list_all(conn: Connection) -> list[Product]:
    """Every product, newest first."""
    return [_product(row) for row in await conn.fetch(SQL.list_products)]


async def follow_build(conn: Connection, image_id: int, name: str, tag: str) -> list[RolloutId]:
    """Move the pins of the products that follow a built image and queue their rollouts, in the caller's transaction."""
    images = [row["id"] for row in await conn.fetch(SQL.images_named, name)]
    # Locked before they are read: what another build's transaction moved meanwhile is then seen as it is.
    locked = [row["id"] for row in await conn.fetch(SQL.lock_products_on, images)]
    followers = [_follower(row) for row in await conn.fetch(SQL.followers, locked, image_id)]
    decided = pins.moves(followers, image_id, tag)
    if decided.pins:
        await conn.execute(SQL.move_pins, list(decided.pins), image_id)
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
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
