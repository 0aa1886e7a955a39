"""What waits for a channel together goes out together, and stays together whoever sends it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.notices import channels, store
from app.notices.model import NoticeEvent, NoticeState
from app.postgres.pool import transaction
from app.queue.loop import Loop
from app.receivers.client import Sender
from tests.fakes.slack import LocalSlack
from tests.store.test_notices import STOP, channel, claim, rows, stage, tell, turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.notices.model import ClaimedMessage
    from app.postgres.pool import Pool


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack.start() as slack:
        yield slack


@pytest.fixture
async def loop(pool: Pool, slack: LocalSlack) -> AsyncIterator[Loop[ClaimedMessage]]:
    """The loop of the stage, for one turn at a time."""
    sender = Sender()
    yield Loop(stage(pool, sender, slack.url), asyncio.Event())
    await sender.close()


async def messages(pool: Pool) -> list[list[int]]:
    """The subjects of the notices of each message, in the order of their first notice."""
    found: dict[Any, list[int]] = {}
    for row in await rows(pool):
        found.setdefault(row["message_id"], []).append(row["subject_id"])
    return list(found.values())


async def test_a_few_notices_are_messages_of_their_own(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    for subject in (1, 2, 3):
        await tell(pool, subject)
    while await turn(loop):
        pass
    assert len(slack.messages) == 3
    assert await messages(pool) == [[1], [2], [3]]


async def test_a_burst_is_one_message_that_names_each_and_every_notice_has_its_answer(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    async with transaction(pool) as conn:
        for subject in range(7):
            await store.enqueue(conn, NoticeEvent.ROLLOUT_DONE, subject, STOP | {"product": f"P{subject}"})
    assert await turn(loop) == 1
    [message] = slack.messages
    assert "7 things happened" in message.text
    assert all(f"*P{subject}* is stopped" in message.text for subject in range(7))
    assert {(row["state"], row["answer"], row["attempt"]) for row in await rows(pool)} == {("sent", "200 ok", 1)}
    assert await messages(pool) == [list(range(7))]


async def test_more_than_twenty_are_more_than_one_message(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    async with transaction(pool) as conn:
        for subject in range(45):
            await store.enqueue(conn, NoticeEvent.ROLLOUT_DONE, subject, STOP)
    while await turn(loop):
        pass
    assert sorted(map(len, await messages(pool))) == [5, 20, 20]
    assert len(slack.messages) == 3


async def test_what_is_gathered_while_a_receiver_rests_goes_out_together(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    await tell(pool, 1)
    slack.fail_next(429, retry_after_s=120)
    await turn(loop)
    for subject in range(2, 7):
        await tell(pool, subject)
    assert await turn(loop) == 0
    async with transaction(pool) as conn:
        await conn.execute("update channels set paused_until = now()")
        await conn.execute("update notices set run_after = now()")
    while await turn(loop):
        pass
    assert await messages(pool) == [[1], [2, 3, 4, 5, 6]]
    assert len(slack.messages) == 2


async def test_a_message_stays_what_it_is_from_try_to_try(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    async with transaction(pool) as conn:
        for subject in range(4):
            await store.enqueue(conn, NoticeEvent.ROLLOUT_DONE, subject, STOP)
    slack.fail_next(503)
    assert await turn(loop) == 1
    before = await messages(pool)
    await tell(pool, 9)
    async with transaction(pool) as conn:
        await conn.execute("update notices set run_after = now()")
    while await turn(loop):
        pass
    assert before == [[0, 1, 2, 3]]
    assert await messages(pool) == [[0, 1, 2, 3], [9]]
    assert [row["attempt"] for row in await rows(pool)] == [2, 2, 2, 2, 1]
    assert len(slack.messages) == 2


async def test_a_message_whose_worker_is_lost_is_sent_whole_by_another_under_the_same_id(pool: Pool) -> None:
    await channel(pool)
    async with transaction(pool) as conn:
        for subject in range(5):
            await store.enqueue(conn, NoticeEvent.ROLLOUT_DONE, subject, STOP)
    lost = await claim(pool)
    assert lost is not None
    async with transaction(pool) as conn:
        await conn.execute("update notices set lease_until = now() - interval '1 s'")
    found = await claim(pool)
    assert found is not None
    assert (found.message_id, found.ids, found.attempt) == (lost.message_id, lost.ids, 2)
    async with transaction(pool) as conn:
        assert not await store.settle(conn, lost, NoticeState.SENT, "late")
        assert await store.settle(conn, found, NoticeState.SENT, "200 ok")
    assert await claim(pool) is None


async def test_one_that_cannot_be_read_fails_alone(pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]) -> None:
    await channel(pool)
    async with transaction(pool) as conn:
        for subject in range(5):
            await store.enqueue(conn, NoticeEvent.ROLLOUT_DONE, subject, STOP if subject != 2 else {"kind": 7})
    assert await turn(loop) == 1
    found = await rows(pool)
    assert [row["state"] for row in found] == ["sent", "sent", "failed", "sent", "sent"]
    assert "another version of Tagship wrote this notice" in found[2]["answer"]
    assert "4 things happened" in slack.messages[0].text


async def test_a_channel_that_has_had_many_messages_within_seconds_rests_and_gathers(
    pool: Pool, slack: LocalSlack, loop: Loop[ClaimedMessage]
) -> None:
    await channel(pool)
    for subject in range(channels.MOST_IN_BURST):
        await tell(pool, subject)
        assert await turn(loop) == 1
    for subject in range(100, 105):
        await tell(pool, subject)
    assert await turn(loop) == 0, "it rests"
    async with transaction(pool) as conn:
        assert await conn.fetchval("select paused_until - now() from channels") <= timedelta(seconds=channels.BURST_S)
        await conn.execute("update channels set paused_until = now(), burst_began_at = now() - interval '11 s'")
    assert await turn(loop) == 1
    assert len(slack.messages) == channels.MOST_IN_BURST + 1
    assert (await messages(pool))[-1] == list(range(100, 105))
    async with transaction(pool) as conn:
        assert await conn.fetchval("select burst_messages from channels") == 1, "a new count began"
