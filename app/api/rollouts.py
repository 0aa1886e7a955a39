"""/api/v1/rollouts: how one change of one service goes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from app.api.answering import answer, page
from app.api.asking import found, path_id, query
from app.api.schema.base import PageQuery
from app.api.schema.rollouts import RolloutOut
from app.api.services import services_of
from app.postgres.pool import transaction
from app.products import store as products
from app.rollouts import store

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services
    from app.rollouts.model import Rollout

LOOK_AGAIN_S: Final = 1.0


async def read_rollout(request: Request) -> Response:
    """200 the rollout: how far it is, what it brings, and once it has failed, why, with the tasks that show it."""
    rollout_id = path_id(request, "rollout")
    async with transaction(services_of(request).pool) as conn:
        rollout = found(await store.read(conn, rollout_id), "rollout", rollout_id)
    return answer(RolloutOut.of(rollout))


async def list_rollouts(request: Request) -> Response:
    """200 a page of the product's rollouts, newest first."""
    asked, services = query(request, PageQuery), services_of(request)
    product_id = path_id(request, "product")
    async with transaction(services.pool) as conn:
        found(await products.read(conn, product_id), "product", product_id)
        listed = await store.of_product(conn, product_id, before=asked.before, limit=asked.limit)
    return page(request, listed, RolloutOut.of, asked.limit)


async def accepted(services: Services, rollout_id: int, wait_s: float) -> Response:
    """202 the rollout with its address, once it is final or the caller has waited long enough."""
    rollout = found(await when_final(services, rollout_id, wait_s), "rollout", rollout_id)
    return answer(RolloutOut.of(rollout), HTTPStatus.ACCEPTED, location=f"/rollouts/{rollout_id}")


async def when_final(services: Services, rollout_id: int, wait_s: float) -> Rollout | None:
    """The rollout as soon as it is final, at the latest after ``wait_s`` seconds or when the process stops; None once
    it went with its product.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    with services.wakeups.subscribe(store.state_topic(rollout_id)) as woken:
        while True:
            woken.clear()
            async with transaction(services.pool) as conn:
                rollout = await store.read(conn, rollout_id)
            left = deadline - loop.time()
            if rollout is None or rollout.state.final or left <= 0 or services.stopping.is_set():
                return rollout
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), min(LOOK_AGAIN_S, left))
