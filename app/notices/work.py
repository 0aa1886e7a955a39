"""Post one notice. A receiver that is dead or slow delays only its own notices: nothing else waits for this stage.

Each notice is written once, and posted at least once: a process that dies between the receiver's answer and the
transaction that records it leaves a notice that is posted again. That is rare, and better than one nobody reads.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
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
    from app.queue.lease import Beat, Settle
    from app.slack.client import SlackClient

log = structlog.get_logger(__name__)

KIND: Final = "slack"
MOST_ATTEMPTS: Final = 12
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 600.0
OLDEST: Final = timedelta(hours=6)
LEASE_S: Final = 60.0


class NoticeStage:
    """The stage that sends what the outbox holds for channels of the kind ``slack`` that are on."""

    name = store.STAGE

    def __init__(self, pool: Pool, slack: SlackClient, *, worker: str, concurrency: int, public_url: str) -> None:
        self.concurrency = concurrency
        self._pool, self._slack, self._worker, self._public_url = pool, slack, worker, public_url

    async def recover(self) -> None:
        """Nothing to do: a notice whose worker was lost is claimed again."""

    async def claim(self) -> ClaimedNotice | None:
        async with transaction(self._pool) as conn:
            return await store.claim(conn, kind=KIND, token=uuid4(), lease_s=LEASE_S, worker=self._worker)

    async def renew(self, job: ClaimedNotice) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job.lease)

    async def run(self, job: ClaimedNotice) -> Settle:
        """Post it and settle the row. That is one step which the loop does not tear apart, so that a stop of the
        process does not repeat a message.
        """
        if job.claimed_at - job.created_at > OLDEST:  # the channel was off, or nobody worked: it is news no more
            return partial(self._fail, job, f"too old: not sent within {OLDEST.total_seconds() / 3600:.0f} hours")
        return partial(self._post, job)

    async def hand_back(self, job: ClaimedNotice) -> None:
        async with transaction(self._pool) as conn:
            handed_back = await store.hand_back(conn, job.lease)
        if handed_back:
            log.info("notice_handed_back")

    async def cancel(self, job: ClaimedNotice) -> None:
        """Nobody cancels a notice; what arrives here is handed back."""
        await self.hand_back(job)

    async def crash(self, job: ClaimedNotice, error: Exception) -> None:
        """An error of ours, or of the database: try again as if the receiver had not answered."""
        sentence = f"an internal error ({type(error).__name__})"
        await self._not_sent(job, NoticeNotSent(sentence, permanent=False, status=None))

    async def _post(self, job: ClaimedNotice) -> None:
        try:
            answer = await self._slack.post(slack_payload(job.event, job.facts, self._public_url))
        except NoticeNotSent as error:
            await self._not_sent(job, error)
            return
        await self._settle(job, NoticeState.SENT, f"{answer.status} {answer.body}")
        log.info("notice_sent", notice_event=str(job.event), attempt=job.attempt)

    async def _not_sent(self, job: ClaimedNotice, error: NoticeNotSent) -> None:
        """Put it off, longer each time and at least as long as the receiver asks, or give it up."""
        decision = next_attempt(
            job.attempt,
            most=1 if error.permanent else MOST_ATTEMPTS,
            first_s=FIRST_RETRY_S,
            longest_s=LONGEST_RETRY_S,
            asked_s=error.retry_after_s,
        )
        match decision:
            case RetryIn(seconds):
                await self._delay(job, seconds, str(error))
            case GiveUp():
                await self._fail(job, str(error))

    async def _delay(self, job: ClaimedNotice, wait_s: float, reason: str) -> None:
        async with transaction(self._pool) as conn:
            if not await store.retry(conn, job.lease, wait_s, reason):
                raise LeaseLost(job.lease.stage, job.lease.row_id)
        log.warning("notice_delayed", attempt=job.attempt, wait_s=wait_s, reason=reason)

    async def _fail(self, job: ClaimedNotice, reason: str) -> None:
        await self._settle(job, NoticeState.FAILED, reason)
        log.warning("notice_failed", attempt=job.attempt, reason=reason)

    async def _settle(self, job: ClaimedNotice, state: NoticeState, answer: str) -> None:
        async with transaction(self._pool) as conn:
            if not await store.settle(conn, job.lease, state, answer):
                raise LeaseLost(job.lease.stage, job.lease.row_id)
