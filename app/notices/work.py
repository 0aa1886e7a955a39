"""Post one notice. A receiver that is dead or slow delays only its own notices: no other stage waits for this one, and
a channel keeps two senders busy at most.

Each notice is written once, and posted at least once: a process that dies between the receiver's answer (the event
``notice_posted``) and the transaction that records it (``notice_sent``) leaves a notice that is posted again. That is
rare, and better than one nobody reads.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from app.errors import NoticeNotSent, sentence_of
from app.notices import channels, store
from app.notices.model import ChannelKind, ClaimedNotice, NoticeState
from app.notices.text import slack_payload
from app.postgres.pool import transaction
from app.queue.lease import Beat
from app.queue.retry import GiveUp, RetryIn, next_attempt
from app.queue.stored import until_stored
from app.sealing import SealBroken

if TYPE_CHECKING:
    from pydantic import SecretStr

    from app.postgres.pool import Pool
    from app.queue.lease import Settle
    from app.sealing import Vault
    from app.slack.client import Answer, SlackClient

log = structlog.get_logger(__name__)

MOST_ATTEMPTS: Final = 12
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 600.0


class NoticeStage:
    """The stage that sends what the outbox holds for channels of the kind ``slack`` that are on. ``settings_url`` is
    the address of the settings' channel; without one its notices are left to other processes.
    """

    name = store.STAGE

    def __init__(
        self,
        pool: Pool,
        slack: SlackClient,
        vault: Vault,
        *,
        settings_url: SecretStr | None,
        worker: str,
        concurrency: int,
        lease_s: float,
        public_url: str,
    ) -> None:
        self.concurrency, self._lease_s = concurrency, lease_s
        self._pool, self._slack, self._vault, self._settings_url = pool, slack, vault, settings_url
        self._worker, self._public_url = worker, public_url

    async def recover(self) -> None:
        """Give up what nobody shall send any more; a notice whose worker was lost is claimed again by itself."""
        async with transaction(self._pool) as conn:
            stranded = await store.fail_stranded(conn)
        if stranded:
            log.warning("notices_given_up", count=stranded)

    async def claim(self) -> ClaimedNotice | None:
        async with transaction(self._pool) as conn:
            return await store.claim(
                conn,
                kind=ChannelKind.SLACK,
                token=uuid4(),
                lease_s=self._lease_s,
                worker=self._worker,
                with_settings_channel=self._settings_url is not None,
            )

    async def renew(self, job: ClaimedNotice) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job.lease)

    async def run(self, job: ClaimedNotice) -> Settle:
        """Post it and settle the row. That is one step which the loop does not tear apart, so that a stop of the
        process does not repeat a message.
        """
        log.info("notice_started", notice_event=str(job.event), attempt=job.attempt)
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
        await self._not_sent(job, NoticeNotSent(sentence_of(error), permanent=False, status=None))

    async def _post(self, job: ClaimedNotice) -> None:
        if await self.renew(job) is Beat.LOST:  # the process was frozen: another has posted it meanwhile
            raise job.lease.lost()
        try:
            answer = await self._sent(job)
        except NoticeNotSent as error:
            await self._not_sent(job, error)
            return
        log.info("notice_posted", notice_event=str(job.event), status=answer.status)
        await self._settle(job, NoticeState.SENT, f"{answer.status} {answer.word}".strip())
        log.info("notice_sent", notice_event=str(job.event), attempt=job.attempt)

    async def _sent(self, job: ClaimedNotice) -> Answer:
        url = self._settings_url
        if job.url_sealed is not None:
            try:
                url = channels.open_url(self._vault, job.channel_id, job.url_sealed)
            except SealBroken as error:
                raise NoticeNotSent(str(error), permanent=True, status=None) from None
        assert url is not None, "what this process has no address for is not claimed"
        payload = slack_payload(job.event, job.facts, self._public_url)
        return await self._slack.post(url, payload, trusted=job.url_sealed is None)

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
                await self._delay(job, seconds, str(error), pause_s=error.retry_after_s)
            case GiveUp() if error.status == HTTPStatus.GONE:
                await self._switch_off(job, str(error))
            case GiveUp():
                await self._fail(job, str(error))

    async def _delay(self, job: ClaimedNotice, wait_s: float, reason: str, *, pause_s: float | None) -> None:
        """Put it off, and with it everything else for a receiver that asked for a pause."""
        async with transaction(self._pool) as conn:
            if pause_s is not None:
                await channels.pause(conn, job.channel_id, pause_s)
            if not await store.retry(conn, job.lease, wait_s, reason):
                raise job.lease.lost()
        log.warning("notice_delayed", attempt=job.attempt, wait_s=wait_s, reason=reason)

    async def _fail(self, job: ClaimedNotice, reason: str) -> None:
        await self._settle(job, NoticeState.FAILED, reason)
        log.warning("notice_failed", attempt=job.attempt, reason=reason)

    async def _switch_off(self, job: ClaimedNotice, reason: str) -> None:
        """The address will never answer again: its channel goes off, and both channel and notice say why."""
        advice = "give it a new address, and switch it on"
        if job.url_sealed is None:
            advice = "set another SLACK_WEBHOOK_URL and start Tagship again, or switch it on"
        reason = f"{reason}; the channel is switched off: {advice}"
        async with transaction(self._pool) as conn:
            name = await channels.switch_off(conn, job.channel_id, job.url_sealed, reason)
            if not await store.settle(conn, job.lease, NoticeState.FAILED, reason):
                raise job.lease.lost()
        if name is not None:
            log.warning("channel_switched_off", channel_id=job.channel_id, channel=name, reason=reason)
        log.warning("notice_failed", attempt=job.attempt, reason=reason)

    async def _settle(self, job: ClaimedNotice, state: NoticeState, answer: str) -> None:
        await until_stored(partial(self._settle_now, job, state, answer))

    async def _settle_now(self, job: ClaimedNotice, state: NoticeState, answer: str) -> None:
        async with transaction(self._pool) as conn:
            if not await store.settle(conn, job.lease, state, answer):
                raise job.lease.lost()
