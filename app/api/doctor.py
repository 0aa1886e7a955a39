"""/api/v1/doctor and /api/v1/repositories/{id}/check: how Tagship is, and whether a repository's tags will reach it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.api.answering import answer_all
from app.api.asking import found, path_id
from app.api.schema.findings import FindingOut
from app.api.services import services_of
from app.deliveries import inbox
from app.findings import (
    MOST_REFUSALS,
    Finding,
    database_finding,
    disk_finding,
    engine_finding,
    github_finding,
    hook_finding,
    last_delivery_finding,
    look_finding,
    reachable_finding,
    registry_finding,
    reports_finding,
    swarm_finding,
    tried,
    webhook_finding,
)
from app.postgres.pool import transaction
from app.reports.store import refusals
from app.repositories import store as repositories

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services
    from app.reports.store import Refusal


async def examine(request: Request) -> Response:
    """200 what `tagship doctor` says, asked by this process: database, engine, swarm, GitHub, reports, registry, disk and
    webhook.
    """
    services = services_of(request)
    settings, engine = services.settings, services.engine
    looks = (
        tried("database", lambda: _database(services)),
        tried("engine", lambda: engine_finding(engine)),
        tried("swarm", lambda: swarm_finding(settings, engine)),
        tried("github", lambda: github_finding(services.github)),
        reports_finding(settings, lambda: _refusals(services)),
        tried("registry", lambda: registry_finding(services.registry)),
        disk_finding(settings, engine),
    )
    return _answer([*await asyncio.gather(*looks), webhook_finding(settings)])


async def check_repository(request: Request) -> Response:
    """200 whether tags of this repository will reach Tagship: the secret, our address, GitHub's list of its tags, its
    webhook there (which needs credentials that may read webhooks), and the last delivery that came.
    """
    repository_id, services = path_id(request, "repository"), services_of(request)
    async with transaction(services.pool) as conn:
        repository = found(await repositories.read(conn, repository_id), "repository", repository_id)
        last = await inbox.list_page(conn, state=None, repo=repository.repo, event=None, before=None, limit=1)
    public_url = services.settings.public_url
    hook = await tried("webhook", lambda: hook_finding(services.github, repository.repo, public_url))
    return _answer(
        [
            webhook_finding(services.settings, part="secret"),
            reachable_finding(public_url),
            look_finding(repository),
            hook,
            last_delivery_finding(last[0] if last else None),
        ]
    )


async def _database(services: Services) -> Finding:
    async with transaction(services.pool) as conn:
        return await database_finding(services.settings, conn)


async def _refusals(services: Services) -> list[Refusal]:
    async with transaction(services.pool) as conn:
        return await refusals(conn, MOST_REFUSALS)


def _answer(findings: list[Finding]) -> Response:
    return answer_all([FindingOut.of(finding) for finding in findings])
