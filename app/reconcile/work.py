"""Look at the tags of one repository: list them, ask about those that may have to be built, and queue what was missed.

Everything GitHub says is gathered first; then one transaction writes down what was seen, queues the builds, and keeps
the ETags of the listing. A look that is cut off anywhere is therefore begun anew, and finds the same. A delivery that
arrives meanwhile knows better: its tag is left alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from app.errors import AppError, GitHubNotFound, GitHubRateLimited, GitHubRefused, sentence_of
from app.github.client import MOST_DATED
from app.github.tags import version_key
from app.postgres.pool import transaction
from app.reconcile import store
from app.reconcile.model import Findings, FoundTag, needs_dates, sort_out
from app.reconcile.pace import REQUESTS_OF_A_QUESTION, Pause, Trouble, most_questions, next_look, pause_after, phase_of
from app.reconcile.queue import queue_builds
from app.reconcile.redeliver import Redelivery
from app.repositories import store as repositories

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from app.github.client import GitHubClient
    from app.github.watching import Page
    from app.postgres.pool import Connection, Pool
    from app.queue.lease import Beat, Settle
    from app.reconcile.store import ClaimedLook

log = structlog.get_logger(__name__)

LEASE_S: Final = 120.0
CONCURRENCY: Final = 8
QUESTIONS_AT_ONCE: Final = 4
REQUESTS_OF_A_DATE: Final = 3
FAILED_PAUSE_S: Final = 1.0
SOON_S: Final = 2.0
LOOKED: Final = "done"
INCOMPLETE: Final = "incomplete"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Found:
    """What GitHub said: ``answered`` are tags with their commits, ``known`` those that need none. ``pages`` are the
    listing's, empty when it has to be read again because not everything could be asked; ``problem`` says why.
    """

    findings: Findings
    answered: tuple[FoundTag, ...]
    known: tuple[FoundTag, ...]
    pages: tuple[Page, ...]
    is_whole: bool
    problem: AppError | None
    asked: int
    counted: int


class LookStage:
    """The stage that finds the tags of which no delivery told."""

    name = store.STAGE
    concurrency = CONCURRENCY

    def __init__(self, pool: Pool, github: GitHubClient, *, worker: str, interval_s: float, public_url: str) -> None:
        self._pool, self._github, self._worker, self._interval_s = pool, github, worker, interval_s
        self._redelivery = Redelivery(pool, github.watching, public_url)
        self._started = False

    async def recover(self) -> None:
        """At the start of the process everything is due; a look whose worker was lost is claimed again by itself."""
        if not self._started:
            async with transaction(self._pool) as conn:
                await store.start(conn)
            self._started = True

    async def claim(self) -> ClaimedLook | None:
        async with transaction(self._pool) as conn:
            return await store.claim(conn, token=uuid4(), lease_s=LEASE_S, worker=self._worker)

    async def renew(self, job: ClaimedLook) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job.lease)

    async def run(self, job: ClaimedLook) -> Settle:
        """Gather what GitHub says; failed deliveries first, since what they bring needs no build of ours."""
        sent = 0
        try:
            if job.hooks_due:
                sent = await self._redelivery.ask(job)
            found = await self._gather(job)
        except AppError as error:
            return partial(self._fail, job, error)
        return partial(self._settle, job, replace(found, asked=found.asked + sent, counted=found.counted + sent))

    async def hand_back(self, job: ClaimedLook) -> None:
        async with transaction(self._pool) as conn:
            await store.hand_back(conn, job.lease)

    async def cancel(self, job: ClaimedLook) -> None:
        """Nobody cancels a look; what arrives here is handed back."""
        await self.hand_back(job)

    async def crash(self, job: ClaimedLook, error: Exception) -> str:
        """An error of ours, or of the database: later again, as if GitHub had not answered."""
        return await self._fail(job, error)

    # ------------------------------------------------------------ asking

    async def _gather(self, job: ClaimedLook) -> Found:
        listing = await self._github.watching.tags(job.spelled, job.pages)
        findings = await self._findings(job, listing.tags)
        undated = sorted(needs_dates(listing.tags, findings), key=version_key, reverse=True)
        if undated:
            findings = replace(findings, dates=await self._github.tag_dates(job.spelled, undated))
        tags = sort_out(listing.tags, findings)
        chosen = tags.questions[: most_questions(self._github.watching.rate)]
        answered, problem = await self._ask(job, chosen)
        is_whole = problem is None and len(chosen) == len(tags.questions)
        more = REQUESTS_OF_A_QUESTION * len(chosen) + self._cost_of_dates(len(undated))
        pages = listing.pages if is_whole else ()
        asked, counted = listing.asked + more, listing.counted + more
        return Found(findings, answered, tags.known, pages, is_whole, problem, asked, counted)

    def _cost_of_dates(self, tags: int) -> int:
        """How many requests the dates of so many tags take at most, of the rate limit that looks share with builds."""
        return min(tags, MOST_DATED) * REQUESTS_OF_A_DATE if self._github.watching.is_anonymous else 0

    async def _findings(self, job: ClaimedLook, tags: Mapping[str, str]) -> Findings:
        async with transaction(self._pool) as conn:
            registered = await repositories.registrations_of(conn, job.repo)
            ours = [one for one in registered if one.id in job.registrations]
            seen = await store.seen_of(conn, job.repo, tags.keys())
            images = {
                one.id: frozenset(await store.images_named(conn, one.image_name, tags.keys()))
                for one in ours
                if one.backfill
            }
        return Findings(seen, ours, images, {})

    async def _ask(self, job: ClaimedLook, tags: Sequence[FoundTag]) -> tuple[tuple[FoundTag, ...], AppError | None]:
        """The commits of these tags, some at a time, and what ended the asking early. A tag that is gone, or leads to
        no commit, is left out.
        """
        answered: list[FoundTag] = []
        problem: AppError | None = None
        for start in range(0, len(tags), QUESTIONS_AT_ONCE):
            some = tags[start : start + QUESTIONS_AT_ONCE]
            asked = await asyncio.gather(*(self._with_commit(job, tag) for tag in some))
            answered += [one for one in asked if isinstance(one, FoundTag)]
            problems = [one for one in asked if isinstance(one, AppError)]
            problem = next((one for one in problems if one.retryable), None) or next(iter(problems), problem)
            if problem is not None and problem.retryable:
                break
        return tuple(answered), problem

    async def _with_commit(self, job: ClaimedLook, tag: FoundTag) -> FoundTag | AppError | None:
        try:
            return replace(tag, commit=(await self._github.resolve_commit(job.spelled, tag.name)).sha)
        except GitHubNotFound:
            return None
        except AppError as error:
            return error

    # ------------------------------------------------------------ settling

    async def _settle(self, job: ClaimedLook, found: Found) -> str:
        """Write down what was seen and queue what was missed, in one transaction."""
        async with transaction(self._pool) as conn:
            builds = await self._write(conn, job, found)
            await store.slow_down(conn, self._pause(found.asked, found.counted, found.problem))
        if builds:
            log.info("tags_found", repo=job.spelled, builds=builds)
        if found.problem is not None:
            log.warning("look_incomplete", repo=job.spelled, reason=str(found.problem))
        return LOOKED if found.problem is None else INCOMPLETE

    async def _write(self, conn: Connection, job: ClaimedLook, found: Found) -> int:
        there = await store.lock_registrations(conn, job.registrations)
        asks = await store.hold(conn, job.lease)
        if asks is None:
            raise job.lease.lost()
        ours = await store.note_seen(conn, job, [*found.answered, *found.known])
        registered = [one for one in found.findings.registrations if one.id in there]
        findings = replace(found.findings, registrations=registered)
        mine = [tag for tag in found.answered if tag.name in ours]
        builds = await queue_builds(conn, mine, findings)
        told_meanwhile = len(ours) < len(found.answered) + len(found.known)
        if found.is_whole and asks == job.asks:  # what was asked for since is another look's, which lists everything
            await store.end_first_look(conn, there)
        pages = () if told_meanwhile else found.pages
        problem = None if found.problem is None else str(found.problem)
        failures = job.failures + 1 if found.problem else 0
        if not await store.settle(conn, job, pages, self._next(job, found), problem=problem, failures=failures):
            raise job.lease.lost()
        return builds

    def _next(self, job: ClaimedLook, found: Found) -> datetime:
        """When the look comes again: soon when some of it is still to be done."""
        phase = phase_of(job.repo)
        if found.problem is not None:
            failures = job.failures + 1
            return next_look(job.begun_at, self._interval_s, phase, trouble=Trouble.PASSING, failures=failures)
        return next_look(job.begun_at, self._interval_s if found.is_whole else SOON_S, phase)

    async def _fail(self, job: ClaimedLook, error: Exception) -> str:
        """Put the look off: all of them while the rate limit lasts, this one for long when GitHub refuses it."""
        refused = isinstance(error, (GitHubNotFound, GitHubRefused))
        limited = isinstance(error, GitHubRateLimited)
        failures = job.failures + (not limited)
        trouble = Trouble.REFUSED if refused else Trouble.PASSING
        next_at = next_look(job.begun_at, self._interval_s, phase_of(job.repo), trouble=trouble, failures=failures)
        async with transaction(self._pool) as conn:
            if not await store.fail(conn, job, next_at, sentence_of(error), failures=failures, over=refused):
                raise job.lease.lost()
            await store.slow_down(conn, self._pause(1, 1, error))
        log.warning("look_failed", repo=job.spelled, failures=failures, reason=sentence_of(error))
        return FAILED

    def _pause(self, asked: int, counted: int, error: Exception | None) -> Pause:
        if isinstance(error, GitHubRateLimited):
            return Pause(error.retry_after_s, error.retry_after_s)
        pause = pause_after(asked, counted, self._github.watching.rate)
        return pause if error is None else replace(pause, open_s=max(pause.open_s, FAILED_PAUSE_S))
