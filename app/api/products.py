"""/api/v1/products: who runs what; every change that must reach the swarm becomes a rollout in the same transaction."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from starlette.responses import JSONResponse

from app.api.asking import json_body, missing, path_id, query
from app.api.paging import page
from app.api.rollouts import accepted
from app.api.schema.base import PageQuery, WaitQuery, dump_all
from app.api.schema.products import ProductIn, ProductOut, ProductPatch
from app.api.schema.rollouts import RolloutOut
from app.api.services import services_of
from app.builds import store as builds
from app.engine.image import inspect_image
from app.errors import SwarmUnavailable
from app.mask import MASK
from app.postgres.pool import transaction
from app.problems import field_problem
from app.products import store
from app.products.model import Product, ProductFields, ProductStatus, needs_rollout
from app.rollouts import store as rollouts
from app.rollouts.frozen import open_value, seal_value
from app.rollouts.model import RolloutKind, RolloutReason
from app.sealing import SealBroken, merge_masked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services
    from app.builds.model import Image
    from app.postgres.pool import Connection
    from app.rollouts.model import RolloutId
    from app.sealing import Vault


CONFLICT: Final = HTTPStatus.CONFLICT


async def create_product(request: Request) -> Response:
    """201 the product, stopped, or awaiting its image when ``when_built``; 404, 409 and 422 as problems."""
    wanted = await json_body(request, ProductIn)
    services = services_of(request)
    fields = ProductFields(
        name=wanted.name,
        port=wanted.port,
        container_port=wanted.container_port,
        publish_mode=wanted.publish_mode,
        replicas=wanted.replicas,
        image_id=wanted.image_id,
        track=wanted.track,
        env=sealed_env(services.vault, wanted.slug, {}, wanted.env_vars),
        healthcheck=wanted.healthcheck.value() if wanted.healthcheck else None,
    )
    refuse_rule_without_pin(fields)
    async with _unique(wanted.slug, wanted.port), transaction(services.pool) as conn:
        image = await _locked_image(conn, wanted.image_id)
        if wanted.when_built and image is None:
            raise field_problem("when_built", "needs an image_id to wait for")
        waits = wanted.when_built and image is not None and image.live_build_id is None
        if not waits:
            _refuse_unbuilt(image)
        status = ProductStatus.AWAITING_IMAGE if waits else ProductStatus.STOPPED
        product_id = await store.insert(conn, slug=wanted.slug, fields=fields, status=status)
        product = await _product(conn, product_id)
    return _shown(services, product, HTTPStatus.CREATED, {"Location": f"/api/v1/products/{product.id}"})


async def list_products(request: Request) -> Response:
    services = services_of(request)
    async with transaction(services.pool) as conn:
        found = await store.list_all(conn)
    default = services.settings.tagship_default_image
    return JSONResponse(dump_all([ProductOut.of(product, default) for product in found]))


async def read_product(request: Request) -> Response:
    services = services_of(request)
    async with transaction(services.pool) as conn:
        product = await _product(conn, path_id(request, "product"))
    return _shown(services, product)


async def change_product(request: Request) -> Response:
    """200 the product; one that shall run rolls out when its image, env, port, replicas or health check changed."""
    patch = await json_body(request, ProductPatch)
    product_id = path_id(request, "product")
    services = services_of(request)
    async with transaction(services.pool) as conn:
        seen = await _product(conn, product_id)
    unpinned = await _unpinned_image(services, changed(services.vault, seen, patch).image_id) if seen.wanted else None
    async with _unique(None, patch.port), transaction(services.pool) as conn:
        # The image before the product, as everywhere: a build that ends meanwhile locks them in that order.
        image = await _locked_image(conn, patch.image_id)
        before = await _locked(conn, product_id)
        after = changed(services.vault, before, patch)
        refuse_rule_without_pin(after)
        if image is not None and after.image_id != before.fields.image_id:
            _refuse_unbuilt(image)
        waits = before.status is ProductStatus.AWAITING_IMAGE
        if waits and after.image_id is None:
            raise field_problem("image_id", "cannot be taken away while the product waits for it", status=CONFLICT)
        await store.update(conn, before, after)
        starts = waits and image is not None and image.live_build_id is not None
        if starts or (before.wanted and needs_rollout(before.fields, after)):
            await _roll_out(conn, product_id, RolloutReason.CHANGED, after, unpinned)
        product = await _product(conn, product_id)
    return _shown(services, product)


async def start_product(request: Request) -> Response:
    """202 the rollout that starts it; 409 when its image has not been built, or the engine has no swarm."""
    return await _deploy(request, RolloutReason.START)


async def redeploy_product(request: Request) -> Response:
    """202 the rollout that replaces every task, although nothing changed."""
    return await _deploy(request, RolloutReason.REDEPLOY)


async def stop_product(request: Request) -> Response:
    """202 the rollout that scales it to nothing; its replicas are remembered."""
    asked, services = query(request, WaitQuery), services_of(request)
    product_id = path_id(request, "product")
    await _need_swarm(services)
    async with transaction(services.pool) as conn:
        await _locked(conn, product_id)
        [rollout_id] = await rollouts.enqueue(
            conn,
            [product_id],
            kind=RolloutKind.STOP,
            reason=RolloutReason.STOP,
            unpinned_image=services.settings.tagship_default_image,
        )
    return await accepted(services, rollout_id, asked.wait)


async def list_rollouts(request: Request) -> Response:
    """200 a page of the product's rollouts, newest first."""
    asked, services = query(request, PageQuery), services_of(request)
    product_id = path_id(request, "product")
    async with transaction(services.pool) as conn:
        await _product(conn, product_id)
        found = await rollouts.of_product(conn, product_id, before=asked.before, limit=asked.limit)
    return page(request, [RolloutOut.of(one) for one in found], asked.limit, found[-1].id if found else None)


async def _deploy(request: Request, reason: RolloutReason) -> Response:
    asked, services = query(request, WaitQuery), services_of(request)
    product_id = path_id(request, "product")
    await _need_swarm(services)
    async with transaction(services.pool) as conn:
        seen = await _product(conn, product_id)
    unpinned = await _unpinned_image(services, seen.fields.image_id)
    async with transaction(services.pool) as conn:
        product = await _locked(conn, product_id)
        if product.fields.image_id is not None:
            # Not locked: a build that ends meanwhile waits for the product and then rolls it out again.
            _refuse_unbuilt(await builds.read_image(conn, product.fields.image_id))
        rollout_id = await _roll_out(conn, product_id, reason, product.fields, unpinned)
    return await accepted(services, rollout_id, asked.wait)


async def _roll_out(
    conn: Connection, product_id: int, reason: RolloutReason, fields: ProductFields, unpinned: str | None
) -> RolloutId:
    if fields.image_id is None and unpinned is None:
        raise field_problem("image_id", "was taken away meanwhile; try again", status=CONFLICT)
    [rollout_id] = await rollouts.enqueue(
        conn, [product_id], kind=RolloutKind.DEPLOY, reason=reason, unpinned_image=unpinned
    )
    return rollout_id


async def _unpinned_image(services: Services, image_id: int | None) -> str | None:
    """The exact image that a product without a pin runs; None for one with a pin. 409 when the engine has none."""
    if image_id is not None:
        return None
    name = services.settings.tagship_default_image
    image = await inspect_image(services.engine, name)
    if image is None:
        sentence = f"the engine has no image {name}, which a product without an image runs; build it, or set image_id"
        raise field_problem("image_id", sentence, status=CONFLICT)
    return image.id


async def _need_swarm(services: Services) -> None:
    info = await services.engine.describe()
    if not info.swarm_active or not info.swarm_manager:
        raise SwarmUnavailable("the engine is not a manager of a swarm; run `docker swarm init` on it")


def refuse_rule_without_pin(fields: ProductFields) -> None:
    """Raise the problem of a ``track`` that has no pin to move."""
    if fields.track is not None and fields.image_id is None:
        raise field_problem("track", "needs an image_id: it moves a pin along the tags of that image's name")


async def _locked_image(conn: Connection, image_id: int | None) -> Image | None:
    """The image that a request names, locked, so that a build that ends meanwhile is not missed; 404 for a wrong
    one.
    """
    if image_id is None:
        return None
    image = await builds.lock_image(conn, image_id)
    if image is None:
        raise field_problem("image_id", f"there is no image {image_id}", status=HTTPStatus.NOT_FOUND)
    return image


def _refuse_unbuilt(image: Image | None) -> None:
    if image is not None and image.live_build_id is None:
        sentence = f"image {image.name}:{image.tag} has not been built ({image.build_status})"
        raise field_problem("image_id", sentence, status=CONFLICT)


def changed(vault: Vault, product: Product, patch: ProductPatch) -> ProductFields:
    """The fields after a patch: only what it names changes."""
    before = product.fields
    given: dict[str, Any] = {name: getattr(patch, name) for name in patch.model_fields_set}
    if "env_vars" in given:
        given["env"] = sealed_env(vault, product.slug, before.env, given.pop("env_vars"))
    if given.get("healthcheck") is not None:
        given["healthcheck"] = given["healthcheck"].value()
    kept = {name: getattr(before, name) for name in before.__slots__}
    return ProductFields(**(kept | given))


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


@asynccontextmanager
async def _unique(slug: str | None, port: int) -> AsyncIterator[None]:
    """Turn a broken uniqueness rule into a 409 that names the field."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        taken = {"products_slug_key": ("slug", slug), "products_port_key": ("port", port)}.get(
            error.constraint_name or ""
        )
        if taken is None:
            raise
        raise field_problem(taken[0], f"{taken[1]} is taken by another product", status=CONFLICT) from None


async def _product(conn: Connection, product_id: int) -> Product:
    product = await store.read(conn, product_id)
    if product is None:
        raise missing("product", product_id)
    return product


async def _locked(conn: Connection, product_id: int) -> Product:
    product = await store.lock(conn, product_id)
    if product is None:
        raise missing("product", product_id)
    return product


def _shown(
    services: Services, product: Product, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    shown = ProductOut.of(product, services.settings.tagship_default_image).model_dump(mode="json")
    return JSONResponse(shown, status, dict(headers or {}))
