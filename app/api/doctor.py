"""/api/v1/doctor and the checks of a repository: how Tagship is, and whether a repository's tags will reach it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from app.access import audit
from app.access.model import Subject
from app.api.answering import answer_all
from app.api.asking import found, path_id
from app.api.auth import act_of
from app.api.schema.findings import FindingOut
from app.api.services import services_of
from app.deliveries import inbox
from app.errors import AppError
from app.findings import (
    MOST_REFUSALS,
    Finding,
    database_finding,
    disk_finding,
    engine_finding,
    github_finding,
    hook_findings,
    last_delivery_finding,
    look_finding,
    ping_finding,
    reachable_finding,
    registry_finding,
    reports_finding,
    secret_finding,
    swarm_finding,
    tried,
    unseen_hook_finding,
    webhook_finding,
)
from app.postgres.pool import transaction
from app.problems import Problem
from app.reconcile.hooks import PATH, our_hook
from app.reports.store import refusals
from app.repositories import store as repositories

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services
    from app.deliveries.model import Delivery
    from app.github.client import GitHubClient
    from app.postgres.pool import Connection
    from app.reports.store import Refusal
    from app.repositories.model import Repository

PATIENCE_S: Final = 15.0  # a person looks at the page meanwhile
HIDDEN: Final = "its webhook is not known, which takes credentials that may read webhooks"
PING: Final = "ping"
PING_S: Final = 10.0
PING_EVERY_S: Final = 0.25


async def examine(request: Request) -> Response:
    """200 what `tagship doctor` says, asked by this process: database, engine, swarm, GitHub, reports, registry, disk
    and webhook. Each is waited for 15 s at most.
    """
    services = services_of(request)
    settings, engine = services.settings, services.engine
    looks: dict[str, Callable[[], Awaitable[Finding]]] = {
        "database": lambda: _database(services),
        "engine": lambda: engine_finding(engine),
        "swarm": lambda: swarm_finding(settings, engine),
        "github": lambda: github_finding(services.github),
        "reports": lambda: reports_finding(settings, lambda: _refusals(services)),
        "registry": lambda: registry_finding(services.registry),
        "disk": lambda: disk_finding(settings, engine),
    }
    found = await asyncio.gather(*(tried(part, look, patience_s=PATIENCE_S) for part, look in looks.items()))
    return _answer([*found, webhook_finding(settings)])


async def check_repository(request: Request) -> Response:
    """200 whether tags of this repository will reach Tagship: the secret, our address, GitHub's list of its tags, its
    webhook there and how its last delivery was answered (which needs credentials that may read webhooks), and the last
    delivery that came.
    """
    services = services_of(request)
    repository, last = await _repository(request)
    public_url = services.settings.public_url
    return _answer(
        [
            secret_finding(services.settings),
            reachable_finding(services.settings),
            look_finding(repository),
            *await _hook_findings(services.github, repository.repo, public_url),
            last_delivery_finding(last),
        ]
    )


async def ping_repository(request: Request) -> Response:
    """200 whether GitHub's ping came: GitHub is asked to send one by the repository's webhook (which needs credentials
    that may write webhooks), and it is waited for 10 s at most. 409 when GitHub has no webhook there that leads here.
    """
    services = services_of(request)
    repository, last = await _repository(request, event=PING)
    repo, watching, public_url = repository.repo, services.github.watching, services.settings.public_url
    hook = None if watching.is_anonymous else our_hook(await watching.hooks(repo), public_url)
    if hook is None or not hook.config.url.startswith(f"{public_url}/"):
        sentence = f"GitHub shows no webhook of {repo} that leads to {public_url}{PATH}, so that none can be pinged"
        raise Problem(HTTPStatus.CONFLICT, sentence)
    await watching.ping(repo, hook.id)
    async with transaction(services.pool) as conn:
        await audit.record(conn, act_of(request), Subject("repository", repository.id, repo))
    return _answer([ping_finding(await _pinged(services, repo, last), PING_S)])


async def _repository(request: Request, *, event: str | None = None) -> tuple[Repository, Delivery | None]:
    """The repository that is asked for, and its last delivery."""
    repository_id = path_id(request, "repository")
    async with transaction(services_of(request).pool) as conn:
        repository = found(await repositories.read(conn, repository_id), "repository", repository_id)
        return repository, await _last(conn, repository.repo, event)


async def _last(conn: Connection, repo: str, event: str | None) -> Delivery | None:
    page = await inbox.list_page(conn, state=None, repo=repo, event=event, before=None, limit=1)
    return page[0] if page else None


async def _pinged(services: Services, repo: str, last: Delivery | None) -> Delivery | None:
    """The first ping of a repository behind the last one, or None when it does not come in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PING_S):
            while not services.stopping.is_set():
                async with transaction(services.pool) as conn:
                    newest = await _last(conn, repo, PING)
                if newest is not None and (last is None or newest.id > last.id):
                    return newest
                await asyncio.sleep(PING_EVERY_S)
    return None


async def _hook_findings(github: GitHubClient, repo: str, public_url: str) -> list[Finding]:
    """What is known of a repository's webhook, or why nothing is."""
    if github.watching.is_anonymous:
        return [unseen_hook_finding()]
    try:
        async with asyncio.timeout(PATIENCE_S):
            return hook_findings(await github.watching.hooks(repo), repo, public_url)
    except AppError as error:
        return [Finding("webhook", ok=False, sentence=f"{HIDDEN}: {error}", needed=False)]
    except TimeoutError:
        sentence = f"its webhook is not known: GitHub gave no answer within {PATIENCE_S:.0f} s"
        return [Finding("webhook", ok=False, sentence=sentence, needed=False)]


async def _database(services: Services) -> Finding:
    async with transaction(services.pool) as conn:
        return await database_finding(services.settings, conn)


async def _refusals(services: Services) -> list[Refusal]:
    async with transaction(services.pool) as conn:
        return await refusals(conn, MOST_REFUSALS)


def _answer(findings: list[Finding]) -> Response:
    return answer_all([FindingOut.of(finding) for finding in findings])
