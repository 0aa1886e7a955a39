"""Tell GitHub what became of a build or a rollout. Nothing waits for this stage, and nothing fails because of it.

The order of effects for a rollout that GitHub does not know yet, each of which may be the last one before a crash:
1. the row is claimed under a lease, and the claim counted; 2. the deployment is made on GitHub; 3. its id is stored;
4. its status is set; 5. the row says what was told. A claim that is not the first and finds no id looks for the
deployment that an earlier one may have made. Setting a status twice does no harm.

Whoever may not write (401, 403, 404) is not asked to again: the refusal of that repository and kind is a row of
``report_refusals``, which ends a day later, when a process starts, or with the first report that goes well.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from app.errors import GitHubNotFound, GitHubRateLimited, GitHubRefused, GitHubUnavailable, sentence_of
from app.postgres.pool import transaction
from app.queue.retry import RetryIn
from app.queue.watch import RETRIED
from app.reports import store
from app.reports.model import ClaimedReport, Leave, Note, ReportKind, SwitchOff, Tell, after_failure, decide
from app.reports.text import context_of, description_of, link_of, payload_of

if TYPE_CHECKING:
    from app.github.reporting import Reporting
    from app.postgres.pool import Pool
    from app.queue.lease import Beat, Settle

log = structlog.get_logger(__name__)

CONCURRENCY: Final = 2
LEASE_S: Final = 120.0
REFUSED_S: Final = 24 * 3600.0
STALE_S: Final = 24 * 3600.0
CRASH_S: Final = 60.0
LONGEST_PAUSE_S: Final = 60.0
TOLD: Final = "told"
CLOSED: Final = "closed"
REFUSED: Final = "refused"


class ReportStage:
    """The stage that brings what GitHub knows to what is true."""

    name = store.STAGE
    concurrency = CONCURRENCY

    def __init__(self, pool: Pool, github: Reporting, *, worker: str, public_url: str) -> None:
        self._pool, self._github, self._worker, self._public_url = pool, github, worker, public_url
        self._quiet_until = 0.0

    async def recover(self) -> None:
        """Close what is news no more; a report whose worker was lost is claimed again as it is."""
        async with transaction(self._pool) as conn:
            await store.close_stale(conn, STALE_S)

    async def claim(self) -> ClaimedReport | None:
        """Nothing for a moment after a rate limit: it is ours as a whole, not one report's."""
        if asyncio.get_running_loop().time() < self._quiet_until:
            return None
        async with transaction(self._pool) as conn:
            return await store.claim(conn, token=uuid4(), lease_s=LEASE_S, worker=self._worker)

    async def renew(self, job: ClaimedReport) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job.lease)

    async def run(self, job: ClaimedReport) -> Settle:
        """Tell it and settle the row in one step, which the loop does not tear apart when the process stops."""
        return partial(self._report, job)

    async def hand_back(self, job: ClaimedReport) -> None:
        async with transaction(self._pool) as conn:
            await store.hand_back(conn, job.lease)

    async def cancel(self, job: ClaimedReport) -> None:
        """Nobody cancels a report; what arrives here is handed back."""
        await self.hand_back(job)

    async def crash(self, job: ClaimedReport, error: Exception) -> None:
        """An error of ours, or of the database: look again in a minute."""
        await self._delay(job, CRASH_S, sentence_of(error))

    # ------------------------------------------------------------------ telling

    async def _report(self, job: ClaimedReport) -> str:
        match decide(job):
            case Leave(reason):
                await self._close(job, reason)
                return CLOSED
            case Note(last):
                await self._note(job, last=last)
            case Tell() as tell:
                try:
                    await self._tell(job, tell)
                except (GitHubUnavailable, GitHubRateLimited, GitHubNotFound, GitHubRefused) as error:
                    return await self._not_told(job, error)
                await self._told(job, tell)
        return TOLD

    async def _tell(self, job: ClaimedReport, tell: Tell) -> None:
        text, link = description_of(job, tell), link_of(job, self._public_url)
        if job.kind is ReportKind.STATUS:
            await self._github.set_status(
                job.github_repo,
                tell.sha,
                context=context_of(job),
                state=tell.state,
                description=text,
                target_url=link,
            )
            return
        number = job.deployment_id or await self._deployment_of(job, text)
        await self._github.set_deployment_status(
            job.github_repo, number, state=tell.state, description=text, log_url=link
        )

    async def _deployment_of(self, job: ClaimedReport, text: str) -> int:
        """The rollout's deployment on GitHub: the one that a lost worker made, or a new one. Its id is stored."""
        environment, payload = job.slug or "", payload_of(job, self._public_url)
        number = None
        if job.attempt > 1:
            number = await self._github.find_deployment(
                job.github_repo, job.commit_sha, environment=environment, payload=payload
            )
        if number is None:
            number = await self._github.create_deployment(
                job.github_repo, job.commit_sha, environment=environment, description=text, payload=payload
            )
        async with transaction(self._pool) as conn:
            if not await store.note_deployment(conn, job.lease, number):
                raise job.lease.lost()
        return number

    async def _told(self, job: ClaimedReport, tell: Tell) -> None:
        async with transaction(self._pool) as conn:
            if not await store.settle(conn, job.lease, tell.told, tell.sha if tell.told else None, last=tell.last):
                raise job.lease.lost()
            again = await store.accept(conn, job.github_repo, job.kind)
        if again:
            log.info("reporting_accepted", repo=job.github_repo, kind=str(job.kind))
        log.info("report_told", repo=job.github_repo, kind=str(job.kind), state=tell.state, sha=tell.sha)

    # ------------------------------------------------------------------ not telling

    async def _not_told(self, job: ClaimedReport, error: Exception) -> str:
        match after_failure(job, error):
            case RetryIn(seconds):
                if isinstance(error, GitHubRateLimited):
                    self._quiet_until = asyncio.get_running_loop().time() + min(seconds, LONGEST_PAUSE_S)
                await self._delay(job, seconds, str(error))
                return RETRIED
            case Leave(reason):
                await self._close(job, reason)
                return CLOSED
            case SwitchOff(reason):
                await self._switch_off(job, reason)
                return REFUSED

    async def _switch_off(self, job: ClaimedReport, reason: str) -> None:
        async with transaction(self._pool) as conn:
            if not await store.delay(conn, job.lease, 0, reason):
                raise job.lease.lost()
            await store.refuse(conn, job.github_repo, job.kind, reason, REFUSED_S)
        log.warning("reporting_refused", repo=job.github_repo, kind=str(job.kind), reason=reason, retry_s=REFUSED_S)

    async def _note(self, job: ClaimedReport, *, last: bool) -> None:
        async with transaction(self._pool) as conn:
            if not await store.settle(conn, job.lease, job.state, job.commit_sha, last=last):
                raise job.lease.lost()

    async def _close(self, job: ClaimedReport, reason: str) -> None:
        async with transaction(self._pool) as conn:
            if not await store.close(conn, job.lease, reason):
                raise job.lease.lost()
        log.info("report_closed", repo=job.github_repo, kind=str(job.kind), reason=reason)

    async def _delay(self, job: ClaimedReport, wait_s: float, reason: str) -> None:
        async with transaction(self._pool) as conn:
            if not await store.delay(conn, job.lease, wait_s, reason):
                raise job.lease.lost()
        log.warning("report_delayed", attempt=job.attempt, wait_s=wait_s, reason=reason)
