"""What must be stored is tried until the database takes it, and anything else is not."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import DatabaseUnavailable, LeaseLost
from app.queue.stored import until_stored


class Store:
    """Refuses with these errors first, one each time, and takes what comes then."""

    def __init__(self, *refusals: Exception) -> None:
        self.refusals, self.taken = list(refusals), 0

    async def take(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.taken += 1


async def test_a_database_that_is_away_is_asked_until_it_is_back() -> None:
    store = Store(DatabaseUnavailable("away"), DatabaseUnavailable("still away"))
    await until_stored(store.take, pause_s=0)
    assert (store.refusals, store.taken) == ([], 1)


async def test_a_lost_lease_ends_the_trying() -> None:
    store = Store(DatabaseUnavailable("away"), LeaseLost("build", 7))
    with pytest.raises(LeaseLost):
        await until_stored(store.take, pause_s=0)
    assert store.taken == 0


async def test_whoever_is_cancelled_tries_no_more() -> None:
    store = Store(*[DatabaseUnavailable("away")] * 1000)
    trying = asyncio.create_task(until_stored(store.take, pause_s=3600))
    await asyncio.sleep(0)
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert len(store.refusals) == 999
