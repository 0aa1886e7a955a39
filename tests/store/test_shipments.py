"""A build and the rollouts that it set going are one message, whenever it is told and whoever was killed meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from app.builds import store as builds
from app.notices import shipments, store
from app.notices.model import NoticeEvent, Shipment, Subject, Told
from app.notices.text import message_of
from app.postgres.pool import transaction
from app.receivers.message import plain
from tests.factories import claimed_build, product, queue_rollout, succeed

if TYPE_CHECKING:
    from app.builds.model import ClaimedBuild
    from app.postgres.pool import Pool

PROGRESS_S: Final = 180.0


async def channel(pool: Pool, name: str = "slack", **chosen: Any) -> int:
    async with transaction(pool) as conn:
        made: int = await conn.fetchval(
            "insert into channels (name, kind, events, images, products) values ($1, 'slack', $2, $3, $4) returning id",
            name,
            chosen.get("events"),
            chosen.get("images", []),
            chosen.get("products", []),
        )
    return made


async def shipped(pool: Pool, products: int = 2) -> tuple[ClaimedBuild, list[int]]:
    """A build that succeeded and set rollouts of so many products going, as its worker leaves it; and the rollouts."""
    claimed = await claimed_build(pool)
    for _ in range(products):
        await product(pool, claimed.image_id, wanted=True)
    rollouts = await succeed(pool, claimed)
    async with transaction(pool) as conn:
        facts = await builds.facts(conn, claimed.id) | {"rollouts": len(rollouts)}
        await store.enqueue(conn, NoticeEvent.BUILD_SUCCEEDED, claimed.id, facts)
    return claimed, list(rollouts)


async def end(pool: Pool, rollout_id: int, state: str = "done") -> None:
    async with transaction(pool) as conn:
        await conn.execute(
            "update rollouts set state = $2::rollout_state, finished_at = now(),"
            " error = case when $2 in ('failed', 'rolled_back') then 'exit 1' end,"
            " task_errors = case when $2 = 'failed' then '[{\"output\": \"boom\"}]'::jsonb else '[]' end where id = $1",
            rollout_id,
            state,
        )


async def tell_due(pool: Pool) -> list[Shipment]:
    async with transaction(pool) as conn:
        return await shipments.tell_due(conn, PROGRESS_S)


async def age(pool: Pool) -> None:
    """Let the time pass after which it is told how far a build is."""
    async with transaction(pool) as conn:
        await conn.execute("update shipments set created_at = created_at - make_interval(secs => $1)", PROGRESS_S + 1)


async def outbox(pool: Pool) -> list[tuple[str, str, str, str]]:
    """Channel, event, what it is about, and the words, oldest first."""
    async with transaction(pool) as conn:
        rows = await conn.fetch(
            "select n.*, c.name from notices n join channels c on c.id = n.channel_id order by n.id"
        )
    return [(row["name"], row["event"], row["subject"], words(dict(row))) for row in rows]


def words(row: dict[str, Any]) -> str:
    told = {name: row[name] for name in Told.__slots__}
    told |= {"event": NoticeEvent(row["event"]), "subject": Subject(row["subject"])}
    return plain(message_of(Told(**told), "https://t"))


async def left(pool: Pool) -> int:
    async with transaction(pool) as conn:
        found: int = await conn.fetchval("select count(*) from shipments")
    return found


async def test_nothing_is_told_before_the_last_rollout_is_final_and_then_one_message_tells_all(pool: Pool) -> None:
    await channel(pool)
    claimed, [first, second] = await shipped(pool)
    assert await tell_due(pool) == []
    await end(pool, first)
    assert await tell_due(pool) == []
    assert await outbox(pool) == []
    await end(pool, second)
    [told] = await tell_due(pool)
    assert told.build_id == claimed.id
    [(_, event, subject, text)] = await outbox(pool)
    assert (event, subject) == ("rollout_done", "build")
    assert f"bre:{claimed.tag} built in" in text
    assert "→ 2 of 2 products running\nRunning: Product " in text
    assert (await tell_due(pool), await left(pool)) == ([], 0)


async def test_a_build_that_sets_nothing_going_is_told_at_once(pool: Pool) -> None:
    await channel(pool)
    await shipped(pool, products=0)
    [(_, event, subject, text)] = await outbox(pool)
    assert (event, subject, "no product follows it" in text, await left(pool)) == ("build_succeeded", "build", True, 0)


async def test_what_takes_long_is_told_twice_how_far_it_is_and_how_it_ended(pool: Pool) -> None:
    await channel(pool)
    _, [first, second] = await shipped(pool)
    await end(pool, first)
    await age(pool)
    assert len(await tell_due(pool)) == 1
    assert await tell_due(pool) == [], "how far it is, is told once"
    await end(pool, second, "failed")
    assert len(await tell_due(pool)) == 1
    told = await outbox(pool)
    assert [one[1:3] for one in told] == [("build_succeeded", "build"), ("rollout_failed", "build")]
    assert "→ 1 of 2 products running, 1 under way" in told[0][3]
    assert "→ 1 of 2 products running, 1 failed" in told[1][3]
    assert "failed and is not running: exit 1" in told[1][3]
    assert told[1][3].endswith("boom")


async def test_each_channel_is_told_of_what_it_chose(pool: Pool) -> None:
    await channel(pool, "builds", events=["build_succeeded"])
    await channel(pool, "failures", events=["build_failed", "rollout_failed"])
    await channel(pool, "elsewhere", images=["other-*"])
    await channel(pool, "nobody", products=["zurich"])
    claimed, [first, second] = await shipped(pool)
    async with transaction(pool) as conn:
        slugs = [row["slug"] for row in await conn.fetch("select slug from products order by id")]
    await channel(pool, "mine", products=[slugs[0]])
    assert [one[:2] for one in await outbox(pool)] == [("builds", "build_succeeded")]
    await end(pool, first)
    await end(pool, second, "rolled_back")
    await tell_due(pool)
    told = {name: text for name, event, _, text in await outbox(pool) if event != "build_succeeded"}
    assert sorted(told) == ["failures", "mine"]
    assert "→ 1 of 1 product running" in told["mine"]
    assert "goes on with what it ran" in told["failures"]
    assert claimed.tag in told["mine"]


async def test_a_channel_whose_products_are_done_early_is_told_once(pool: Pool) -> None:
    _, [first, second] = await shipped(pool)
    async with transaction(pool) as conn:
        slugs = [row["slug"] for row in await conn.fetch("select slug from products order by id")]
    await channel(pool, "mine", products=[slugs[0]])
    await end(pool, first)
    await age(pool)
    await tell_due(pool)
    await end(pool, second)
    await tell_due(pool)
    assert [one[1] for one in await outbox(pool)] == ["rollout_done"]


async def test_builds_are_told_to_channels_of_the_products_that_are_pinned_to_them(pool: Pool) -> None:
    claimed = await claimed_build(pool, name="bre")
    await product(pool, claimed.image_id)
    async with transaction(pool) as conn:
        slug = await conn.fetchval("select slug from products")
    await channel(pool, "its", products=[slug])
    await channel(pool, "others", products=["zurich"])
    async with transaction(pool) as conn:
        facts = await builds.facts(conn, claimed.id) | {"log_tail": [], "error": "exit 1", "seconds": 1}
        await store.enqueue(conn, NoticeEvent.BUILD_FAILED, claimed.id, facts)
    assert [one[0] for one in await outbox(pool)] == ["its"]


async def test_a_rollout_by_hand_is_told_by_itself_and_one_that_a_build_set_going_is_not(pool: Pool) -> None:
    await channel(pool)
    _, [first, _] = await shipped(pool)
    facts = {"reason": "image_built", "slug": "x"}
    async with transaction(pool) as conn:
        await store.enqueue(conn, NoticeEvent.ROLLOUT_DONE, first, facts)
        assert await conn.fetchval("select count(*) from notices") == 0
        await store.enqueue(conn, NoticeEvent.ROLLOUT_DONE, first, facts | {"reason": "redeploy"})
        assert await conn.fetchval("select count(*) from notices") == 1


async def test_what_took_over_from_a_rollout_ends_it_for_its_build(pool: Pool) -> None:
    await channel(pool)
    _, [first, second] = await shipped(pool)
    await end(pool, first)
    async with transaction(pool) as conn:
        product_id = await conn.fetchval("select product_id from rollouts where id = $1", second)
    await queue_rollout(pool, product_id)
    await tell_due(pool)
    [(_, event, _, text)] = await outbox(pool)
    assert event == "rollout_done"
    assert "→ 1 of 2 products running, 1 overtaken by something newer" in text


async def test_a_product_that_was_deleted_meanwhile_is_counted_as_removed(pool: Pool) -> None:
    await channel(pool)
    _, [first, second] = await shipped(pool)
    await end(pool, first)
    async with transaction(pool) as conn:
        await conn.execute("delete from products where id = (select product_id from rollouts where id = $1)", second)
    await tell_due(pool)
    assert "→ 1 of 2 products running, 1 removed" in (await outbox(pool))[0][3]


async def test_a_process_that_dies_while_it_tells_leaves_it_to_be_told_once_by_another(pool: Pool) -> None:
    await channel(pool)
    _, rollouts = await shipped(pool)
    for rollout in rollouts:
        await end(pool, rollout)
    with pytest.raises(KeyError):
        async with transaction(pool) as conn:
            assert len(await shipments.tell_due(conn, PROGRESS_S)) == 1
            raise KeyError
    assert (await outbox(pool), await left(pool)) == ([], 1)
    assert sorted(map(len, await asyncio.gather(*(tell_due(pool) for _ in range(4))))) == [0, 0, 0, 1]
    assert len(await outbox(pool)) == 1


async def test_a_fleet_is_told_with_a_bounded_number_of_statements(pool: Pool) -> None:
    for number in range(3):
        await channel(pool, f"c{number}")
    counts = []
    for products in (1, 2, 60):  # the first time, the connection learns the types
        _, rollouts = await shipped(pool, products)
        for rollout in rollouts:
            await end(pool, rollout)
        async with pool.acquire() as conn:
            seen: list[object] = []
            with conn.query_logger(seen.append):
                async with conn.transaction():
                    await shipments.tell_due(conn, PROGRESS_S)
        counts.append(len(seen))
    assert counts[1] == counts[2]
    assert len(await outbox(pool)) == 9
