"""Notices as rows: written once, sent under a lease, put off, and given up when they are news no more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from pydantic import SecretStr

from app.notices import channels, store
from app.notices.model import ChannelKind, NoticeEvent, NoticeState
from app.notices.work import NoticeStage
from app.postgres.pool import transaction
from app.queue.lease import Beat
from app.queue.loop import Loop
from app.receivers.client import Sender
from tests.api_client import api_services, asking
from tests.factories import VAULT, expire
from tests.fakes.slack import LocalSlack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.notices.model import ClaimedMessage
    from app.postgres.pool import Pool

PATIENCE_S: Final = 30.0
STOP: Final = {
    "rollout_id": 7,
    "product_id": 3,
    "product": "Allianz",
    "slug": "allianz",
    "kind": "stop",
    "reason": "stop",
    "state": "done",
    "image": "bre:v1",
    "port": 8001,
    "replicas": 0,
    "error": None,
    "task_errors": [],
}


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack.start() as slack:
        yield slack


@pytest.fixture
async def loop(pool: Pool, slack: LocalSlack) -> AsyncIterator[Loop[ClaimedMessage]]:
    """The loop of the stage, for one turn at a time."""
    client = Sender()
    yield Loop(stage(pool, client, slack.url), asyncio.Event())
    await client.close()


def stage(pool: Pool, client: Sender, url: str | None) -> NoticeStage:
    settings_url = None if url is None else SecretStr(url)
    return NoticeStage(
        pool,
        client,
        VAULT,
        settings_url=settings_url,
        worker="tests",
        concurrency=8,
        lease_s=30,
        public_url="https://t",
        progress_s=180,
    )


async def channel(pool: Pool, name: str = "slack", kind: str = "slack", *, enabled: bool = True) -> None:
    async with transaction(pool) as conn:
        await conn.execute(
            "insert into channels (name, kind, enabled) values ($1, $2, $3)"
            " on conflict (name) do update set enabled = excluded.enabled",
            name,
            kind,
            enabled,
        )


async def tell(pool: Pool, subject: int = 7, event: NoticeEvent = NoticeEvent.ROLLOUT_DONE) -> None:
    async with transaction(pool) as conn:
        await store.enqueue(conn, event, subject, STOP)


async def claim(pool: Pool, *kinds: ChannelKind) -> ClaimedMessage | None:
    async with transaction(pool) as conn:
        return await store.claim(
            conn,
            kinds=kinds or ChannelKind,
            token=uuid4(),
            lease_s=30,
            worker="tests",
            with_settings_channel=True,
        )


async def claimed(pool: Pool) -> ClaimedMessage:
    """A notice of a channel that is on, under a lease."""
    await channel(pool)
    await tell(pool)
    notice = await claim(pool)
    assert notice is not None
    return notice


async def rows(pool: Pool) -> list[dict[str, Any]]:
    async with transaction(pool) as conn:
        found = await conn.fetch(
            "select c.name, n.*, run_after - now() as wait from notices n join channels c on c.id = channel_id"
            " order by n.id"
        )
    return [dict(row) for row in found]


async def age(pool: Pool, by: timedelta) -> None:
    """Let so much time have passed since the notices were written."""
    async with transaction(pool) as conn:
        await conn.execute("update notices set created_at = created_at - $1::interval", by)


async def turn(loop: Loop[ClaimedMessage]) -> int:
    """One turn of the loop and all that it started; how much that was."""
    started = await loop.turn()
    await asyncio.wait_for(loop.settled(), PATIENCE_S)
    return started


# ---------------------------------------------------------------- writing


async def test_an_event_is_told_once_to_each_channel(pool: Pool) -> None:
    await channel(pool)
    await channel(pool, "ops")
    await tell(pool)
    await tell(pool)
    assert [row["name"] for row in await rows(pool)] == ["slack", "ops"]


async def test_another_event_or_subject_is_another_notice(pool: Pool) -> None:
    await channel(pool)
    await tell(pool)
    await tell(pool, subject=8)
    await tell(pool, event=NoticeEvent.ROLLOUT_FAILED)
    assert len(await rows(pool)) == 3


async def test_nothing_is_written_for_a_channel_that_is_off(pool: Pool) -> None:
    await tell(pool)
    await channel(pool, enabled=False)
    await tell(pool)
    assert await rows(pool) == []


async def test_a_transaction_that_fails_tells_nobody(pool: Pool) -> None:
    await channel(pool)
    with pytest.raises(KeyError):
        async with transaction(pool) as conn:
            await store.enqueue(conn, NoticeEvent.ROLLOUT_DONE, 7, STOP)
            raise KeyError
    assert await rows(pool) == []


async def test_times_among_the_facts_become_text(pool: Pool) -> None:
    await channel(pool)
    async with transaction(pool) as conn:
        await store.enqueue(conn, NoticeEvent.BUILD_FAILED, 1, {"at": datetime(2026, 1, 1, tzinfo=UTC)})
    assert (await rows(pool))[0]["facts"] == {"at": "2026-01-01T00:00:00+00:00"}


# ---------------------------------------------------------------- leases


async def test_the_oldest_is_claimed_first_and_only_once(pool: Pool) -> None:
    first = await claimed(pool)
    await tell(pool, subject=8)
    second = await claim(pool)
    assert second is not None
    assert second.lease.row_id > first.lease.row_id
    assert await claim(pool) is None
    [told] = first.told
    assert (told.event, told.facts, told.attempt) == (NoticeEvent.ROLLOUT_DONE, STOP, 1)


async def test_a_channel_that_is_off_or_of_another_kind_is_not_claimed(pool: Pool) -> None:
    await channel(pool)
    await tell(pool)
    assert await claim(pool, ChannelKind.DISCORD) is None
    await channel(pool, enabled=False)
    assert await claim(pool) is None
    await channel(pool, enabled=True)
    assert await claim(pool) is not None


async def test_a_lost_workers_notice_is_claimed_again_and_the_lost_one_is_fenced_off(pool: Pool) -> None:
    lost = await claimed(pool)
    await expire(pool, "notices", lost.lease.row_id)
    found = await claim(pool)
    assert found is not None
    assert (found.lease.row_id, found.attempt) == (lost.lease.row_id, 2)
    async with transaction(pool) as conn:
        assert await store.renew(conn, lost) is Beat.LOST
        assert not await store.settle(conn, lost, NoticeState.SENT, "ok")
        assert not await store.retry(conn, lost, 5, "late")
        assert not await store.hand_back(conn, lost)
        assert await store.renew(conn, found) is Beat.HELD
    assert (await rows(pool))[0]["state"] == "pending"


async def test_a_settled_notice_is_final(pool: Pool) -> None:
    notice = await claimed(pool)
    async with transaction(pool) as conn:
        assert await store.settle(conn, notice, NoticeState.SENT, "200 ok")
        assert not await store.settle(conn, notice, NoticeState.FAILED, "again")
        assert await store.renew(conn, notice) is Beat.LOST
    assert await claim(pool) is None
    [row] = await rows(pool)
    assert (row["state"], row["answer"], row["finished_at"] is not None) == ("sent", "200 ok", True)


async def test_a_notice_that_is_put_off_is_not_claimed_before_its_time(pool: Pool) -> None:
    notice = await claimed(pool)
    async with transaction(pool) as conn:
        assert await store.retry(conn, notice, 60, "429")
    assert await claim(pool) is None
    async with transaction(pool) as conn:
        await conn.execute("update notices set run_after = now()")
    found = await claim(pool)
    assert found is not None
    assert found.attempt == 2


async def test_a_notice_that_is_handed_back_keeps_its_attempt(pool: Pool) -> None:
    notice = await claimed(pool)
    async with transaction(pool) as conn:
        assert await store.hand_back(conn, notice)
    found = await claim(pool)
    assert found is not None
    assert found.attempt == 1


# ---------------------------------------------------------------- sending


async def test_a_notice_is_posted_and_its_answer_kept(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    await tell(pool)
    assert await turn(loop) == 1
    assert [message.text for message in slack.messages] == [":white_check_mark: *Allianz* is stopped"]
    [row] = await rows(pool)
    assert (row["state"], row["answer"]) == ("sent", "200 ok")
    assert await turn(loop) == 0


async def test_a_receiver_that_asks_for_a_pause_gets_it(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    await tell(pool)
    slack.fail_next(429, retry_after_s=120)
    assert await turn(loop) == 1
    [row] = await rows(pool)
    assert (row["state"], row["attempt"]) == ("pending", 1)
    assert timedelta(seconds=100) < row["wait"] <= timedelta(seconds=120)
    assert await turn(loop) == 0


async def test_a_receiver_that_asks_for_rest_is_left_alone_by_every_notice_and_only_it(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    await tell(pool)
    slack.fail_next(429, retry_after_s=120)
    assert await turn(loop) == 1
    await tell(pool, subject=8)
    assert await claim(pool) is None
    async with transaction(pool) as conn:
        await conn.execute("update channels set paused_until = now()")
    notice = await claim(pool)
    assert notice is not None
    assert notice.attempt == 1, "its own attempts are all there"


async def test_the_channel_of_the_settings_goes_off_when_its_address_is_gone_and_gets_a_chance_at_the_next_start(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    await tell(pool)
    slack.fail_next(410, "channel_is_archived")
    assert await turn(loop) == 1
    async with asking(api_services(pool)) as client:
        [shown] = (await client.get("/channels")).json()
        assert shown["enabled"] is False
        assert "HTTP 410 channel_is_archived" in shown["disabled_reason"]
        async with transaction(pool) as conn:
            await channels.ensure_settings_channel(conn)
        [shown] = (await client.get("/channels")).json()
        assert (shown["enabled"], shown["disabled_reason"]) == (True, None)
        assert (await client.patch(f"/channels/{shown['id']}", json={"enabled": False})).status_code == 200
        async with transaction(pool) as conn:
            await channels.ensure_settings_channel(conn)
        [shown] = (await client.get("/channels")).json()
        assert (shown["enabled"], shown["disabled_reason"]) == (False, None), "a person said so"


async def test_the_last_attempt_fails_the_notice(pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]) -> None:
    await channel(pool)
    await tell(pool)
    async with transaction(pool) as conn:
        await conn.execute("update notices set attempt = 11")
    slack.fail_next(503)
    assert await turn(loop) == 1
    [row] = await rows(pool)
    assert (row["state"], row["attempt"]) == ("failed", 12)
    assert "HTTP 503" in row["answer"]


@pytest.mark.parametrize(("hours", "state"), [(5.9, "sent"), (6.1, "failed")])
async def test_what_is_older_than_six_hours_is_not_posted_any_more(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage], hours: float, state: str
) -> None:
    await channel(pool)
    await tell(pool)
    await age(pool, timedelta(hours=hours))
    assert await turn(loop) == (state == "sent")
    [row] = await rows(pool)
    assert row["state"] == state
    assert len(slack.messages) == (state == "sent")
    assert ("too old" in row["answer"]) is (state == "failed")


async def test_a_post_under_way_when_the_process_stops_may_end_and_is_not_repeated(pool: Pool) -> None:
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    await channel(pool)
    await tell(pool)
    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    client = Sender()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    loop = Loop(stage(pool, client, url), asyncio.Event())
    async with server:
        await loop.turn()
        await asyncio.wait_for(arrived.wait(), PATIENCE_S)
        loop.stop()
        ended = asyncio.create_task(loop.settled())
        await asyncio.wait({ended}, timeout=0.1)
        assert not ended.done()
        answer.set()
        await asyncio.wait_for(ended, PATIENCE_S)
    await client.close()
    assert [row["state"] for row in await rows(pool)] == ["sent"]


async def test_a_post_that_hangs_is_cut_off_when_the_process_stops_and_handed_back(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    await tell(pool)
    slack.hang_next()
    assert await loop.turn() == 1
    loop.stop()
    await asyncio.wait_for(loop.settled(), PATIENCE_S)
    [row] = await rows(pool)
    assert (row["state"], row["attempt"], row["lease_token"]) == ("pending", 0, None)
    assert await claim(pool) is not None, "another process sends it at once"


# ---------------------------------------------------------------- reading


async def test_a_notice_is_shown_as_it_was_or_will_be_sent(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    await tell(pool)
    async with asking(api_services(pool)) as api:
        before = (await api.get("/notices/1")).json()
        assert await turn(loop) == 1
        after = (await api.get("/notices/1")).json()
        assert (await api.get("/notices/2")).status_code == 404
        assert (await api.get("/notices")).json() == [after]
    assert (before["state"], before["attempt"], before["answer"], before["finished_at"]) == ("pending", 0, None, None)
    assert before["next_attempt_at"].endswith("Z")
    assert before["text"] == after["text"] == "✅ Allianz is stopped"
    assert (after["state"], after["attempt"], after["answer"], after["next_attempt_at"]) == ("sent", 1, "200 ok", None)
    assert (before["status"], before["message_id"], after["status"]) == (None, None, 200)
    assert (after["channel"], after["event"], after["subject"], after["subject_id"]) == (
        "slack",
        "rollout_done",
        "rollout",
        7,
    )


async def test_notices_are_listed_by_state_event_and_page(pool: Pool, loop: Loop[ClaimedMessage]) -> None:
    await channel(pool)
    await tell(pool)
    await turn(loop)
    await tell(pool, subject=8)
    await tell(pool, event=NoticeEvent.ROLLOUT_FAILED)
    async with asking(api_services(pool)) as api:
        for query, ids in {
            "": [3, 2, 1],
            "state=sent": [1],
            "state=pending&event=rollout_failed": [3],
            "channel_id=1&before=3": [2, 1],
            "channel_id=2": [],
        }.items():
            assert [one["id"] for one in (await api.get(f"/notices?{query}")).json()] == ids, query
        first = await api.get("/notices?limit=2")
        assert [one["id"] for one in (await api.get(first.links["next"]["url"])).json()] == [1]
        for query, field in {"state=x": "state", "event=x": "event", "channel_id=x": "channel_id"}.items():
            refused = await api.get(f"/notices?{query}")
            assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["query", field])


@pytest.mark.parametrize("facts", [{}, {"kind": "stop"}, {"product": None, "kind": 7}])
async def test_facts_that_another_version_wrote_cost_the_text_and_nothing_else(
    pool: Pool, facts: dict[str, Any]
) -> None:
    await channel(pool)
    async with transaction(pool) as conn:
        await store.enqueue(conn, NoticeEvent.ROLLOUT_FAILED, 7, facts)
    async with asking(api_services(pool)) as api:
        [shown] = (await api.get("/notices")).json()
    assert (shown["text"], shown["state"]) == (None, "pending")
