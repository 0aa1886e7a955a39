"""Post one notice. A receiver that is dead or slow delays only its own notices: nothing else waits for this stage."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from app.errors import LeaseLost, NoticeNotSent
from app.notices import store
from app.notices.model import ClaimedNotice, NoticeState
from app.notices.text import slack_payload
from app.postgres.pool import transaction
from app.queue.retry import GiveUp, RetryIn, next_attempt

if TYPE_CHECKING:
    from app.postgres.pool import Pool
    from app.queue.lease import Beat
    from app.slack.client import SlackClient

log = structlog.get_logger(__name__)

MOST_ATTEMPTS: Final = 12
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 600.0
OLDEST: Final = timedelta(hours=6)
LEASE_S: Final = 60.0


class NoticeStage:
    """The stage that sends what the outbox holds."""

    name = store.STAGE

    def __init__(self, pool: Pool, slack: SlackClient, *, worker: str, concurrency: int, public_url: str) -> None:
        self.concurrency = concurrency
        self._pool, self._slack, self._worker, self._public_url = pool, slack, worker, public_url

    async def recover(self) -> None:
        """Nothing to do: a notice whose worker was lost is claimed again."""

    async def claim(self) -> ClaimedNotice | None:
        async with transaction(self._pool) as conn:
            return await store.claim(conn, token=uuid4(), lease_s=LEASE_S, worker=self._worker)

    async def renew(self, job: ClaimedNotice) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job.lease)

    async def run(self, job: ClaimedNotice) -> None:
        """Post it and settle the row, or put it off: longer each time, at least as long as the receiver asks."""
        try:
            answer = await self._slack.post(slack_payload(job.event, job.facts, self._public_url))
        except NoticeNotSent as error:
            await self._not_sent(job, error)
            return
        async with transaction(self._pool) as conn:
            if not await store.settle(conn, job.lease, NoticeState.SENT, f"{answer.status} {answer.body}"):
                raise LeaseLost(job.lease.stage, job.lease.row_id)
        log.info("notice_sent", notice_event=str(job.event))

    async def _not_sent(self, job: ClaimedNotice, error: NoticeNotSent) -> None:
        outlived = job.claimed_at - job.created_at > OLDEST
        most = 1 if error.permanent or outlived else MOST_ATTEMPTS
        decision = next_attempt(
            max(job.attempt, 1),
            most=most,
            first_s=FIRST_RETRY_S,
            longest_s=LONGEST_RETRY_S,
            asked_s=error.retry_after_s,
        )
        async with transaction(self._pool) as conn:
            match decision:
                case RetryIn(seconds):
                    await store.retry(conn, job.lease, seconds, str(error))
                    log.warning("notice_delayed", wait_s=seconds, reason=str(error))
                case GiveUp():
                    await store.settle(conn, job.lease, NoticeState.FAILED, str(error))
                    log.warning("notice_failed", reason=str(error))

    async def hand_back(self, job: ClaimedNotice) -> None:
        async with transaction(self._pool) as conn:
            await store.hand_back(conn, job.lease)

    async def cancel(self, job: ClaimedNotice) -> None:
        await self.hand_back(job)

    async def crash(self, job: ClaimedNotice, error: Exception) -> None:
        await self._not_sent(
            job, NoticeNotSent(f"an internal error ({type(error).__name__})", permanent=False, status=None)
        )
