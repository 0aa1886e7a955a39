"""What GitHub sent too early is not lost, and a team hears of it in a channel of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.slack import LocalSlack
from tests.waiting import until

if TYPE_CHECKING:
    from tests.world import World


async def test_a_tag_pushed_before_its_registration_is_built_by_a_replay_and_told_in_a_channel_made_by_api(
    world: World,
) -> None:
    await world.release("v1.0.0")
    pushed = (await world.get("/deliveries?event=push&state=ignored"))[0]
    assert (pushed["repo"], pushed["ref"]) == (world.repo, "refs/tags/v1.0.0")
    await world.register()
    async with LocalSlack.start() as team:
        channel = await world.post("/channels", {"name": "team", "kind": "slack", "url": team.url}, 201)
        tested = await world.post(f"/channels/{channel['id']}/test", None, 200)
        assert tested == {"sent": True, "status": 200, "answer": "ok"}
        assert "*team*" in (await team.next_message()).text

        replayed = await world.post(f"/deliveries/{pushed['id']}/replay", None, 202)
        assert replayed["outcome"] == "accepted"
        image = await world.image_is("v1.0.0", "success")
        assert image["commit_sha"] == (await world.get(f"/deliveries/{pushed['id']}"))["payload"]["after"]
        assert "built in" in (await team.next_message(30)).text
        assert "built in" in await world.told()

        async def both_sent() -> bool:
            return len(await world.get("/notices?state=sent")) == 2

        await until(both_sent, "both notices are sent")
        assert (await world.post(f"/deliveries/{pushed['id']}/replay", None, 202))["builds"] == []
    actions = [row["action"] for row in await world.get("/audit")]
    assert actions == ["replay_delivery", "replay_delivery", "test_channel", "create_channel", "register"]
