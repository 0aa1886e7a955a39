"""One tag, told once to each who chose it, in the form that their receiver takes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from tests.fakes import receivers
from tests.fakes.receivers import LocalReceiver
from tests.waiting import until
from tests.world import new_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FORMS: Final = {
    "mattermost": receivers.mattermost,
    "discord": receivers.discord,
    "teams": receivers.teams,
    "webhook": receivers.signed_with(SECRET),
}


async def channel(world: World, kind: str, url: str, **chosen: Any) -> dict[str, Any]:
    secret = {"secret": SECRET} if kind == "webhook" else {}
    return await world.post("/channels", {"name": kind, "kind": kind, "url": url} | secret | chosen, 201)


async def test_a_tag_that_takes_long_is_told_how_far_it_is_and_how_it_ended_in_every_form(
    tmp_path: Path, database: str
) -> None:
    patience = {"TAGSHIP_NOTIFY_PROGRESS_S": "1", "TAGSHIP_ROLLOUT_MONITOR_S": "8"}
    async with new_world(tmp_path, database, **patience) as world, AsyncExitStack() as stack:
        product = await world.running("allianz", track="^1")
        local = {kind: await stack.enter_async_context(LocalReceiver.start(judge)) for kind, judge in FORMS.items()}
        everybody = [kind for kind in FORMS if kind != "teams"]
        for kind in everybody:
            await channel(world, kind, local[kind].url, images=[f"{world.image[:6]}*"], products=["allianz-*"])
        await channel(world, "teams", local["teams"].url, products=["somebody-else"])

        await world.release("v1.1.0")
        await world.told_together("v1.1.0* built in", "0 of 1 product running, 1 under way", "*Allianz*")
        await world.told_together("v1.1.0* built in", "1 of 1 product running", "*Allianz*")
        assert (await world.page(product))["version"] == "v1.1.0"

        for kind in everybody:
            last = str(await local[kind].message(2))
            assert "v1.1.0" in last
            assert "1 of 1 product running" in last
            assert "Allianz" in last
        [event] = (await local["webhook"].message(2)).payload["data"]["events"]
        assert (event["type"], event["products"][0]["state"]) == ("rollout.done", "done")
        assert event["link"].startswith(f"{world.settings.public_url}/images/")

        async def all_sent() -> list[dict[str, Any]] | None:
            found: list[dict[str, Any]] = await world.get("/notices?limit=500")
            return found if all(one["state"] == "sent" for one in found) else None

        notices = await until(all_sent, "every notice is sent")
        ended = {(one["channel"], one["subject"]): one["status"] for one in notices if one["event"] == "rollout_done"}
        assert ended == {
            ("slack", "rollout"): 200,
            ("slack", "build"): 200,
            ("mattermost", "build"): 200,
            ("discord", "build"): 204,
            ("webhook", "build"): 200,
        }
        assert [len(local[kind].messages) for kind in everybody] == [2, 2, 2]
        assert local["teams"].messages == [], "nothing of its product happened"
