"""The build log on its way into the database: complete and in order, whatever breaks on the way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.builds import store
from app.builds.journal import journal
from app.errors import DatabaseUnavailable, LeaseLost
from app.postgres.pool import create_pool, transaction
from app.queue.lease import Beat
from tests.factories import claim_build, claimed_build
from tests.fakes.bad_wire import bad_wire
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from app.builds.model import ClaimedBuild
    from app.postgres.pool import Pool
    from app.queue.lease import Lease


async def stored(pool: Pool, claimed: ClaimedBuild) -> list[tuple[int, str]]:
    async with transaction(pool) as conn:
        return [(piece.seq, piece.text) for piece in await store.read_log(conn, claimed.id, 0, 10_000)]


async def text_of(pool: Pool, claimed: ClaimedBuild) -> str:
    return "".join(text for _, text in await stored(pool, claimed))


async def lose(pool: Pool, claimed: ClaimedBuild) -> None:
    """Somebody else gets the build."""
    async with transaction(pool) as conn:
        assert await store.hand_back(conn, claimed.lease)


@asynccontextmanager
async def nobody_writes_log(pool: Pool) -> AsyncIterator[None]:
    """Every row of log waits until this block ends."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("lock table build_log in access exclusive mode")
        yield


async def somebody_waits(pool: Pool) -> tuple[int, datetime]:
    """Wait until a statement of this database waits for a lock; its process and when it was begun."""
    query = """select pid, query_start from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'"""

    async def look() -> tuple[int, datetime] | None:
        async with pool.acquire() as conn:
            row = await conn.fetchrow(query)
        return None if row is None else (row["pid"], row["query_start"])

    return await until(look, "a statement waits for a lock", 10)


async def test_the_log_is_complete_in_order_and_whole_lines(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with journal(pool, claimed.lease, 0) as lines:
        for number in range(20_000):
            await lines.write(f"line {number}\nhalf of ")
        await lines.write("the end\x00\ud800")
    pieces = await stored(pool, claimed)
    expected = "".join(f"line {number}\nhalf of " for number in range(20_000)) + "the end\ufffd\ufffd"
    assert "".join(text for _, text in pieces) == expected
    assert [seq for seq, _ in pieces] == list(range(1, len(pieces) + 1))
    assert all(text.endswith("\n") for _, text in pieces[:-1])
    assert max(len(text) for _, text in pieces) <= 64 * 1024


async def test_a_line_without_an_end_waits_and_one_longer_than_a_row_does_not(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with journal(pool, claimed.lease, 0) as lines:
        await lines.write("no end")
        await lines.flush()
        assert await stored(pool, claimed) == []
        await lines.write("x" * 100_000)
        await lines.flush()
        assert await stored(pool, claimed) != []


async def test_the_log_of_a_lost_lease_is_not_written(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    await lose(pool, claimed)
    with pytest.raises(LeaseLost):
        async with journal(pool, claimed.lease, 0) as lines:
            await lines.write("a line\n")
    assert await stored(pool, claimed) == []


@pytest.mark.parametrize("where", ["unanswered_commits", "broken_beginnings"])
async def test_a_connection_that_breaks_loses_no_text_and_repeats_none(database: str, pool: Pool, where: str) -> None:
    claimed = await claimed_build(pool)
    async with bad_wire(database) as wire:
        wired = await create_pool(wire.dsn, size=2)
        async with journal(wired, claimed.lease, 0) as lines:
            await lines.write("one\n")
            setattr(wire, where, 1)
            with pytest.raises(DatabaseUnavailable):
                await lines.flush()
            await lines.write("two\n")
            await lines.flush()
            await lines.write("three")
        await wired.close()
    assert await text_of(pool, claimed) == "one\ntwo\nthree"


async def test_a_number_that_somebody_else_used_is_no_success(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with transaction(pool) as conn:
        assert await store.append_log(conn, claimed.lease, 1, "somebody else's\n")
    with pytest.raises(asyncpg.UniqueViolationError):
        async with journal(pool, claimed.lease, 0) as lines:
            await lines.write("ours\n")


async def test_who_is_cancelled_while_a_row_is_stored_does_not_cut_it_off(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with journal(pool, claimed.lease, 0) as lines:
        async with nobody_writes_log(pool):
            await lines.write("one\n")
            writing = asyncio.create_task(lines.flush())
            statement = await somebody_waits(pool)
            writing.cancel()
            await asyncio.wait({writing})
            assert await somebody_waits(pool) == statement
            await lines.write("two\n")
        await lines.flush()
        assert await text_of(pool, claimed) == "one\ntwo\n"


async def test_a_row_that_an_earlier_worker_sent_is_there_before_the_next_one_begins(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with transaction(pool) as conn:
        assert await store.append_log(conn, claimed.lease, 1, "late\n")
        losing = asyncio.create_task(lose(pool, claimed))
        await somebody_waits(pool)
        assert not losing.done()
    await losing
    again = await claim_build(pool)
    assert again is not None
    assert again.last_seq == 1


async def test_a_lease_is_renewed_however_fast_the_log_grows(pool: Pool) -> None:
    claimed = await claimed_build(pool)

    async def flood() -> None:
        async with journal(pool, claimed.lease, 0) as lines:
            while True:
                await lines.write("x" * 70_000)

    flooding = asyncio.create_task(flood())
    async with asyncio.timeout(20):
        for _ in range(100):
            async with transaction(pool) as conn:
                assert await store.renew(conn, claimed.lease) is Beat.HELD
    assert not flooding.done()
    flooding.cancel()
    await asyncio.wait({flooding})
    assert len(await stored(pool, claimed)) > 10


async def test_a_journal_that_broke_says_so_at_the_next_write(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with transaction(pool) as conn:
        await conn.execute("alter table build_log rename to elsewhere")
    assert await refused_write(pool, claimed.lease) is asyncpg.UndefinedTableError


async def test_a_lost_lease_shows_at_the_next_write(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    await lose(pool, claimed)
    assert await refused_write(pool, claimed.lease) is LeaseLost


async def refused_write(pool: Pool, lease: Lease) -> type[Exception] | None:
    """Write a little now and then, until that is refused: the error's type. The journal is closed as well as may be."""
    refused: type[Exception] | None = None
    with suppress(asyncpg.UndefinedTableError, LeaseLost):
        async with journal(pool, lease, 0) as lines, asyncio.timeout(10):
            try:
                while True:
                    await lines.write("a line\n")
                    await asyncio.sleep(0.02)
            except (asyncpg.UndefinedTableError, LeaseLost) as error:
                refused = type(error)
    return refused


async def test_a_stopping_process_does_not_wait_for_a_database_that_does_not_answer(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    begun = asyncio.Event()

    async def build() -> None:
        async with journal(pool, claimed.lease, 0) as lines:
            await lines.write("a line\n")
            begun.set()
            await asyncio.Event().wait()

    building = asyncio.create_task(build())
    async with nobody_writes_log(pool):
        await begun.wait()
        building.cancel()
        await asyncio.wait({building}, timeout=8)
        assert building.cancelled()


async def test_a_stopping_process_stores_what_it_has(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    begun = asyncio.Event()

    async def build() -> None:
        async with journal(pool, claimed.lease, 0) as lines:
            await lines.write("a line\nhalf")
            begun.set()
            await asyncio.Event().wait()

    building = asyncio.create_task(build())
    await begun.wait()
    building.cancel()
    await asyncio.wait({building})
    assert building.cancelled()
    assert await text_of(pool, claimed) == "a line\nhalf"


async def test_an_endless_log_is_cut_says_so_and_keeps_its_end(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with journal(pool, claimed.lease, 0, most_characters=100_000) as lines:
        for number in range(100_000):
            await lines.write(f"line {number}\n")
        await lines.write("\nERROR: the reason\n")
    text = await text_of(pool, claimed)
    assert text.startswith("line 0\nline 1\n")
    assert text.count("… the log is cut here: ") == 1
    assert "characters are missing here" in text
    assert text.endswith("line 99998\nline 99999\n\nERROR: the reason\n")
    assert len(text) < 200_000


async def test_a_secret_cut_into_pieces_and_at_the_end_of_the_log_is_not_stored(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    secret = "the-password-of-a-registry"
    async with journal(pool, claimed.lease, 0, most_characters=100, secrets=[secret]) as lines:
        for character in f"push as {secret}\n{'x' * 60} {secret} and {secret}":
            await lines.write(character)
            await lines.flush()
    text = await text_of(pool, claimed)
    assert not any(secret[at : at + 6] in text for at in range(len(secret) - 6))
    assert text.startswith("push as ********\n")
