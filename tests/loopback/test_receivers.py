"""Each kind of receiver takes what is made for it, and the local ones refuse what the real ones refuse."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import SecretStr

from app.errors import NoticeNotSent
from app.notices.model import ChannelKind, NoticeEvent, Subject, Told
from app.notices.outgoing import body_of
from app.receivers.client import Answer, Sender
from app.receivers.guard import Guard
from app.receivers.signing import new_secret, signed_headers
from tests.api_client import LOOPBACK
from tests.fakes import receivers
from tests.fakes.receivers import LocalReceiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET: Final = new_secret()
JUDGES: Final = {
    ChannelKind.MATTERMOST: receivers.mattermost,
    ChannelKind.DISCORD: receivers.discord,
    ChannelKind.TEAMS: receivers.teams,
    ChannelKind.WEBHOOK: receivers.signed_with(SECRET),
}
ANSWERS: Final = {
    ChannelKind.MATTERMOST: Answer(200, "ok"),
    ChannelKind.DISCORD: Answer(204, ""),
    ChannelKind.TEAMS: Answer(202, ""),
    ChannelKind.WEBHOOK: Answer(200, ""),
}
AT: Final = datetime(2026, 1, 2, tzinfo=UTC)
FACTS: Final[dict[str, Any]] = {
    "name": "bre", "tag": "v1", "error": "exit 1", "log_tail": ["<last>"], "image_id": 5, "commit_sha": None,
    "github_repo": "acme/bre",
}  # fmt: skip
FAILED: Final = Told(1, NoticeEvent.BUILD_FAILED, Subject.BUILD, 5, FACTS, 1, AT)
HELLO: Final = b'{"type": "test", "timestamp": "2026-01-02T00:00:00+00:00", "data": {"text": "", "events": []}}'


@asynccontextmanager
async def of_kind(kind: ChannelKind) -> AsyncIterator[tuple[LocalReceiver, Sender]]:
    sender = Sender(Guard(LOOPBACK))
    async with LocalReceiver.start(JUDGES[kind]) as receiver:
        yield receiver, sender
    await sender.close()


@pytest.mark.parametrize("kind", JUDGES)
async def test_a_notice_in_the_form_of_its_kind_is_taken(kind: ChannelKind) -> None:
    body = body_of(kind, [FAILED], "https://t")
    headers = signed_headers(SECRET, "msg_1", datetime.now(UTC), body)
    async with of_kind(kind) as (receiver, sender):
        assert await sender.post(SecretStr(receiver.url), body, headers=headers) == ANSWERS[kind]
    [message] = receiver.messages
    assert "exit 1" in str(message)


@pytest.mark.parametrize(
    ("kind", "payload", "status"),
    [
        (ChannelKind.MATTERMOST, {"blocks": [{"type": "section"}]}, 400),
        (ChannelKind.MATTERMOST, {"attachments": [{"text": "x" * 16_384}]}, 400),
        (ChannelKind.DISCORD, {"embeds": []}, 400),
        (ChannelKind.DISCORD, {"content": "x" * 2001}, 400),
        (ChannelKind.DISCORD, {"embeds": [{"description": "x" * 4097}]}, 400),
        (ChannelKind.DISCORD, {"embeds": [{"description": "x" * 4000}] * 2}, 400),
        (ChannelKind.DISCORD, {"embeds": [{"description": "x"}] * 11}, 400),
        (ChannelKind.DISCORD, {"embeds": [{"description": "x", "footer": {"text": "x" * 2049}}]}, 400),
        (ChannelKind.TEAMS, {"text": "as Slack has it"}, 400),
        (ChannelKind.TEAMS, {"type": "message", "attachments": [{"contentType": "text/html"}]}, 400),
        (ChannelKind.TEAMS, {"type": "message", "text": "x" * 30_000}, 413),
        (ChannelKind.WEBHOOK, {"type": "test"}, 401),
    ],
)
async def test_the_receiver_refuses_what_the_real_one_refuses(
    kind: ChannelKind, payload: dict[str, Any], status: int
) -> None:
    async with of_kind(kind) as (receiver, sender):
        with pytest.raises(NoticeNotSent) as refused:
            await sender.post(SecretStr(receiver.url), json.dumps(payload).encode())
    assert (refused.value.status, refused.value.permanent) == (status, True)
    assert receiver.messages == []


@pytest.mark.parametrize(
    ("secret", "age_s", "taken"),
    [(SECRET, 0, True), (new_secret(), 0, False), (SECRET, 600, False), (SECRET, -600, False)],
    ids=["signed", "with another secret", "long ago", "in the future"],
)
async def test_a_program_believes_its_own_secret_and_the_present_time_only(
    secret: str, age_s: float, taken: bool
) -> None:
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    async with of_kind(ChannelKind.WEBHOOK) as (receiver, sender):
        sending = sender.post(SecretStr(receiver.url), HELLO, headers=signed_headers(secret, "msg_1", at, HELLO))
        if taken:
            assert (await sending).status == 200
        else:
            with pytest.raises(NoticeNotSent, match="401"):
                await sending


async def test_discords_limit_is_told_with_the_time_to_wait() -> None:
    async with of_kind(ChannelKind.DISCORD) as (receiver, sender):
        receiver.fail_next(429, '{"message": "rate limited", "retry_after": 1.5}', headers={"Retry-After": "2"})
        with pytest.raises(NoticeNotSent) as refused:
            await sender.post(SecretStr(receiver.url), body_of(ChannelKind.DISCORD, [FAILED], "https://t"))
    assert (refused.value.permanent, refused.value.retry_after_s) == (False, 2)
