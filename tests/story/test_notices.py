"""A receiver of notices that is slow, busy or gone harms nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.postgres.pool import transaction
from tests.waiting import until

if TYPE_CHECKING:
    from tests.world import World


async def notices(world: World) -> list[dict[str, Any]]:
    async with transaction(world.services.pool) as conn:
        found = await conn.fetch("select *, run_after - created_at as waited from notices order by id")
    return [dict(row) for row in found]


async def settled(world: World) -> dict[str, Any]:
    """Wait until the one notice of the story is final."""

    async def look() -> dict[str, Any] | None:
        found = await notices(world)
        return found[0] if found and found[0]["finished_at"] is not None else None

    return await until(look, "the notice is final")


async def test_a_slack_that_hangs_delays_no_build_and_no_rollout(world: World) -> None:
    world.slack.hang_next(times=4)  # both senders, twice: 20 s
    await world.register()
    await world.release("v1.0.0")
    first = await world.image_is("v1.0.0", "success")
    product = await world.product("allianz", first["id"])
    rollout = await world.start(product)
    await world.release("v1.1.0")
    await world.image_is("v1.1.0", "success")
    assert rollout["state"] == "done"
    assert (await world.page(product))["version"] == "v1.0.0"
    assert world.slack.messages == [], "Slack hung all the time"
    assert {row["state"] for row in await notices(world)} == {"pending"}

    await world.told_about("v1.0.0* built", "Allianz", "v1.1.0* built")


async def test_a_busy_slack_gets_the_message_after_the_pause_it_asked_for(world: World) -> None:
    world.slack.fail_next(429, retry_after_s=3)
    await world.register(dockerfile="no/such/Dockerfile")
    await world.release("v1.0.0")
    assert "could not be built" in await world.told()
    notice = await settled(world)
    assert (notice["state"], notice["attempt"]) == ("sent", 2)
    assert notice["waited"] >= timedelta(seconds=3)


async def test_a_webhook_that_is_gone_is_not_tried_again_and_its_answer_is_kept(world: World) -> None:
    world.slack.fail_next(410, "channel_is_archived")
    await world.register(dockerfile="no/such/Dockerfile")
    await world.release("v1.0.0")
    await world.image_is("v1.0.0", "failed")
    notice = await settled(world)
    assert (notice["state"], notice["attempt"]) == ("failed", 1)
    assert "HTTP 410 channel_is_archived" in notice["answer"]
    assert world.slack.messages == []
