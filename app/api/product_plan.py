"""/api/v1/products/{id}/plan: what a change would do, before it is done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from app.api.answering import answer
from app.api.asking import found, json_body, path_id
from app.api.product_actions import (
    as_it_was,
    cannot_go_back,
    earlier_success,
    need_swarm,
    refuse_unbuilt,
    unpinned_image,
)
from app.api.product_fields import CONFLICT, changed, refuse_rule_without_pin, refuse_taken_port
from app.api.schema.plans import PlanIn, PlanOut
from app.api.schema.products import ProductPatch
from app.api.services import services_of
from app.builds import store as builds
from app.engine.compare import replaces_tasks
from app.engine.credentials import registry_access
from app.engine.image import inspect_image
from app.engine.shape import LABEL_PRODUCT
from app.engine.spec import service_spec
from app.engine.specs import read_spec
from app.errors import ImageUnreachable
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.problems import Problem, field_problem
from app.products import store
from app.products.model import ProductStatus, needs_rollout
from app.products.plan import (
    Brought,
    PlanAction,
    Watch,
    consequences,
    field_changes,
    planned_rollout,
    spec_changes,
    what_is_kept,
)
from app.rollouts.frozen import open_env
from app.rollouts.image import refuse_unreachable
from app.rollouts.model import Rollout, service_target
from app.sealing import SealBroken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services
    from app.postgres.pool import Connection
    from app.products.model import Product, ProductFields

SQL: Final = load_queries("plans")


@dataclass(frozen=True, slots=True)
class Wish:
    """A product as it is and as it would be, what it would then run, and whether that reaches the swarm."""

    action: PlanAction
    product: Product
    after: ProductFields
    brought: Brought | None
    rolls_out: bool
    under_way: int | None
    installation: str


async def plan_product(request: Request) -> Response:
    """200 what would happen if one did this: what differs in the product and in its service as it is on the swarm now,
    whether and how its tasks are replaced, and what becomes of what runs. Nothing is written. Whatever would be refused
    is refused here with the same problem: 404, 409 and 422. Needs the role of whoever may do it, since a guess at a
    variable's value would otherwise be told from a wrong one. 503 when the engine has to be asked and is away.
    """
    wanted = await json_body(request, PlanIn)
    _refuse_misplaced(wanted)
    services, product_id = services_of(request), path_id(request, "product")
    if wanted.action is not PlanAction.CHANGE:
        await need_swarm(services)
    async with transaction(services.pool) as conn:
        product = found(await store.read(conn, product_id), "product", product_id)
        if product.status is ProductStatus.DELETING:
            raise Problem(CONFLICT, f"product {product.slug} is being deleted")
        wish = await _wish(conn, services, product, wanted)
    try:
        return answer(await _planned(services, wish))
    except SealBroken as error:
        raise Problem(CONFLICT, str(error)) from error


def _refuse_misplaced(wanted: PlanIn) -> None:
    if wanted.change is not None and wanted.action is not PlanAction.CHANGE:
        raise field_problem("change", f"goes with the action change, not with {wanted.action}")
    if wanted.to is not None and wanted.action is not PlanAction.ROLLBACK:
        raise field_problem("to", f"goes with the action rollback, not with {wanted.action}")


async def _wish(conn: Connection, services: Services, product: Product, wanted: PlanIn) -> Wish:
    match wanted.action:
        case PlanAction.CHANGE:
            after, rolls_out = await _changed(conn, services, product, wanted.change or ProductPatch())
            brought = await _of_pin(conn, after)
        case PlanAction.ROLLBACK:
            target = await earlier_success(conn, product, wanted.to)
            after, rolls_out = await _as_it_was(conn, product, target), True
            brought = _of_rollout(target)
        case _:
            after, rolls_out = product.fields, True
            brought = await _of_pin(conn, after)
            if wanted.action is not PlanAction.STOP and after.image_id and after.held_build_id is None:
                refuse_unbuilt(await builds.read_image(conn, after.image_id))
    return Wish(
        wanted.action,
        product,
        after,
        brought,
        rolls_out,
        await conn.fetchval(SQL.under_way, product.id),
        await conn.fetchval(SQL.installation),
    )


async def _changed(
    conn: Connection, services: Services, product: Product, patch: ProductPatch
) -> tuple[ProductFields, bool]:
    """What a PATCH would make of the product, and whether a rollout would follow; see ``change_product``."""
    after = changed(services.vault, product, patch)
    says_both = {"image_id", "track"} <= patch.model_fields_set
    refuse_rule_without_pin(after, HTTPStatus.UNPROCESSABLE_ENTITY if says_both else CONFLICT)
    image = await builds.read_image(conn, patch.image_id) if patch.image_id is not None else None
    if patch.image_id is not None and image is None:
        raise field_problem("image_id", f"there is no image {patch.image_id}", status=HTTPStatus.NOT_FOUND)
    if after.image_id != product.fields.image_id:
        refuse_unbuilt(image)
    waits = product.status is ProductStatus.AWAITING_IMAGE
    if waits and after.image_id is None:
        raise field_problem("image_id", "cannot be taken away while the product waits for it", status=CONFLICT)
    if after.port != product.fields.port:
        await refuse_taken_port(conn, after.port, product.id)
    starts = waits and image is not None and image.live_build_id is not None
    return after, starts or (product.wanted and needs_rollout(product.fields, after))


async def _as_it_was(conn: Connection, product: Product, target: Rollout) -> ProductFields:
    image = None
    if target.image_name is not None:
        image = await builds.read_image(conn, target.image_id) if target.image_id is not None else None
        if image is None:
            raise cannot_go_back(target, f"the image {target.image_name}:{target.image_tag} was deleted")
        if not await conn.fetchval(SQL.build_is_kept, target.build_id):
            raise cannot_go_back(target, f"that build of {target.image_name}:{target.image_tag} was removed")
    after = as_it_was(product.fields, target, image)
    if after.port != product.fields.port:
        await refuse_taken_port(conn, after.port, product.id)
    return after


async def _of_pin(conn: Connection, fields: ProductFields) -> Brought | None:
    """What the pin brings; None without one, or while the image has not been built."""
    row = await conn.fetchrow(SQL.brought_by_pin, fields.image_id, fields.held_build_id)
    return Brought(**row) if row is not None and row["image"] is not None else None


def _of_rollout(target: Rollout) -> Brought:
    return Brought(**{name: getattr(target, name) for name in Brought.__slots__})


# -------------------------------------------------------------------- what comes of it


async def _planned(services: Services, wish: Wish) -> PlanOut:
    product, before, after = wish.product, wish.product.fields, wish.after
    vault, default = services.vault, services.settings.tagship_default_image
    env = open_env(vault, product.slug, before.env), open_env(vault, product.slug, after.env)
    old = product.image_name or default
    new = old if after.image_id == before.image_id else wish.brought.name if wish.brought else default
    fields = field_changes(before, after, env=env, images=(old, new))
    plan: dict[str, Any] = {
        "product_id": product.id,
        "slug": product.slug,
        "action": wish.action,
        "rolls_out": wish.rolls_out,
        "replaces_tasks": False,
        "order": None,
        "monitor_s": None,
        "gives_way": None,
        "fields": fields,
        "changes": [],
        "effects": [],
    }
    if not wish.rolls_out:
        return PlanOut.model_validate(plan | {"effects": what_is_kept(product, fields)})
    return PlanOut.model_validate(plan | await _on_the_swarm(services, wish, env[1]))


async def _on_the_swarm(services: Services, wish: Wish, env: Mapping[str, str]) -> dict[str, Any]:
    product, settings = wish.product, services.settings
    brought = await _image(services, wish)
    rollout = planned_rollout(
        product, wish.after, brought, wish.action, installation=wish.installation, now=datetime.now(UTC)
    )
    current = await _current(services, rollout)
    watch = Watch(settings.tagship_rollout_monitor_s, settings.tagship_rollout_timeout_s)
    port = rollout.container_port or await _exposed_port(services, rollout, current)
    target = service_target(rollout, env, container_port=port, monitor_s=watch.monitor_s)
    stops = wish.action is PlanAction.STOP
    wanted = service_spec(replace(target, published=not stops), current)  # a stopped product's port is given up
    changes = [] if stops and current is None else spec_changes(
        current, wanted, replaces=wish.action is PlanAction.REDEPLOY
    )  # fmt: skip
    replaced = not stops and current is not None and replaces_tasks(changes)
    return {
        "changes": changes,
        "replaces_tasks": replaced,
        "order": wanted["UpdateConfig"]["Order"] if replaced else None,
        "monitor_s": watch.monitor_s,
        "gives_way": wish.under_way,
        "effects": consequences(product, target, current, changes, watch, under_way=wish.under_way),
    }


async def _image(services: Services, wish: Wish) -> Brought:
    """The exact image that would run; refused where the nodes cannot have it."""
    if wish.action is PlanAction.STOP:
        of_pin = wish.brought or Brought("")
        return replace(of_pin, image=wish.product.live.image) if wish.product.live else of_pin
    brought = wish.brought or Brought(await unpinned_image(services, wish.after.image_id) or "")
    if wish.action is PlanAction.ROLLBACK:
        try:
            await refuse_unreachable(services.engine, registry_access(services.settings), brought.image)
        except ImageUnreachable as error:
            raise Problem(CONFLICT, f"cannot go back: {error}") from error
    return brought


async def _current(services: Services, rollout: Rollout) -> dict[str, Any] | None:
    """The service's spec as it is on the swarm; 409 when somebody else has a service of that name."""
    spec = await read_spec(services.engine, rollout.service_name)
    if spec is not None and (spec.get("Labels") or {}).get(LABEL_PRODUCT) != rollout.slug:
        sentence = f"the swarm has a service {rollout.service_name} that does not belong to this product"
        raise Problem(CONFLICT, f"{sentence}; remove it or take another slug")
    return spec


async def _exposed_port(services: Services, rollout: Rollout, current: Mapping[str, Any] | None) -> int:
    """The port that the image exposes; that of today while the engine has not pulled the image yet."""
    image = await inspect_image(services.engine, rollout.image) if rollout.image else None
    if image is not None:
        return next(iter(image.exposed_tcp), rollout.port)
    ports = ((current or {}).get("EndpointSpec") or {}).get("Ports") or ()
    return next((int(port["TargetPort"]) for port in ports if "TargetPort" in port), rollout.port)
