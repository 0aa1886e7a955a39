"""/api/v1/retention: remove what nothing needs, now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from app.access import audit
from app.access.model import Subject
from app.api.asking import query
from app.api.auth import act_of
from app.api.schema.retention import RetentionOut, RetentionQuery
from app.api.services import services_of
from app.postgres.pool import transaction
from app.retention.upkeep import Upkeep

if TYPE_CHECKING:
    from starlette.requests import Request

    from app.api.services import Services
    from app.retention.upkeep import Outcome


async def run_retention(request: Request) -> Response:
    """200 what was removed from engine and registry, what was kept and why, and what the build cache gave back; with
    ``?dry_run=true`` what would be, and nothing is changed.
    """
    asked = query(request, RetentionQuery)
    services = services_of(request)
    upkeep = upkeep_of(services)
    if asked.dry_run:
        return await _shown(await upkeep.look(), dry_run=True)
    decided = await upkeep.decide()
    async with transaction(services.pool) as conn:
        builds = [verdict.built.build_id for verdict in decided.removed]
        await audit.record(conn, act_of(request), Subject("retention", None, "retention"), builds=builds)
    return await _shown(await upkeep.carry_out(decided), dry_run=False)


def upkeep_of(services: Services) -> Upkeep:
    """What keeps engine and registry tidy, as the settings say."""
    return Upkeep.of(services.settings, services.pool, services.engine, services.registry)


async def _shown(outcome: Outcome, *, dry_run: bool) -> Response:
    """The outcome as JSON, written in a thread: it names every image that is kept."""
    text = await asyncio.to_thread(lambda: RetentionOut.of(outcome, dry_run=dry_run).model_dump_json())
    return Response(text, media_type="application/json")
