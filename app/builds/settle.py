"""How a build ends: each ending is one transaction, and is told to the log when that has been committed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from app.builds import store
from app.builds.model import MOST_ATTEMPTS, BuildState
from app.engine.frame import storable
from app.errors import GitHubRateLimited
from app.log import redact
from app.notices import store as notices
from app.notices.model import NoticeEvent
from app.postgres.pool import transaction
from app.products import store as products
from app.queue.retry import GiveUp, RetryIn, next_attempt
from app.queue.watch import RETRIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from app.builds.model import ClaimedBuild, ImageId
    from app.errors import AppError
    from app.postgres.pool import Connection, Pool
    from app.queue.lease import Lease
    from app.rollouts.model import RolloutId

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


class Ending(NamedTuple):
    """How an attempt ended, in a word, and what to call when the transaction has been committed, to log it."""

    outcome: str
    say: Callable[[], None]


async def settle_success(pool: Pool, job: ClaimedBuild, made: Made) -> str:
    """building -> success, with the rollouts that follow from it; cancelled when somebody asked for that in the last
    moment. Which of the two. Raises ``LeaseLost``.
    """
    async with transaction(pool) as conn:
        await store.lock_image(conn, job.image_id)
        image_id = await store.succeed(
            conn,
            job.lease,
            image_ref=made.image_ref,
            exact_ref=made.exact_ref,
            digest=made.digest,
            size_bytes=made.size_bytes,
        )
        if image_id is not None:
            rollouts = await _ship(conn, job, image_id)
        elif not await store.cancel_if_wanted(conn, job.lease, CANCELLED):
            raise job.lease.lost()
    if image_id is None:
        log.info("build_cancelled")
        return BuildState.CANCELLED
    log.info("build_succeeded", image=made.image_ref, digest=made.digest, rollouts=rollouts)
    return BuildState.SUCCESS


async def _ship(conn: Connection, job: ClaimedBuild, image_id: ImageId) -> list[RolloutId]:
    """Queue the rollouts of what was made, unless a newer build has been queued meanwhile, and tell of the build."""
    rollouts: list[RolloutId] = []
    if await store.set_live(conn, image_id, job.id):
        rollouts = await products.follow_build(conn, image_id, job.name, job.tag)
    facts = await store.facts(conn, job.id) | {"rollouts": len(rollouts)}
    await notices.enqueue(conn, NoticeEvent.BUILD_SUCCEEDED, job.id, facts)
    return rollouts


async def settle_failure(pool: Pool, job: ClaimedBuild, error: AppError, secrets: Iterable[str]) -> str:
    """building -> failed, or pending for another attempt where that may help; in a word. Raises ``LeaseLost``."""
    async with transaction(pool) as conn:
        if error.retryable:
            asked = error.retry_after_s if isinstance(error, GitHubRateLimited) else None
            ending = await after_fault(conn, job.lease, job.attempt, str(error), secrets, asked_s=asked)
        else:
            ending = await _fail(conn, job.lease, str(error), secrets)
    ending.say()
    return ending.outcome


async def after_fault(
    conn: Connection,
    lease: Lease,
    attempt: int,
    sentence: str,
    secrets: Iterable[str],
    *,
    asked_s: float | None = None,
) -> Ending:
    """Give the build another attempt after a passing fault, fail it when it has had them all, or cancel it if that was
    wanted. Raises ``LeaseLost``.
    """
    if await store.cancel_if_wanted(conn, lease, CANCELLED):
        return Ending(BuildState.CANCELLED, partial(log.info, "build_cancelled", build_id=lease.row_id))
    match next_attempt(attempt, most=MOST_ATTEMPTS, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S, asked_s=asked_s):
        case RetryIn(seconds):
            if not await store.retry(conn, lease, seconds):
                raise lease.lost()
            say = partial(log.warning, "build_retried", build_id=lease.row_id, wait_s=seconds, reason=sentence)
            return Ending(RETRIED, say)
        case GiveUp():
            return await _fail(conn, lease, f"{sentence}; {MOST_ATTEMPTS} attempts were made", secrets)


async def _fail(conn: Connection, lease: Lease, sentence: str, secrets: Iterable[str]) -> Ending:
    sentence = storable(redact(sentence, secrets))  # it may quote strangers
    if not await store.fail(conn, lease, sentence):
        raise lease.lost()
    tail = (await store.read_log_tail(conn, lease.row_id, TAIL_PIECES)).rstrip().splitlines()[-TAIL_LINES:]
    facts = await store.facts(conn, lease.row_id) | {"log_tail": tail}
    await notices.enqueue(conn, NoticeEvent.BUILD_FAILED, lease.row_id, facts)
    say = partial(log.warning, "build_failed", build_id=lease.row_id, reason=sentence)
    return Ending(BuildState.FAILED, say)
