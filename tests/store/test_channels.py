"""Channels made by API: their addresses are secrets, their switch and their choice of events are obeyed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
import structlog
from pydantic import SecretStr

from app.access.model import Role
from app.notices import channels, store
from app.notices.model import NoticeEvent
from app.notices.work import NoticeStage
from app.postgres.pool import transaction
from app.queue.loop import Loop
from app.receivers.client import Sender
from app.receivers.guard import Guard
from app.sealing import Vault
from tests.api_client import LOOPBACK, api_services, asking, audit_rows, refused_fields, token_for, waits_for_a_lock
from tests.factories import VAULT
from tests.fakes.slack import LocalSlack
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from app.notices.model import ClaimedMessage
    from app.postgres.pool import Pool

MASK: Final = "********"
STOP: Final = {
    "rollout_id": 7,
    "product_id": 3,
    "product": "Allianz",
    "slug": "allianz",
    "kind": "stop",
    "reason": "stop",
    "state": "done",
    "image": "bre:v1",
    "image_name": "bre",
    "replicas": 0,
    "error": "it hangs",
    "task_errors": [],
}
URL: Final = "https://chat.example.org/hooks/s3cr3t-part?key=hidden"


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack.start() as slack:
        yield slack


@pytest.fixture
async def api(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(api_services(pool)) as client:
        yield client


async def make(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/channels", json={"name": "ops", "kind": "slack", "url": URL} | fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def settings_channel(pool: Pool) -> int:
    async with transaction(pool) as conn:
        await channels.ensure_settings_channel(conn)
        found: int = await conn.fetchval("select id from channels where name = 'slack'")
    return found


async def tell(pool: Pool, subject: int = 7, event: NoticeEvent = NoticeEvent.ROLLOUT_DONE) -> None:
    async with transaction(pool) as conn:
        await store.enqueue(conn, event, subject, STOP)


async def turn(
    pool: Pool, *, settings_url: str | None = None, vault: Vault = VAULT, client: Sender | None = None
) -> int:
    """One turn of a process that sends notices; how many it sent, or tried to."""
    client = client or Sender(Guard(LOOPBACK))
    url = SecretStr(settings_url) if settings_url else None
    stage = NoticeStage(
        pool,
        client,
        vault,
        settings_url=url,
        worker="tests",
        concurrency=8,
        lease_s=30,
        public_url="https://t",
        progress_s=180,
    )
    loop: Loop[ClaimedMessage] = Loop(stage, asyncio.Event())
    started = await loop.turn()
    await asyncio.wait_for(loop.settled(), 30)
    await client.close()
    return started


async def notices(api: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    answer = await api.get(f"/notices?{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


# ---------------------------------------------------------------- the address


async def test_an_address_is_sealed_at_rest_and_never_shown(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await make(api)
    assert (made["url"], made["events"], made["enabled"], made["from_settings"]) == (MASK, None, True, False)
    changed = await api.patch(f"/channels/{made['id']}", json={"url": URL + "2", "name": "ops2"})
    answers = [made, changed.json(), (await api.get("/channels")).json(), (await api.get("/audit")).json()]
    answers.append((await api.get(f"/channels/{made['id']}")).json())
    async with transaction(pool) as conn:
        stored = [
            row["c"]
            for row in await conn.fetch("select c::text from channels c union all select a::text from audit_log a")
        ]
        sealed = await conn.fetchval("select url_sealed from channels")
    assert "s3cr3t" not in repr(answers) + repr(stored)
    assert channels.open_url(VAULT, made["id"], sealed).get_secret_value() == URL + "2"


async def test_writing_the_mask_back_keeps_the_address(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await make(api)
    async with transaction(pool) as conn:
        before = await conn.fetchval("select url_sealed from channels")
    whole = {name: made[name] for name in ("name", "url", "events", "enabled")}
    assert (await api.patch(f"/channels/{made['id']}", json=whole | {"name": "new"})).json()["name"] == "new"
    async with transaction(pool) as conn:
        assert await conn.fetchval("select url_sealed from channels") == before
    refused = await api.post("/channels", json={"name": "x", "kind": "slack", "url": MASK})
    assert (refused.status_code, refused_fields(refused)) == (422, ["url"])


async def test_readers_may_see_channels_and_change_none(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await make(api)
    async with asking(api_services(pool), await token_for(pool, Role.DEPLOY)) as other:
        assert (await other.get(f"/channels/{made['id']}")).json()["url"] == MASK
        assert (await other.patch(f"/channels/{made['id']}", json={"enabled": False})).status_code == 403
        assert (await other.post(f"/channels/{made['id']}/test")).status_code == 403


BAD_URLS: Final = [
    "", "x", "ftp://h/x", "file:///etc/passwd", "javascript:alert(1)", "http://", "http:///x", "http://h:0/", "http://h:99999/",
    "http://user@h/", "https://u:p4ssw0rd@h/", "http://h/#f", "http://h/ x", "http://h/\n", "http://h/\x00", "http://é/",
    "http://[::1", "https://h/" + "x" * 2000, "https://h/" + "x" * 1_000_000, 7, None, [], {"url": "x"},
]  # fmt: skip


BAD_FIELDS: Final[dict[str, list[Any]]] = {
    "url": BAD_URLS,
    "name": ["", " ", "a\nb", "a\x00", "\u202e", "x" * 101, "x" * 1_000_000, 7, None, []],
    "events": [[], "build_failed", ["nonsense"], [None], ["build_failed"] * 2, {}, 7],
    "enabled": ["true", 1, None, []],
    "images": [[""], ["a\x00"], "bre-*", [7], [None], ["x" * 201], ["x"] * 101, None],
    "products": [[""], ["a\n"], "allianz", [7], [None], ["x" * 201], ["x"] * 101, None],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in BAD_FIELDS.items() for value in values],
    ids=lambda value: repr(value)[:30],
)
async def test_a_wrong_field_is_refused_by_name_whether_new_or_changed(
    api: httpx.AsyncClient, field: str, value: Any
) -> None:
    made = await make(api)
    new = await api.post("/channels", json={"name": "x", "kind": "slack", "url": URL, field: value})
    change = await api.patch(f"/channels/{made['id']}", json={field: value})
    for answer in (new, change):
        assert (answer.status_code, refused_fields(answer)) == (422, [field])
        assert len(answer.content) < 3000
        assert "p4ssw0rd" not in answer.text
    assert (await api.get("/channels")).json() == [made]


@pytest.mark.parametrize("kind", ["mail", "Slack", "", None, 7])
async def test_other_kinds_are_refused_and_told_which_there_are(api: httpx.AsyncClient, kind: Any) -> None:
    answer = await api.post("/channels", json={"name": "x", "kind": kind, "url": URL})
    assert (answer.status_code, refused_fields(answer)) == (422, ["kind"])
    assert "slack" in answer.json()["errors"][0]["msg"]


async def test_a_kind_does_not_change(api: httpx.AsyncClient) -> None:
    made = await make(api)
    assert refused_fields(await api.patch(f"/channels/{made['id']}", json={"kind": "slack"})) == ["kind"]


async def test_a_name_belongs_to_one_channel_and_slack_to_the_settings(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await make(api)
    await make(api, name="other")
    for name in ("other", "slack"):
        refused = await api.patch(f"/channels/{made['id']}", json={"name": name})
        assert (refused.status_code, refused_fields(refused)) == (409, ["name"])
        refused = await api.post("/channels", json={"name": name, "kind": "slack", "url": URL})
        assert (refused.status_code, refused_fields(refused)) == (409, ["name"])
    assert len(await audit_rows(pool)) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://10.1.2.3/",
        "http://[::1]:8004/",
        "http://2130706434/",
        "http://0/",
    ],
)
async def test_an_address_that_leads_inside_is_refused_whether_new_or_changed(
    pool: Pool, api: httpx.AsyncClient, url: str
) -> None:
    made = await make(api)
    async with asking(replace(api_services(pool), sender=Sender())) as strict:
        new = await strict.post("/channels", json={"name": "x", "kind": "slack", "url": url})
        change = await strict.patch(f"/channels/{made['id']}", json={"url": url})
        for answer in (new, change):
            assert (answer.status_code, refused_fields(answer)) == (422, ["url"])
            assert "TAGSHIP_NOTIFY_PRIVATE_NETWORKS" in answer.json()["detail"]
        assert (await api.get("/channels")).json() == [made]


async def test_a_name_that_comes_to_lead_inside_gets_no_notice_and_the_notice_says_why(
    pool: Pool, slack: LocalSlack, api: httpx.AsyncClient
) -> None:
    made = await make(api, url=f"http://chat.example.org:{urlsplit(slack.url).port}/services/x")

    async def inside(_host: str) -> list[str]:
        return ["127.0.0.1"]

    await tell(pool)
    assert await turn(pool, client=Sender(Guard(resolve=inside))) == 1
    [notice] = await notices(api)
    assert (notice["state"], notice["attempt"]) == ("failed", 1)
    assert "TAGSHIP_NOTIFY_PRIVATE_NETWORKS" in notice["answer"]
    async with asking(replace(api_services(pool), sender=Sender(Guard(resolve=inside)))) as other:
        told = (await other.post(f"/channels/{made['id']}/test")).json()
    assert (told["sent"], told["status"], told["answer"]) == (False, None, notice["answer"])
    assert slack.messages == []


async def test_the_address_of_the_settings_may_lead_anywhere(pool: Pool, slack: LocalSlack) -> None:
    await settings_channel(pool)
    await tell(pool)
    assert await turn(pool, settings_url=slack.url, client=Sender()) == 1
    assert len(slack.messages) == 1


# ---------------------------------------------------------------- the channel of the settings


async def test_the_channel_of_the_settings_can_be_switched_and_not_taken_away(
    pool: Pool, api: httpx.AsyncClient
) -> None:
    channel_id = await settings_channel(pool)
    answer = await api.delete(f"/channels/{channel_id}")
    assert answer.status_code == 409
    assert "SLACK_WEBHOOK_URL" in answer.json()["detail"]
    for field, value in (("url", URL), ("name", "mine")):
        answer = await api.patch(f"/channels/{channel_id}", json={field: value, "enabled": False})
        assert (answer.status_code, refused_fields(answer)) == (409, [field])
    whole = {"name": "slack", "url": MASK, "events": ["build_failed"], "enabled": False}
    assert (await api.patch(f"/channels/{channel_id}", json=whole)).status_code == 200
    await settings_channel(pool)
    shown = (await api.get(f"/channels/{channel_id}")).json()
    assert (shown["enabled"], shown["events"], shown["from_settings"]) == (False, ["build_failed"], True)


async def test_what_is_for_the_settings_channel_is_left_to_a_process_that_has_the_address(
    pool: Pool, slack: LocalSlack
) -> None:
    await settings_channel(pool)
    await tell(pool)
    assert await turn(pool) == 0
    assert await turn(pool, settings_url=slack.url) == 1
    assert len(slack.messages) == 1


# ---------------------------------------------------------------- sending


async def test_each_channel_is_told_at_its_own_address_and_only_of_what_it_wants(
    pool: Pool, slack: LocalSlack, api: httpx.AsyncClient
) -> None:
    async with LocalSlack.start() as other:
        everything = await make(api, url=slack.url)
        failures = await make(api, name="failures", url=other.url, events=["build_failed", "rollout_failed"])
        await make(api, name="off", enabled=False)
        await tell(pool)
        await tell(pool, event=NoticeEvent.ROLLOUT_FAILED)
        found = await notices(api)
        assert [(one["channel"], one["event"]) for one in found if one["channel_id"] == failures["id"]] == [
            ("failures", "rollout_failed")
        ]
        assert len([one for one in found if one["channel_id"] == everything["id"]]) == 2
        await api.patch(f"/channels/{failures['id']}", json={"events": None})
        await tell(pool, subject=8)
        await turn(pool)
        await turn(pool)
        sent = await notices(api, "state=sent")
    assert sorted((one["channel"], one["event"]) for one in sent if one["subject_id"] == 8) == [
        ("failures", "rollout_done"),
        ("ops", "rollout_done"),
    ]
    assert sorted(message.text for message in other.messages) == [
        ":warning: *Allianz* could not be stopped: it hangs",
        ":white_check_mark: *Allianz* is stopped",
    ]


async def test_a_receiver_that_hangs_keeps_two_senders_busy_and_no_more(
    pool: Pool, slack: LocalSlack, api: httpx.AsyncClient
) -> None:
    await make(api, name="hangs")
    for subject in range(10):
        await tell(pool, subject=subject)
    async with transaction(pool) as conn:
        await conn.execute(
            "update notices set lease_until = now() + interval '1 min', lease_token = gen_random_uuid()"
            " where subject_id < 2"
        )
    await make(api, name="well", url=slack.url)
    await tell(pool, subject=10)
    assert await turn(pool) == 1
    assert len(slack.messages) == 1


async def test_an_address_that_does_not_open_fails_the_notice_with_the_reason(
    pool: Pool, api: httpx.AsyncClient
) -> None:
    await make(api)
    await tell(pool)
    assert await turn(pool, vault=Vault.from_secret("another key")) == 1
    [notice] = await notices(api)
    assert notice["state"] == "failed"
    assert "sealed with another secret key" in notice["answer"]


# ---------------------------------------------------------------- switching off, deleting


@pytest.mark.parametrize("by", ["api", "timer"])
async def test_a_channel_that_is_switched_off_leaves_nothing_waiting(
    pool: Pool, api: httpx.AsyncClient, by: str
) -> None:
    made, other = await make(api), await make(api, name="other")
    await tell(pool)
    await tell(pool, subject=8)
    async with transaction(pool) as conn:  # one of them is being sent at this moment
        await conn.execute(
            "update notices set lease_until = now() + interval '1 min', lease_token = gen_random_uuid()"
            " where channel_id = $1 and subject_id = 8",
            made["id"],
        )
        if by == "timer":  # switched off while a transaction that enqueues was under way
            await conn.execute("update channels set enabled = false where id = $1", made["id"])
            assert await store.fail_stranded(conn) == [NoticeEvent.ROLLOUT_DONE]
    if by == "api":
        assert (await api.patch(f"/channels/{made['id']}", json={"enabled": False})).status_code == 200
    found = await notices(api, f"channel_id={made['id']}")
    assert [(one["state"], one["answer"]) for one in found] == [
        ("pending", None),
        ("failed", "the channel was switched off"),
    ]
    assert {one["state"] for one in await notices(api, f"channel_id={other['id']}")} == {"pending"}


async def test_an_event_is_told_to_others_while_a_channel_is_being_deleted(pool: Pool, api: httpx.AsyncClient) -> None:
    made, other = await make(api), await make(api, name="other")
    async with transaction(pool) as conn:
        await conn.execute("delete from channels where id = $1", made["id"])
        telling = asyncio.create_task(tell(pool))
        await until(lambda: waits_for_a_lock(pool), "the event waits", 10)
    await telling
    assert [one["channel_id"] for one in await notices(api)] == [other["id"]]


async def test_a_deleted_channel_takes_its_notices_along(pool: Pool, api: httpx.AsyncClient) -> None:
    made, other = await make(api), await make(api, name="other")
    await tell(pool)
    assert (await api.delete(f"/channels/{made['id']}")).status_code == 204
    assert (await api.get(f"/channels/{made['id']}")).status_code == 404
    assert [one["channel_id"] for one in await notices(api)] == [other["id"]]
    assert (await api.delete(f"/channels/{made['id']}")).status_code == 404


# ---------------------------------------------------------------- trying out


async def test_a_test_message_is_sent_at_once_and_its_answer_told(
    pool: Pool, slack: LocalSlack, api: httpx.AsyncClient
) -> None:
    made = await make(api, name="ops <!channel>", url=slack.url, enabled=False)
    answer = await api.post(f"/channels/{made['id']}/test")
    assert (answer.status_code, answer.json()) == (200, {"sent": True, "status": 200, "answer": "ok"})
    [message] = slack.messages
    assert "*ops &lt;!channel&gt;*" in message.text
    assert (await audit_rows(pool))[-1]["details"] == {"sent": True, "answer": 200}


async def test_a_test_message_that_is_not_taken_says_so_and_tells_no_address(
    slack: LocalSlack, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    made = await make(api, url=slack.url)
    with structlog.testing.capture_logs() as events, caplog.at_level(logging.DEBUG, "app"):
        for status, body in ((404, "no_service"), (500, slack.url), (301, "")):
            slack.fail_next(status, body, headers={"Location": slack.url})
            answer = await api.post(f"/channels/{made['id']}/test")
            assert (answer.status_code, answer.json()["sent"], answer.json()["status"]) == (200, False, status)
            assert "services/T0" not in answer.text
        slack.fail_next(200, f"you sent this to {slack.url}")
        assert (await api.post(f"/channels/{made['id']}/test")).json()["answer"] == ""
    assert "services/T0" not in repr(events) + caplog.text
    assert slack.messages == [], "nothing was sent on by a redirect"


async def test_a_test_without_an_address_says_what_is_missing(pool: Pool, api: httpx.AsyncClient) -> None:
    channel_id = await settings_channel(pool)
    answer = await api.post(f"/channels/{channel_id}/test")
    assert (answer.status_code, "SLACK_WEBHOOK_URL" in answer.json()["detail"]) == (409, True)
    made = await make(api)
    async with transaction(pool) as conn:
        await conn.execute("update channels set url_sealed = 'v1:x:y:z' where id = $1", made["id"])
    assert (await api.post(f"/channels/{made['id']}/test")).status_code == 409
