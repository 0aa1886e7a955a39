"""One message to a receiver: what counts as taken, what may be tried again, what is never told."""

from __future__ import annotations

import gzip
import json
import logging
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import SecretStr

from app.errors import NoticeNotSent
from app.receivers.client import Answer, Sender
from app.receivers.guard import Guard
from tests.api_client import LOOPBACK
from tests.fakes.slack import LocalSlack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HELLO: Final = b'{"text": "hello"}'


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack.start() as slack:
        yield slack


@pytest.fixture
async def client(slack: LocalSlack) -> AsyncIterator[Sender]:
    client = Sender(Guard(LOOPBACK))
    yield client
    await client.close()


def as_json(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload).encode()


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


async def test_a_message_arrives_as_it_was_written(slack: LocalSlack, client: Sender) -> None:
    payload = {"text": "built ✅ bre-payments \x00 \ud800", "blocks": [section("*built*")]}
    assert await client.post(SecretStr(slack.url), as_json(payload)) == Answer(200, "ok")
    message = await slack.next_message()
    assert message.payload == payload
    assert message.shown() == "*built*"
    assert slack.unread == []


@pytest.mark.parametrize(
    ("status", "body", "permanent"),
    [
        (400, "invalid_payload", True),
        (403, "action_prohibited", True),
        (404, "no_service", True),
        (410, "channel_is_archived", True),
        (413, "", True),
        (408, "", False),
        (429, "", False),
        (500, "rollup_error", False),
        (503, "", False),
    ],
)
async def test_a_refusal_says_whether_trying_again_can_help(
    slack: LocalSlack, client: Sender, status: int, body: str, permanent: bool
) -> None:
    slack.fail_next(status, body)
    with pytest.raises(NoticeNotSent) as refused:
        await client.post(SecretStr(slack.url), HELLO)
    assert (refused.value.permanent, refused.value.status) == (permanent, status)
    assert body in str(refused.value)
    assert slack.messages == []


async def test_a_rate_limit_says_how_long_to_wait(slack: LocalSlack, client: Sender) -> None:
    slack.fail_next(429, retry_after_s=7)
    with pytest.raises(NoticeNotSent) as refused:
        await client.post(SecretStr(slack.url), HELLO)
    assert refused.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("header", "at_least", "at_most"),
    [
        (format_datetime(datetime.now(UTC) + timedelta(minutes=20), usegmt=True), 600, 1200),
        (format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True), 0, 0),
        ("1e9", 3600, 3600),
        ("-5", 0, 0),
        ("nan", 30, 30),
        ("soon", 30, 30),
        ("Fri, 31 Dec 9999 23:59:59 -2300", 30, 30),
    ],
    ids=["in twenty minutes", "yesterday", "for decades", "negative", "nan", "no number", "after all calendars"],
)
async def test_a_wish_to_wait_is_kept_within_reason(
    slack: LocalSlack, client: Sender, header: str, at_least: float, at_most: float
) -> None:
    slack.fail_next(429, headers={"Retry-After": header})
    with pytest.raises(NoticeNotSent) as refused:
        await client.post(SecretStr(slack.url), HELLO)
    assert refused.value.retry_after_s is not None
    assert at_least <= refused.value.retry_after_s <= at_most


async def test_a_redirect_is_not_followed(slack: LocalSlack, client: Sender) -> None:
    slack.fail_next(307, headers={"Location": slack.url})
    with pytest.raises(NoticeNotSent) as refused:
        await client.post(SecretStr(slack.url), HELLO)
    assert refused.value.permanent
    assert slack.messages == []


async def test_silence_can_be_tried_again(slack: LocalSlack) -> None:
    client = Sender(Guard(LOOPBACK), timeout_s=0.1)
    slack.hang_next()
    with pytest.raises(NoticeNotSent, match="in time") as refused:
        await client.post(SecretStr(slack.url), HELLO)
    assert (refused.value.permanent, refused.value.status) == (False, None)
    await client.close()


async def test_a_receiver_that_is_not_there_can_be_tried_again(unused_tcp_port: int) -> None:
    client, address = (
        Sender(Guard(LOOPBACK)),
        SecretStr(f"http://127.0.0.1:{unused_tcp_port}/services/T0/B0/secret"),
    )
    with pytest.raises(NoticeNotSent, match="cannot be reached") as refused:
        await client.post(address, HELLO)
    assert not refused.value.permanent
    await client.close()


@pytest.mark.parametrize(
    "url", ["http://", "ftp://secret/x", "http://secret:port/x", "http://a\x00secret", "http://xn--secret--/"]
)
async def test_an_address_that_is_none_stays_wrong(url: str) -> None:
    client, address = Sender(), SecretStr(url)
    with pytest.raises(NoticeNotSent) as refused:
        await client.post(address, HELLO)
    assert refused.value.permanent
    assert "secret" not in str(refused.value)
    await client.close()


@pytest.mark.parametrize(
    ("body", "word"),
    [("ok", "ok"), (" ok\n", "ok"), ("", ""), ("x" * 1_000_000, ""), ('{"ami": "ami-1"}', ""), ("two words", "")],
    ids=["ok", "ok in blanks", "nothing", "a megabyte", "a document", "two words"],
)
async def test_of_an_answer_a_single_word_is_kept_and_nothing_else(
    slack: LocalSlack, client: Sender, body: str, word: str
) -> None:
    slack.fail_next(200, body)
    assert await client.post(SecretStr(slack.url), HELLO) == Answer(200, word)


async def test_an_answer_that_is_packed_is_not_unpacked(slack: LocalSlack, client: Sender) -> None:
    packed = gzip.compress(b"ok").decode("latin-1")
    slack.fail_next(200, packed, headers={"Content-Encoding": "gzip"})
    assert (await client.post(SecretStr(slack.url), HELLO)).word == ""


async def test_the_page_of_a_proxy_is_not_repeated(slack: LocalSlack, client: Sender) -> None:
    slack.fail_next(502, "<html>10.0.0.1 is down</html>")
    with pytest.raises(NoticeNotSent) as refused:
        await client.post(SecretStr(slack.url), HELLO)
    assert "10.0.0.1" not in str(refused.value)


async def test_the_url_is_never_told(slack: LocalSlack, caplog: pytest.LogCaptureFixture) -> None:
    client = Sender(Guard(LOOPBACK))
    told = repr(vars(client))
    with caplog.at_level(logging.DEBUG):
        await client.post(SecretStr(slack.url), HELLO)
        for status in (404, 301, 500):
            slack.fail_next(status, headers={"Location": slack.url})
            with pytest.raises(NoticeNotSent) as refused:
                await client.post(SecretStr(slack.url), HELLO)
            told += "".join(traceback.format_exception(refused.value))
    told += "".join(record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn"))
    assert "XXXX" in slack.url
    assert "XXXX" not in told
    await client.close()


# ---------------------------------------------------------------- the receiver itself refuses what Slack refuses


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        ({}, "no_text"),
        ({"text": ""}, "no_text"),
        ({"blocks": [section("x")] * 51}, "invalid_blocks"),
        ({"blocks": [section("x" * 3001)]}, "invalid_blocks"),
        ({"blocks": [section("")]}, "invalid_blocks"),
        ({"blocks": [{"type": "nonsense"}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}]}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}]}, "invalid_blocks"),
        ({"blocks": [section("x" * 3000)] * 5}, "msg_blocks_too_long"),
    ],
)
async def test_the_receiver_refuses_what_slack_refuses(
    slack: LocalSlack, client: Sender, payload: dict[str, Any], word: str
) -> None:
    with pytest.raises(NoticeNotSent, match=word):
        await client.post(SecretStr(slack.url), as_json(payload))


async def test_the_receiver_takes_what_slack_takes(slack: LocalSlack, client: Sender) -> None:
    field = {"type": "mrkdwn", "text": "x" * 100}
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 150}},
        section("x" * 3000),
        {"type": "section", "fields": [field] * 10},
        {"type": "context", "elements": [field] * 10},
        {"type": "divider"},
    ]
    await client.post(SecretStr(slack.url), as_json({"text": "fallback", "blocks": blocks}))
    await client.post(SecretStr(slack.url), as_json({"text": "x" * 50_000}))
    assert [len(message.text) for message in slack.messages] == [len("fallback"), 40_000]


async def test_another_address_is_no_service(slack: LocalSlack) -> None:
    client, address = Sender(Guard(LOOPBACK)), SecretStr(slack.url + "Y")
    with pytest.raises(NoticeNotSent, match="no_service"):
        await client.post(address, HELLO)
    await client.close()


async def test_waiting_for_a_message_that_does_not_come_ends(slack: LocalSlack) -> None:
    with pytest.raises(TimeoutError):
        await slack.next_message(timeout=0.05)
