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
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from app.builds import store
from app.builds.builder import NO_LIMITS, base_images, choose_builder, not_limited
from app.builds.journal import MOST_CHARACTERS, Journal, journal
from app.builds.model import MOST_ATTEMPTS, BuildState, ClaimedBuild, image_labels, image_reference, web_url
from app.builds.publish import fetch_bases, publish
from app.builds.settle import CANCELLED, Made, after_fault, settle_failure, settle_success
from app.builds.stream import DEFAULT_LIMITS, BuildContext, open_context
from app.engine.build import stop_builds, stream_build
from app.engine.image import inspect_image
from app.engine.shape import Builder, BuildLimits, BuildRequest, EngineInfo, ImageMade, LogText
from app.errors import (
    AppError,
    BuildFailed,
    EngineUnavailable,
    GitHubNotFound,
    LeaseLost,
    sentence_of,
)
from app.postgres.pool import transaction
from app.queue.stored import until_stored
from app.queue.watch import HANDED_BACK, uncounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from app.builds.limits import ContextLimits
    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess
    from app.github.client import GitHubClient
    from app.postgres.pool import Pool
    from app.queue.lease import Beat, Settle

log = structlog.get_logger(__name__)


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
        limits: BuildLimits = NO_LIMITS,
        log_characters: int = MOST_CHARACTERS,
        context_limits: ContextLimits = DEFAULT_LIMITS,
        secrets: Iterable[str] = (),
        counted: Callable[[str], None] = uncounted,
    ) -> None:
        self.concurrency = concurrency
        self._counted = counted
        self._limits, self._log_characters = limits, log_characters
        self._context_limits, self._secrets = context_limits, tuple(secrets)
        self._pool, self._engine, self._github = pool, engine, github
        self._worker, self._lease_s, self._timeout_s = worker, lease_s, timeout_s
        self._spool_dir, self._web_url, self._registry = spool_dir, web_url(github_api_url), registry

    async def recover(self) -> list[str]:
        """Settle the builds of lost workers: cancelled if that was wanted, else another attempt, else failed."""
        async with transaction(self._pool) as conn:
            lost = await store.expired(conn)
            endings = [
                await after_fault(conn, lease, attempt, "its worker was lost", self._secrets) for lease, attempt in lost
            ]
        for (lease, attempt), ending in zip(lost, endings, strict=True):
            log.warning("worker_lost", build_id=lease.row_id, attempt=attempt)
            ending.say()
        return [ending.outcome for ending in endings]

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
            async with journal(
                self._pool,
                job.lease,
                job.last_seq,
                most_characters=self._log_characters,
                secrets=self._secrets,
                counted=self._counted,
            ) as lines:
                made = await self._make_within_limits(job, lines)
        except LeaseLost:
            raise
        except AppError as error:
            return partial(until_stored, partial(settle_failure, self._pool, job, error, self._secrets))
        return partial(until_stored, partial(settle_success, self._pool, job, made))

    async def hand_back(self, job: ClaimedBuild) -> str:
        async with transaction(self._pool) as conn:
            cancelled = await store.cancel_if_wanted(conn, job.lease, CANCELLED)
            handed_back = not cancelled and await store.hand_back(conn, job.lease)
        if cancelled or handed_back:
            log.info("build_cancelled" if cancelled else "build_handed_back")
        return BuildState.CANCELLED if cancelled else HANDED_BACK

    async def cancel(self, job: ClaimedBuild) -> None:
        async with transaction(self._pool) as conn:
            cancelled = await store.cancel_if_wanted(conn, job.lease, CANCELLED)
        if cancelled:
            log.info("build_cancelled")

    async def crash(self, job: ClaimedBuild, error: Exception) -> str:
        async with transaction(self._pool) as conn:
            ending = await after_fault(conn, job.lease, job.attempt, sentence_of(error), self._secrets)
        ending.say()
        return ending.outcome

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
        if job.begun_before:
            await stop_builds(self._engine, [job.name_on_engine(attempt) for attempt in range(1, job.attempt + 1)])
            await lines.write(f"\n--- attempt {job.attempt} of {MOST_ATTEMPTS} ---\n")
        await lines.write(f"{job.name}:{job.tag} from {job.repo} at commit {commit}\n")
        async with (
            self._github.tarball(job.repo, commit) as archive,
            open_context(
                archive,
                recipe=job.recipe,
                commit=commit,
                spool_dir=self._spool_dir,
                limits=self._context_limits,
            ) as context,
        ):
            builder = await self._builder(info, job, context, lines)
            log.info("source_opened", commit=commit, builder=str(builder))
            request = self._request(job, commit, builder, context)
            try:
                image_id = await self._stream(request, context, lines)
            except EngineUnavailable:
                if context.failure is not None:
                    raise context.failure from None
                raise
        return await self._made(self._name(job), image_id, lines)

    async def _builder(self, info: EngineInfo, job: ClaimedBuild, context: BuildContext, lines: Journal) -> Builder:
        """Which builder makes it; the log says what limits that one does not keep to."""
        missing = await self._missing_bases(job, context.dockerfile_text, lines)
        builder = await asyncio.to_thread(  # a large Dockerfile takes seconds
            choose_builder,
            info,
            context.dockerfile_text,
            hidden=context.dockerfile_hidden,
            missing_bases=missing,
            limits=self._limits,
        )
        await lines.write(not_limited(builder, self._limits) or "")
        return builder

    async def _made(self, name: str, image_id: str, lines: Journal) -> Made:
        """What the engine has now, and the registry, where there is one."""
        image = await inspect_image(self._engine, image_id)
        if image is None:
            raise EngineUnavailable(
                f"the engine reported image {image_id} and does not have it; is something pruning it?"
            )
        log.info("image_made", image=name, image_id=image_id, size_bytes=image.size)
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
        bases = await asyncio.to_thread(base_images, dockerfile, job.recipe.build_args)
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
            build_id=job.name_on_engine(job.attempt),
            target=job.recipe.target,
            build_args=job.recipe.build_args,
            labels=image_labels(job, commit, datetime.now(UTC), self._web_url, self._name(job)),
            limits=self._limits,
        )

    async def _stream(self, request: BuildRequest, context: BuildContext, lines: Journal) -> str:
        image_id, answered = "", False
        async with aclosing(stream_build(self._engine, request, context.chunks(request.builder))) as events:
            async for event in events:
                match event:
                    case LogText(text):
                        if not answered:
                            answered = True
                            log.info("engine_building", builder=str(request.builder))
                        await lines.write(text)
                    case ImageMade(made_id):
                        image_id = made_id
        return image_id
