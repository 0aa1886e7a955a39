"""Post one message, which tells one notice or several that waited together. A receiver that is dead or slow delays only
its own: no other stage waits for this one, and a channel keeps two senders busy at most.

Each notice is written once, and posted at least once: a process that dies between the receiver's answer (the event
``notice_posted``) and the transaction that records it (``notice_sent``) leaves a message that is posted again, the same
and under the same id. That is rare, and better than one nobody reads.

Before it looks for messages the stage looks which builds have become news: see ``app.notices.shipments``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from app.errors import NoticeNotSent, sentence_of
from app.notices import channels, shipments, store
from app.notices.model import ChannelKind, ClaimedMessage, NoticeState
from app.notices.outgoing import body_of
from app.notices.text import UNREADABLE
from app.postgres.pool import transaction
from app.queue.lease import Beat
from app.queue.retry import GiveUp, RetryIn, next_attempt
from app.queue.stored import until_stored
from app.queue.watch import RETRIED, uncounted
from app.receivers.signing import signed_headers
from app.sealing import SealBroken

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

    from app.notices.model import Told
    from app.postgres.pool import Pool
    from app.queue.lease import Settle
    from app.receivers.client import Answer, Sender
    from app.sealing import Vault

log = structlog.get_logger(__name__)

MOST_ATTEMPTS: Final = 12
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 600.0
NOT_OURS: Final = "another version of Tagship wrote this notice, and this one cannot read it; run one version only"
GONE: Final = {HTTPStatus.GONE}
# Discord answers 404 (Unknown Webhook) for good, and blocks whoever does not listen.
GONE_FOR: Final = {ChannelKind.DISCORD: {HTTPStatus.GONE, HTTPStatus.NOT_FOUND}}


class NoticeStage:
    """The stage that sends what the outbox holds for channels that are on. ``settings_url`` is the address of the
    settings' channel; without one its notices are left to other processes. ``progress_s``: a build whose rollouts
    take longer is told with how far they are, and again when they are final.
    """

    name = store.STAGE

    def __init__(
        self,
        pool: Pool,
        sender: Sender,
        vault: Vault,
        *,
        settings_url: SecretStr | None,
        worker: str,
        concurrency: int,
        lease_s: float,
        public_url: str,
        progress_s: float,
        counted: Callable[[str, str], None] = uncounted,
    ) -> None:
        self._counted = counted
        self.concurrency, self._lease_s = concurrency, lease_s
        self._pool, self._sender, self._vault, self._settings_url = pool, sender, vault, settings_url
        self._worker, self._public_url, self._progress_s = worker, public_url, progress_s

    async def recover(self) -> list[str]:
        """Queue what there is to tell of builds and their rollouts, and give up what nobody shall send any more; a
        message whose worker was lost is claimed again by itself.
        """
        async with transaction(self._pool) as conn:
            due = await shipments.tell_due(conn, self._progress_s)
        for shipment in due:
            log.info("shipment_told", build_id=shipment.build_id, rollouts=len(shipment.follows), final=shipment.final)
        async with transaction(self._pool) as conn:
            stranded = await store.fail_stranded(conn)
        if stranded:
            log.warning("notices_given_up", count=len(stranded))
        for event in stranded:
            self._counted(event, NoticeState.FAILED)
        return [NoticeState.FAILED] * len(stranded)

    async def claim(self) -> ClaimedMessage | None:
        async with transaction(self._pool) as conn:
            return await store.claim(
                conn,
                kinds=ChannelKind,
                token=uuid4(),
                lease_s=self._lease_s,
                worker=self._worker,
                with_settings_channel=self._settings_url is not None,
            )

    async def renew(self, job: ClaimedMessage) -> Beat:
        async with transaction(self._pool) as conn:
            return await store.renew(conn, job)

    async def run(self, job: ClaimedMessage) -> Settle:
        """Post it and settle its rows. That is one step which the loop does not tear apart, so that a stop of the
        process does not repeat a message.
        """
        log.info("notice_started", notice_event=_events(job), notices=job.ids, attempt=job.attempt)
        return partial(self._post, job)

    async def hand_back(self, job: ClaimedMessage) -> None:
        async with transaction(self._pool) as conn:
            handed_back = await store.hand_back(conn, job)
        if handed_back:
            log.info("notice_handed_back")

    async def cancel(self, job: ClaimedMessage) -> None:
        """Nobody cancels a notice; what arrives here is handed back."""
        await self.hand_back(job)

    async def crash(self, job: ClaimedMessage, error: Exception) -> str:
        """An error of ours, or of the database: try again as if the receiver had not answered."""
        outcome = await self._not_sent(job, NoticeNotSent(sentence_of(error), permanent=False, status=None))
        self._count(job, outcome)
        return outcome

    async def _post(self, job: ClaimedMessage) -> str:
        """Post what can be read of it and settle the rows, and say in a word what became of it."""
        if await self.renew(job) is Beat.LOST:  # the process was frozen: another has posted it meanwhile
            raise job.lease.lost()
        readable = [one for one in job.told if self._is_readable(job, one)]
        if len(readable) < len(job.told):
            lost = replace(job, told=tuple(one for one in job.told if one not in readable))
            await self._fail(lost, NoticeNotSent(NOT_OURS, permanent=True, status=None))
            self._count(lost, NoticeState.FAILED)
        if not readable:
            return NoticeState.FAILED
        job = replace(job, told=tuple(readable))
        outcome = await self._post_once(job)
        self._count(job, outcome)
        return outcome

    def _is_readable(self, job: ClaimedMessage, one: Told) -> bool:
        try:
            body_of(job.kind, [one], self._public_url)
        except UNREADABLE as error:
            log.warning("notice_unreadable", notice=one.id, notice_event=str(one.event), reason=repr(error))
            return False
        return True

    async def _post_once(self, job: ClaimedMessage) -> str:
        try:
            answer = await self._sent(job)
        except NoticeNotSent as error:
            return await self._not_sent(job, error)
        log.info("notice_posted", notice_event=_events(job), status=answer.status)
        await until_stored(partial(self._settle_sent, job, answer))
        log.info("notice_sent", notice_event=_events(job), notices=job.ids, attempt=job.attempt)
        return NoticeState.SENT

    async def _sent(self, job: ClaimedMessage) -> Answer:
        body = body_of(job.kind, job.told, self._public_url)
        try:
            url = channels.url_of(self._vault, job, self._settings_url)
            secret = channels.secret_of(self._vault, job)
        except SealBroken as error:
            raise NoticeNotSent(str(error), permanent=True, status=None) from None
        assert url is not None, "what this process has no address for is not claimed"
        headers = {}
        if secret is not None:
            name = f"msg_{job.message_id.hex}"
            headers = signed_headers(secret.get_secret_value(), name, datetime.now(UTC), body)
        return await self._sender.post(url, body, headers=headers, trusted=job.url_sealed is None)

    async def _not_sent(self, job: ClaimedMessage, error: NoticeNotSent) -> str:
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
                await self._delay(job, seconds, error)
                return RETRIED
            case GiveUp() if error.status in GONE_FOR.get(job.kind, GONE):
                await self._switch_off(job, error)
            case GiveUp():
                await self._fail(job, error)
        return NoticeState.FAILED

    async def _delay(self, job: ClaimedMessage, wait_s: float, error: NoticeNotSent) -> None:
        """Put it off, and with it everything else for a receiver that asked for a pause."""
        async with transaction(self._pool) as conn:
            if error.retry_after_s is not None:
                await channels.pause(conn, job.channel_id, error.retry_after_s)
            if not await store.retry(conn, job, wait_s, str(error), status=error.status):
                raise job.lease.lost()
        log.warning("notice_delayed", attempt=job.attempt, wait_s=wait_s, reason=str(error))

    async def _fail(self, job: ClaimedMessage, error: NoticeNotSent) -> None:
        await until_stored(partial(self._settle_failed, job, error))
        log.warning("notice_failed", attempt=job.attempt, reason=str(error))

    async def _switch_off(self, job: ClaimedMessage, error: NoticeNotSent) -> None:
        """The address will never answer again: its channel goes off, and both channel and notice say why."""
        advice = "give it a new address, and switch it on"
        if job.url_sealed is None:
            advice = "set another SLACK_WEBHOOK_URL and start Tagship again, or switch it on"
        reason = f"{error}; the channel is switched off: {advice}"
        async with transaction(self._pool) as conn:
            name = await channels.switch_off(conn, job.channel_id, job.url_sealed, reason)
            if not await store.settle(conn, job, NoticeState.FAILED, reason, status=error.status):
                raise job.lease.lost()
        if name is not None:
            log.warning("channel_switched_off", channel_id=job.channel_id, channel=name, reason=reason)
        log.warning("notice_failed", attempt=job.attempt, reason=reason)

    async def _settle_sent(self, job: ClaimedMessage, answer: Answer) -> None:
        async with transaction(self._pool) as conn:
            await channels.count_message(conn, job.channel_id)
            said = f"{answer.status} {answer.word}".strip()
            if not await store.settle(conn, job, NoticeState.SENT, said, status=answer.status):
                raise job.lease.lost()

    async def _settle_failed(self, job: ClaimedMessage, error: NoticeNotSent) -> None:
        async with transaction(self._pool) as conn:
            if not await store.settle(conn, job, NoticeState.FAILED, str(error), status=error.status):
                raise job.lease.lost()

    def _count(self, job: ClaimedMessage, outcome: str) -> None:
        for one in job.told:
            self._counted(one.event, outcome)


def _events(job: ClaimedMessage) -> str:
    """What it is about, for a log line."""
    return " ".join(dict.fromkeys(str(one.event) for one in job.told))
