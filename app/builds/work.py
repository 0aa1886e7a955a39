"""Run one build: fetch the source of the commit, let the engine make the image, stream its log, settle.

The order of effects, each of which may be the last one before a crash:
1. the row is claimed under a lease; 2. the source streams from GitHub through the rewriter into the engine; 3. every
line of the engine's output is stored; 4. the engine has the image; 5. the registry has it, if there is one; 6. one
transaction records it, moves the pins of the products that follow it, queues their rollouts and a notice. A crash
before 6 leaves a build that another attempt makes and pushes again.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from app.builds import store
from app.builds.builder import base_images, choose_builder
from app.builds.journal import Journal, journal
from app.builds.model import MOST_ATTEMPTS, ClaimedBuild, image_labels, image_reference, web_url
from app.builds.publish import fetch_bases, publish
from app.builds.stream import BuildContext, open_context
from app.engine.build import stream_build
from app.engine.image import inspect_image
from app.engine.shape import Builder, BuildRequest, ImageMade, LogText
from app.errors import (
    AppError,
    BuildFailed,
    EngineUnavailable,
    GitHubNotFound,
    GitHubRateLimited,
    LeaseLost,
    sentence_of,
)
from app.notices import store as notices
from app.notices.model import NoticeEvent
from app.postgres.pool import transaction
from app.products import store as products
from app.queue.retry import GiveUp, RetryIn, next_attempt

if TYPE_CHECKING:
    from pathlib import Path

    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess
    from app.github.client import GitHubClient
    from app.postgres.pool import Connection, Pool
    from app.queue.lease import Beat, Lease, Settle

log = structlog.get_logger(__name__)

CANCELLED: Final = "cancelled while it was being built"
TAIL_PIECES: Final = 4
TAIL_LINES: Final = 12
FIRST_RETRY_S: Final = 2.0
LONGEST_RETRY_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Made:
    """What there is when a build succeeded: the name, what a service spec names, and the digest or the engine's ID."""

    image_ref: str
    exact_ref: str
    digest: str
    size_bytes: int


class BuildStage:
    """The stage that turns waiting builds into images."""

    name = store.STAGE

    def __init__(
        self,
        pool: Pool,
        engine: Engine,
        github: GitHubClient,
        *,
        worker: str,
        concurrency: int,
        lease_s: float,
        timeout_s: float,
        spool_dir: Path,
        github_api_url: str,
        registry: RegistryAccess | None = None,
    ) -> None:
        self.concurrency = concurrency
        self._pool, self._engine, self._github = pool, engine, github
        self._worker, self._lease_s, self._timeout_s = worker, lease_s, timeout_s
        self._spool_dir, self._web_url, self._registry = spool_dir, web_url(github_api_url), registry

    async def recover(self) -> None:
        """Settle the builds of lost workers: cancelled if that was wanted, else another attempt, else failed."""
        async with transaction(self._pool) as conn:
            for lease, attempt in await store.expired(conn):
                log.warning("worker_lost", build_id=lease.row_id, attempt=attempt)
                await self._after_fault(conn, lease, attempt, "its worker was lost")

    async def claim(self) -> ClaimedBuild | None:
        """Claim a build, if the engine answers: a build that cannot begin must not use up its attempts."""
        if not await self._engine.answers():
            return None
        async with transaction(self._pool) as conn:
            return await store.claim(conn, token=uuid4(), lease_s=self._lease_s, worker=self._worker)

    async def renew(self, job: ClaimedBuild) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job.lease)

    async def run(self, job: ClaimedBuild) -> Settle:
        """Make the image, and say how to settle the row; passing faults give the build back for another attempt."""
        log.info("build_started", image=f"{job.name}:{job.tag}", attempt=job.attempt, repo=job.repo)
        try:
            async with journal(self._pool, job.lease, job.last_seq) as lines:
                made = await self._make_within_limits(job, lines)
        except LeaseLost:
            raise
        except AppError as error:
            return partial(self._settle_failure, job, error)
        return partial(self._settle_success, job, made)

    async def hand_back(self, job: ClaimedBuild) -> None:
        async with transaction(self._pool) as conn:
            cancelled = await store.cancel_if_wanted(conn, job.lease, CANCELLED)
            handed_back = not cancelled and await store.hand_back(conn, job.lease)
        if cancelled or handed_back:
            log.info("build_cancelled" if cancelled else "build_handed_back")

    async def cancel(self, job: ClaimedBuild) -> None:
        async with transaction(self._pool) as conn:
            cancelled = await store.cancel_if_wanted(conn, job.lease, CANCELLED)
        if cancelled:
            log.info("build_cancelled")

    async def crash(self, job: ClaimedBuild, error: Exception) -> None:
        async with transaction(self._pool) as conn:
            await self._after_fault(conn, job.lease, job.attempt, sentence_of(error))

    async def _make_within_limits(self, job: ClaimedBuild, lines: Journal) -> Made:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._make(job, lines)
        except TimeoutError:
            failure: AppError = BuildFailed(
                f"the build was stopped after {self._timeout_s:.0f} s; make it faster or raise TAGSHIP_BUILD_TIMEOUT_S"
            )
        except AppError as error:
            failure = error
        await lines.write(f"\nERROR: {failure}\n")
        raise failure

    async def _make(self, job: ClaimedBuild, lines: Journal) -> Made:
        info = await self._engine.describe()
        commit = await self._commit_of(job)
        if job.attempt > 1:
            await lines.write(f"\n--- attempt {job.attempt} of {MOST_ATTEMPTS} ---\n")
        await lines.write(f"{job.name}:{job.tag} from {job.repo} at commit {commit}\n")
        async with (
            self._github.tarball(job.repo, commit) as archive,
            open_context(archive, recipe=job.recipe, commit=commit, spool_dir=self._spool_dir) as context,
        ):
            missing = await self._missing_bases(job, context.dockerfile_text, lines)
            builder = choose_builder(
                info, context.dockerfile_text, hidden=context.dockerfile_hidden, missing_bases=missing
            )
            request = self._request(job, commit, builder, context)
            try:
                image_id = await self._stream(request, context, lines)
            except EngineUnavailable:
                if context.failure is not None:
                    raise context.failure from None
                raise
        image = await inspect_image(self._engine, image_id)
        if image is None:
            raise EngineUnavailable(
                f"the engine reported image {image_id} and does not have it; is something pruning it?"
            )
        name = self._name(job)
        if self._registry is None:
            return Made(name, exact_ref=image_id, digest=image_id, size_bytes=image.size)
        pushed = await publish(self._engine, self._registry, image_id, name, lines.write)
        return Made(name, exact_ref=pushed.exact_ref, digest=pushed.digest, size_bytes=image.size)

    def _name(self, job: ClaimedBuild) -> str:
        """The name of the image on the engine, which begins with the registry when there is one."""
        name = image_reference(job.name, job.tag)
        return name if self._registry is None else self._registry.reference(name)

    async def _missing_bases(self, job: ClaimedBuild, dockerfile: str, lines: Journal) -> list[str]:
        """The base images that the builder has to find; those of our registry are on the engine now."""
        bases = base_images(dockerfile, job.recipe.build_args)
        missing = [ref for ref in bases if not await inspect_image(self._engine, ref)]
        return await fetch_bases(self._engine, self._registry, missing, lines.write) if self._registry else missing

    async def _commit_of(self, job: ClaimedBuild) -> str:
        """The commit to build: the delivery's, unless it named none or the tag has been somewhere else as well."""
        if job.commit_sha is not None and not job.tag_moved:
            return job.commit_sha
        try:
            found = (await self._github.resolve_commit(job.repo, job.tag)).sha
        except GitHubNotFound:
            if job.commit_sha is None:
                raise
            return job.commit_sha
        async with transaction(self._pool) as conn:
            if not await store.set_commit(conn, job.lease, found):
                raise job.lease.lost()
        return found

    def _request(self, job: ClaimedBuild, commit: str, builder: Builder, context: BuildContext) -> BuildRequest:
        return BuildRequest(
            builder=builder,
            dockerfile=context.dockerfile,
            tags=(self._name(job),),
            build_id=f"tagship-{job.id}-{job.attempt}",
            target=job.recipe.target,
            build_args=job.recipe.build_args,
            labels=image_labels(job, commit, datetime.now(UTC), self._web_url),
        )

    async def _stream(self, request: BuildRequest, context: BuildContext, lines: Journal) -> str:
        image_id = ""
        async with aclosing(stream_build(self._engine, request, context.chunks(request.builder))) as events:
            async for event in events:
                match event:
                    case LogText(text):
                        await lines.write(text)
                    case ImageMade(made_id):
                        image_id = made_id
        return image_id

    async def _settle_success(self, job: ClaimedBuild, made: Made) -> None:
        async with transaction(self._pool) as conn:
            await store.lock_image(conn, job.image_id)
            image_id = await store.succeed(
                conn,
                job.lease,
                image_ref=made.image_ref,
                exact_ref=made.exact_ref,
                digest=made.digest,
                size_bytes=made.size_bytes,
            )
            if image_id is None:
                await self._cancelled_or_lost(conn, job.lease)
                return
            rollouts = []
            if await store.set_live(conn, image_id, job.id):
                rollouts = await products.follow_build(conn, image_id, job.name, job.tag)
            facts = await store.facts(conn, job.id) | {"rollouts": len(rollouts)}
            await notices.enqueue(conn, NoticeEvent.BUILD_SUCCEEDED, job.id, facts)
        log.info("build_succeeded", image=made.image_ref, digest=made.digest, rollouts=rollouts)

    async def _settle_failure(self, job: ClaimedBuild, error: AppError) -> None:
        async with transaction(self._pool) as conn:
            if error.retryable:
                asked = error.retry_after_s if isinstance(error, GitHubRateLimited) else None
                await self._after_fault(conn, job.lease, job.attempt, str(error), asked)
            else:
                await self._fail(conn, job.lease, str(error))

    async def _after_fault(
        self, conn: Connection, lease: Lease, attempt: int, sentence: str, asked_s: float | None = None
    ) -> None:
        """Give the build another attempt after a passing fault, or fail it when it has had them all."""
        if await store.cancel_if_wanted(conn, lease, CANCELLED):
            log.info("build_cancelled", build_id=lease.row_id)
            return
        match next_attempt(
            attempt, most=MOST_ATTEMPTS, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S, asked_s=asked_s
        ):
            case RetryIn(seconds):
                if await store.retry(conn, lease, seconds):
                    log.warning("build_retried", build_id=lease.row_id, wait_s=seconds, reason=sentence)
            case GiveUp():
                await self._fail(conn, lease, f"{sentence}; {MOST_ATTEMPTS} attempts were made")

    async def _cancelled_or_lost(self, conn: Connection, lease: Lease) -> None:
        """The image was made, and is not wanted any more: somebody cancelled in the last moment, or took the lease."""
        if not await store.cancel_if_wanted(conn, lease, CANCELLED):
            raise lease.lost()
        log.info("build_cancelled", build_id=lease.row_id)

    async def _fail(self, conn: Connection, lease: Lease, sentence: str) -> None:
        if not await store.fail(conn, lease, sentence):
            raise lease.lost()
        tail = (await store.read_log_tail(conn, lease.row_id, TAIL_PIECES)).rstrip().splitlines()[-TAIL_LINES:]
        facts = await store.facts(conn, lease.row_id) | {"log_tail": tail}
        await notices.enqueue(conn, NoticeEvent.BUILD_FAILED, lease.row_id, facts)
        log.warning("build_failed", build_id=lease.row_id, reason=sentence)
