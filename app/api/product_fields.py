"""What a write makes of a product's fields, and the refusals that are about one of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from app.mask import MASK
from app.postgres.pool import transaction
from app.problems import field_problem
from app.products import store
from app.products.model import ProductFields
from app.rollouts.frozen import open_value, seal_value
from app.sealing import SealBroken, merge_masked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from app.api.schema.products import ProductPatch
    from app.postgres.pool import Connection, Pool
    from app.products.model import Product
    from app.sealing import Vault

CONFLICT: Final = HTTPStatus.CONFLICT
SHOWN_AS: Final = {"env": "env_vars", "held_build_id": "image_id"}


def changed(vault: Vault, product: Product, patch: ProductPatch) -> ProductFields:
    """The fields after a patch: only what it names changes. Setting the pin, even to what it is, ends what a rollback
    held back.
    """
    before = product.fields
    given: dict[str, Any] = {name: getattr(patch, name) for name in patch.model_fields_set}
    if "env_vars" in given:
        given["env"] = sealed_env(vault, product.slug, before.env, given.pop("env_vars"))
    if given.get("healthcheck") is not None:
        given["healthcheck"] = given["healthcheck"].value()
    if "image_id" in given:
        given["held_build_id"] = None
    kept = {name: getattr(before, name) for name in before.__slots__}
    return ProductFields(**(kept | given))


def names_changed(before: ProductFields, after: ProductFields) -> dict[str, list[str]]:
    """What the audit log says of a change: the names of the fields, and of the variables; never their values."""
    fields = [name for name in before.__slots__ if getattr(before, name) != getattr(after, name)]
    details = {"changed": sorted({SHOWN_AS.get(name, name) for name in fields})}
    env = sorted(name for name in {*before.env, *after.env} if before.env.get(name) != after.env.get(name))
    return details | ({"env": env} if env else {})


def sealed_env(vault: Vault, slug: str, before: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The env after a write, sealed. The mask keeps the value that is there, and a value that is the same stays as it
    was sealed, so that writing it again is no change.
    """
    try:
        merge_masked(given, before)
    except ValueError as error:
        raise field_problem("env_vars", str(error)) from None
    env = {}
    for name, value in given.items():
        old = before.get(name)
        same = old is not None and (value == MASK or _opens_to(vault, slug, name, old, value))
        env[name] = old if old is not None and same else seal_value(vault, slug, name, value)
    return env


def _opens_to(vault: Vault, slug: str, name: str, sealed: str, value: str) -> bool:
    try:
        return open_value(vault, slug, name, sealed) == value
    except SealBroken:
        return False


def refuse_rule_without_pin(fields: ProductFields, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> None:
    """Raise the problem of a ``track`` that has no pin to move."""
    if fields.track is not None and fields.image_id is None:
        sentence = "needs an image_id: it moves a pin along the tags of that image's name"
        raise field_problem("track", sentence, status=status)


async def refuse_taken_port(conn: Connection, port: int, product_id: int) -> None:
    """Raise the 409 that names the product that has a port; asked after the port was written, so that of two writers
    one is refused whatever the order.
    """
    if holder := await store.holder_of_port(conn, port, besides=product_id):
        raise field_problem("port", f"{port} is taken by product {holder}", status=CONFLICT)


@asynccontextmanager
async def naming_what_is_taken(pool: Pool, slug: str | None, port: int) -> AsyncIterator[None]:
    """Turn a broken uniqueness rule into a 409 that names the field and who has the value."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        async with transaction(pool) as conn:
            if error.constraint_name == "products_slug_key" and slug is not None:
                holder = await store.holder_of_slug(conn, slug)
                raise field_problem("slug", f"{slug} is taken by product {holder or '…'}", status=CONFLICT) from None
            if error.constraint_name == "products_port_key":
                by = await store.holder_of_port(conn, port) or "…"
                raise field_problem("port", f"{port} is taken by product {by}", status=CONFLICT) from None
        raise
