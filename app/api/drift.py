"""/api/v1/drift and /api/v1/products/{id}/drift: what somebody changed by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.api.answering import answer
from app.api.asking import found, path_id
from app.api.schema.plans import DriftOut, FleetDriftOut
from app.api.services import services_of
from app.rollouts.fleet import compare_fleet, compare_product

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def read_product_drift(request: Request) -> Response:
    """200 whether the product's service on the swarm still is what its last successful rollout made it, and each value
    that is not: of what Tagship writes, and nothing else. Variables are masked. While a rollout is under way, or after
    one that failed, nothing is compared, and ``state`` says so. 503 when the engine is away.
    """
    services, product_id = services_of(request), path_id(request, "product")
    at = datetime.now(UTC)
    compared = await compare_product(services.pool, services.engine, services.vault, product_id)
    return answer(DriftOut.of(found(compared, "product", product_id), at))


async def list_drift(request: Request) -> Response:
    """200 every product whose service somebody changed, removed or took over outside Tagship, in the order of their
    ids; how many were compared in all. 503 when the engine is away.
    """
    services, at = services_of(request), datetime.now(UTC)
    fleet = await compare_fleet(services.pool, services.engine, services.vault)
    wrong = [DriftOut.of(one, at) for one in fleet if one.state.is_wrong]
    return answer(FleetDriftOut(checked_at=at, compared=len(fleet), drifted=wrong))
