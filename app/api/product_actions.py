"""What people do to a product: start, stop, redeploy, roll back. Each is a rollout, queued with the change that it
needs.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.access import audit
from app.access.model import Subject
from app.api.asking import found, optional_body, path_id, query
from app.api.auth import act_of
from app.api.product_fields import CONFLICT, names_changed, naming_what_is_taken, refuse_taken_port
from app.api.rollouts import accepted
from app.api.schema.base import WaitQuery
from app.api.schema.products import RollbackIn
from app.api.services import services_of
from app.builds import store as builds
from app.engine.credentials import registry_access
from app.engine.image import inspect_image
from app.errors import ImageUnreachable, SwarmUnavailable
from app.postgres.pool import transaction
from app.problems import Problem, field_problem
from app.products import store
from app.products.model import Product, ProductFields, ProductStatus
from app.rollouts import store as rollouts
from app.rollouts.image import refuse_unreachable
from app.rollouts.model import Rollout, RolloutKind, RolloutReason, RolloutState, rollback_target

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services
    from app.builds.model import Image
    from app.postgres.pool import Connection
    from app.rollouts.model import RolloutId


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
    await need_swarm(services)
    async with transaction(services.pool) as conn:
        product = await locked_product(conn, product_id)
        [rollout_id] = await rollouts.enqueue(
            conn,
            [product_id],
            kind=RolloutKind.STOP,
            reason=RolloutReason.STOP,
            unpinned_image=services.settings.tagship_default_image,
        )
        await record_change(conn, request, product, rollout=rollout_id)
    return await accepted(services, rollout_id, asked.wait)


async def rollback_product(request: Request) -> Response:
    """202 the rollout that brings back an earlier success: its exact image, env, ports, publish mode, replicas and
    health check become the product's own again. A stopped product starts.

    Without ``to`` it is the newest success that is not what the product asks for now: what still runs after a rollout
    that failed, else the one before what runs; a second rollback goes further back. With ``to`` it is that rollout: 404
    when it is not the product's, 409 when it did not end well. 409, and nothing is changed, when there is nothing to go
    back to, when the image is gone from engine and registry, or when another product has taken the port.

    The pin goes back too, and stays on that build until its image is built again or the pin is set or moved; ``track``
    stays, so that the next newer tag moves the pin forward again. Take the rule away to stay.
    """
    asked, services = query(request, WaitQuery), services_of(request)
    wanted = await optional_body(request, RollbackIn)
    product_id = path_id(request, "product")
    await need_swarm(services)
    async with transaction(services.pool) as conn:
        product = found(await store.read(conn, product_id), "product", product_id)
        target = await earlier_success(conn, product, wanted.to)
    try:
        await refuse_unreachable(services.engine, registry_access(services.settings), target.image)
    except ImageUnreachable as error:
        raise cannot_go_back(target, str(error)) from error
    async with naming_what_is_taken(services.pool, None, target.port), transaction(services.pool) as conn:
        held = await _held_image(conn, target)
        before = await locked_product(conn, product_id)
        after = as_it_was(before.fields, target, held)
        await store.update(conn, before, after)
        await refuse_taken_port(conn, after.port, product_id)
        unpinned = target.image if after.image_id is None else None
        rollout_id = await roll_out(conn, product_id, RolloutReason.ROLLBACK, after, unpinned)
        details = names_changed(before.fields, after)
        await record_change(conn, request, before, rollout=rollout_id, to=target.id, **details)
    return await accepted(services, rollout_id, asked.wait)


async def earlier_success(conn: Connection, product: Product, to: int | None) -> Rollout:
    """The rollout to go back to; the problem when there is none, or not that one."""
    if to is None:
        to = rollback_target(*await rollouts.past_deploys(conn, product.id))
        if to is None:
            raise Problem(CONFLICT, f"product {product.slug} has never successfully been anything else than it is now")
    rollout = await rollouts.read(conn, to)
    if rollout is None or rollout.product_id != product.id:
        raise field_problem("to", f"product {product.slug} has no rollout {to}", status=HTTPStatus.NOT_FOUND)
    if rollout.kind is not RolloutKind.DEPLOY or rollout.state is not RolloutState.DONE:
        what = "stopped the product" if rollout.kind is RolloutKind.STOP else f"is {rollout.state}, not done"
        raise field_problem("to", f"rollout {to} {what}; name one that brought it to run", status=CONFLICT)
    return rollout


async def _held_image(conn: Connection, target: Rollout) -> Image | None:
    """The pin of an earlier rollout, locked, and its build kept from being removed; None when it had no pin."""
    if target.image_name is None:
        return None
    image = await builds.lock_image(conn, target.image_id) if target.image_id is not None else None
    if image is None:
        raise cannot_go_back(target, f"the image {target.image_name}:{target.image_tag} was deleted")
    if target.build_id is None or not await builds.hold(conn, target.build_id):
        raise cannot_go_back(target, f"that build of {target.image_name}:{target.image_tag} was removed")
    return image


def cannot_go_back(target: Rollout, reason: str) -> Problem:
    return Problem(CONFLICT, f"cannot go back to rollout {target.id}: {reason}")


def as_it_was(fields: ProductFields, target: Rollout, image: Image | None) -> ProductFields:
    """The product's fields with everything that the earlier rollout had."""
    newest = image is None or image.live_build_id == target.build_id
    return replace(
        fields,
        image_id=image.id if image else None,
        held_build_id=None if newest else target.build_id,
        track=fields.track if image else None,
        env=target.env_sealed,
        port=target.port,
        container_port=target.container_port,
        publish_mode=target.publish_mode,
        replicas=target.replicas,
        healthcheck=target.healthcheck,
    )


async def _deploy(request: Request, reason: RolloutReason) -> Response:
    asked, services = query(request, WaitQuery), services_of(request)
    product_id = path_id(request, "product")
    await need_swarm(services)
    async with transaction(services.pool) as conn:
        seen = found(await store.read(conn, product_id), "product", product_id)
    unpinned = await unpinned_image(services, seen.fields.image_id)
    async with transaction(services.pool) as conn:
        product = await locked_product(conn, product_id)
        if product.fields.image_id is not None and product.fields.held_build_id is None:
            # Not locked: a build that ends meanwhile waits for the product and then rolls it out again.
            refuse_unbuilt(await builds.read_image(conn, product.fields.image_id))
        rollout_id = await roll_out(conn, product_id, reason, product.fields, unpinned)
        await record_change(conn, request, product, rollout=rollout_id)
    return await accepted(services, rollout_id, asked.wait)


async def roll_out(
    conn: Connection, product_id: int, reason: RolloutReason, fields: ProductFields, unpinned: str | None
) -> RolloutId:
    """Queue the rollout of a locked product; ``unpinned`` is the exact image of one without a pin."""
    if fields.image_id is None and unpinned is None:
        raise field_problem("image_id", "was taken away meanwhile; try again", status=CONFLICT)
    [rollout_id] = await rollouts.enqueue(
        conn, [product_id], kind=RolloutKind.DEPLOY, reason=reason, unpinned_image=unpinned
    )
    return rollout_id


async def unpinned_image(services: Services, image_id: int | None) -> str | None:
    """The exact image that a product without a pin runs; None for one with a pin. 409 when the engine has none."""
    if image_id is not None:
        return None
    name = services.settings.tagship_default_image
    image = await inspect_image(services.engine, name)
    if image is None:
        sentence = f"the engine has no image {name}, which a product without an image runs; build it, or set image_id"
        raise field_problem("image_id", sentence, status=CONFLICT)
    return image.id


async def need_swarm(services: Services) -> None:
    """Raise unless the engine answers (503) and is a manager of a swarm (409), before anything is written."""
    info = await services.engine.describe()
    if not info.swarm_active or not info.swarm_manager:
        raise SwarmUnavailable("the engine is not a manager of a swarm; run `docker swarm init` on it")


async def locked_product(conn: Connection, product_id: int) -> Product:
    """The product, locked for a change; 404 when there is none, 409 when it is on its way out."""
    product = found(await store.lock(conn, product_id), "product", product_id)
    if product.status is ProductStatus.DELETING:
        raise Problem(CONFLICT, f"product {product.slug} is being deleted")
    return product


def refuse_unbuilt(image: Image | None) -> None:
    """Raise the 409 for an image that nothing can run now."""
    if image is not None and image.not_runnable is not None:
        raise field_problem("image_id", image.not_runnable, status=CONFLICT)


async def record_change(conn: Connection, request: Request, product: Product, **details: object) -> None:
    """Write what this request does to the product into the audit log."""
    await audit.record(conn, act_of(request), Subject("product", product.id, product.slug), **details)
