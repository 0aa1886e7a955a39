"""/api/v1/products: who runs what; every change that must reach the swarm becomes a rollout in the same transaction."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response

from app.api.answering import answer, page
from app.api.asking import found, json_body, path_id, query
from app.api.product_actions import (
    locked_product,
    need_swarm,
    record_change,
    refuse_unbuilt,
    roll_out,
    unpinned_image,
)
from app.api.product_fields import (
    CONFLICT,
    changed,
    names_changed,
    naming_what_is_taken,
    refuse_rule_without_pin,
    refuse_taken_port,
    sealed_env,
)
from app.api.rollouts import when_final
from app.api.schema.products import DeleteQuery, ProductIn, ProductOut, ProductPatch, ProductQuery
from app.api.services import services_of
from app.builds import store as builds
from app.postgres.pool import transaction
from app.problems import field_problem
from app.products import store
from app.products.model import Product, ProductFields, ProductStatus, needs_rollout
from app.rollouts import store as rollouts
from app.rollouts.model import RolloutKind, RolloutReason

if TYPE_CHECKING:
    from starlette.requests import Request

    from app.api.services import Services
    from app.builds.model import Image
    from app.postgres.pool import Connection
    from app.rollouts.model import RolloutId


async def create_product(request: Request) -> Response:
    """201 the product, stopped, or awaiting its image when ``when_built``; 404, 409 and 422 as problems.

    A port is taken by a product that shall have it, and by one whose containers still have it.
    """
    wanted = await json_body(request, ProductIn)
    services = services_of(request)
    fields = _fields_of(services, wanted)
    refuse_rule_without_pin(fields)
    async with naming_what_is_taken(services.pool, wanted.slug, wanted.port), transaction(services.pool) as conn:
        image = await _locked_image(conn, wanted.image_id)
        if wanted.when_built and image is None:
            raise field_problem("when_built", "needs an image_id to wait for")
        waits = wanted.when_built and image is not None and image.live_build_id is None
        if not waits:
            refuse_unbuilt(image)
        status = ProductStatus.AWAITING_IMAGE if waits else ProductStatus.STOPPED
        product_id = await store.insert(conn, slug=wanted.slug, fields=fields, status=status)
        await refuse_taken_port(conn, wanted.port, product_id)
        product = found(await store.read(conn, product_id), "product", product_id)
        details = {"port": wanted.port, "replicas": wanted.replicas, "env": sorted(wanted.env_vars)}
        await record_change(conn, request, product, image=product.image_name, **details)
    return answer(_shown(services, product), HTTPStatus.CREATED, location=f"/products/{product.id}")


def _fields_of(services: Services, wanted: ProductIn) -> ProductFields:
    return ProductFields(
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


async def list_products(request: Request) -> Response:
    """200 a page, newest first, with a ``Link`` to the next when there may be one."""
    asked, services = query(request, ProductQuery), services_of(request)
    async with transaction(services.pool) as conn:
        listed = await store.list_products(
            conn,
            status=asked.status,
            image_id=asked.image_id,
            slug=asked.slug,
            before=asked.before,
            limit=asked.limit,
        )
    default = services.settings.tagship_default_image
    return page(request, listed, lambda product: ProductOut.of(product, default), asked.limit)


async def read_product(request: Request) -> Response:
    """200 the product: what it shall be, and as ``live`` what its service was last brought to with success. The two
    differ after a rollout that failed.
    """
    services, product_id = services_of(request), path_id(request, "product")
    async with transaction(services.pool) as conn:
        product = found(await store.read(conn, product_id), "product", product_id)
    return answer(_shown(services, product))


async def change_product(request: Request) -> Response:
    """200 the product; one that shall run rolls out when its image, env, port, replicas or health check changed."""
    patch = await json_body(request, ProductPatch)
    product_id = path_id(request, "product")
    services = services_of(request)
    async with transaction(services.pool) as conn:
        seen = found(await store.read(conn, product_id), "product", product_id)
    unpinned = await unpinned_image(services, changed(services.vault, seen, patch).image_id) if seen.wanted else None
    async with naming_what_is_taken(services.pool, None, patch.port), transaction(services.pool) as conn:
        # The image before the product, as everywhere: a build that ends meanwhile locks them in that order.
        image = await _locked_image(conn, patch.image_id)
        before = await locked_product(conn, product_id)
        after = changed(services.vault, before, patch)
        says_both = {"image_id", "track"} <= patch.model_fields_set
        refuse_rule_without_pin(after, HTTPStatus.UNPROCESSABLE_ENTITY if says_both else CONFLICT)
        if image is not None and after.image_id != before.fields.image_id:
            refuse_unbuilt(image)
        waits = before.status is ProductStatus.AWAITING_IMAGE
        if waits and after.image_id is None:
            raise field_problem("image_id", "cannot be taken away while the product waits for it", status=CONFLICT)
        await store.update(conn, before, after)
        if after.port != before.fields.port:
            await refuse_taken_port(conn, after.port, product_id)
        starts = waits and image is not None and image.live_build_id is not None
        if starts or (before.wanted and needs_rollout(before.fields, after)):
            await roll_out(conn, product_id, RolloutReason.CHANGED, after, unpinned)
        product = found(await store.read(conn, product_id), "product", product_id)
        if after != before.fields:
            await record_change(conn, request, product, **names_changed(before.fields, after))
    return answer(_shown(services, product))


async def delete_product(request: Request) -> Response:
    """204 once the product's service, its containers and then the product are gone; slug and port are free from then
    on. 202 and the product, ``deleting``, when that takes longer than ``wait`` seconds: it goes on by itself, also
    after a restart and while the engine is away, and nothing else can be done to the product any more. Asking again
    waits again. 503 or 409 without an engine or a swarm, and then nothing was changed; a product that was never started
    needs neither. A service of the same name that is not the product's is left alone.
    """
    asked, services, product_id = query(request, DeleteQuery), services_of(request), path_id(request, "product")
    async with transaction(services.pool) as conn:
        product = found(await store.lock(conn, product_id), "product", product_id)
        if await store.delete_unstarted(conn, product_id):
            await record_change(conn, request, product)
            return Response(status_code=HTTPStatus.NO_CONTENT)
    await need_swarm(services)
    async with transaction(services.pool) as conn:
        product = found(await store.lock(conn, product_id), "product", product_id)
        removal = await rollouts.removal_of(conn, product_id) or await _begin_removal(conn, request, product)
    rollout = await when_final(services, removal, asked.wait)
    if rollout is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    async with transaction(services.pool) as conn:
        left = await store.read(conn, product_id)
    if left is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return answer(_shown(services, left), HTTPStatus.ACCEPTED, location=f"/rollouts/{removal}")


async def _begin_removal(conn: Connection, request: Request, product: Product) -> RolloutId:
    await record_change(conn, request, product)
    [rollout_id] = await rollouts.enqueue(
        conn,
        [product.id],
        kind=RolloutKind.REMOVE,
        reason=RolloutReason.DELETE,
        unpinned_image=services_of(request).settings.tagship_default_image,
    )
    return rollout_id


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


def _shown(services: Services, product: Product) -> ProductOut:
    return ProductOut.of(product, services.settings.tagship_default_image)
