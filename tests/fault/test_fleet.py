"""One tag for a whole fleet: one build, a rollout of every product, never too many at once, and one message for all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from app.stages import ROLLOUT_CONCURRENCY
from tests.fault.fleet import SERVICE, all_rolled_out, fleet, loop_held, most_at_once, named, settled
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fault.scene import Scene

PRODUCTS: Final = 12


@pytest.mark.timeout(600)
async def test_one_build_rolls_out_a_fleet_and_every_rollout_is_told_once(
    scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    async with fleet(scene, PRODUCTS) as (tagship, made):
        await loop_held(tagship)
        scene.slack.fail_next(429, retry_after_s=1, times=5)
        began = time.perf_counter()
        await scene.release("v1.1.0", SERVICE)
        rollouts, slowest = await all_rolled_out(scene, tagship, "pin_moved", PRODUCTS)
        seconds = time.perf_counter() - began
        told = (await scene.told()).text

        async def every_notice() -> list[Any] | None:
            return await settled(scene, PRODUCTS + 1)

        notices = await until(every_notice, "every notice is settled")
        held = await loop_held(tagship)
        builds = await scene.rows("select id from builds order by id")
        remaining = [product["slug"] for product in await tagship.get("/products")]
    record_property(
        "figures",
        f"{PRODUCTS} rollouts in {seconds:.1f} s; slowest answer of the API {slowest * 1000:.0f} ms;"
        f" longest step {held['processor_ms']:.1f} ms of processor time",
    )

    assert len(builds) == 2, "one for each tag"
    assert {one["build_id"] for one in rollouts} == {builds[1]["id"]}
    assert [one["state"] for one in rollouts] == ["done"] * PRODUCTS
    assert {one["product_id"] for one in rollouts} == {product["id"] for product in made}
    assert [one["attempt"] for one in rollouts] == [1] * PRODUCTS, "no lease was lost"
    assert 1 < most_at_once(rollouts) <= ROLLOUT_CONCURRENCY
    assert {notice["state"] for notice in notices} == {"sent"}
    assert "v1.1.0* built in" in told
    assert f"{PRODUCTS} of {PRODUCTS} products running" in told
    assert all(told.count(name) == 1 for name in named(made))
    assert sorted(remaining) == sorted(product["slug"] for product in made)


def test_the_overlap_of_rollouts_is_counted() -> None:
    assert most_at_once([{"started_at": 1, "finished_at": 3}, {"started_at": 2, "finished_at": 4}]) == 2
    assert most_at_once([{"started_at": 1, "finished_at": 2}, {"started_at": 2, "finished_at": 4}]) == 1
