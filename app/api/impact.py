"""/api/v1/images/{name}/impact: which products a tag would move, before anyone pushes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.answering import answer
from app.api.asking import missing, query
from app.api.schema.impact import ImpactOut, ImpactQuery, MoveOut, StayOut
from app.api.services import services_of
from app.postgres.pool import transaction
from app.products import store
from app.products.pins import Effect, effect, why_it_stays

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def read_impact(request: Request) -> Response:
    """200 which products would move if ``tag`` of this image were built now, and why the others stay; the same decision
    that is made when it is built. 404 for a name that no image and no repository has.
    """
    name = request.path_params["name"]
    asked = query(request, ImpactQuery)
    async with transaction(services_of(request).pool) as conn:
        known = await store.pinned_to_name(conn, name, asked.tag) if "\0" not in name else None
    if known is None:
        raise missing("image", name)
    pinned, image_id = known
    return answer(impact_of(name, asked.tag, pinned, image_id))


def impact_of(name: str, tag: str, pinned: list[store.Pinned], image_id: int | None) -> ImpactOut:
    """What the tag does to each product; ``image_id`` None is an image that is still to be made."""
    shown = ImpactOut(image=name, tag=tag, moves=[], stays=[])
    for product in pinned:
        follower = product.follower
        what = effect(follower, image_id, tag)
        same = {"id": follower.product_id, "slug": product.slug, "name": product.name, "track": follower.track}
        if what is Effect.NOTHING:
            reason = why_it_stays(follower, tag)
            shown.stays.append(StayOut.model_validate(same | {"pinned_to": follower.pinned_tag, "reason": reason}))
        else:
            moved = {"from_tag": follower.pinned_tag, "to": tag, "effect": what, "runs": follower.runs}
            shown.moves.append(MoveOut.model_validate(same | moved))
    return shown
