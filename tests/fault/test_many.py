"""Several processes on one database: everything is done once, also when one of them is killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.fault.ending import BUILDS, only, quiet, really_runs, said_about
from tests.waiting import until
from tests.world import DOCKERFILE, FILES

if TYPE_CHECKING:
    from tests.fault.scene import Scene

TAGS: Final = ("v1.1.0", "v1.2.0", "v1.3.0")
SLOW: Final = {"Dockerfile": DOCKERFILE.replace("RUN chmod +x serve", "RUN chmod +x serve; sleep 2")}


async def test_six_tags_of_two_images_are_done_once_by_three_processes_of_which_one_is_killed(scene: Scene) -> None:
    other = f"{scene.repo}-two"
    await scene.github.create_repository(other, FILES | {"VERSION": "none"})
    async with scene.tagship(TAGSHIP_BUILD_CONCURRENCY="1") as first:
        [product] = await scene.prepare(first)
        await first.post("/repositories", {"repo": other})
        async with (
            scene.tagship("worker", ready=False, log="second", TAGSHIP_BUILD_CONCURRENCY="1") as second,
            scene.tagship(
                "worker", ready=False, log="third", stop_at="engine_building", TAGSHIP_BUILD_CONCURRENCY="1"
            ) as third,
        ):
            await until(second.has_started, "the second process works", 60)
            await until(third.has_started, "the third process works", 60)
            await asyncio.gather(push_all(scene, scene.repo), push_all(scene, other))
            await third.paused()
            await third.kill()
            await until(lambda: all_known(scene), "all six tags are known")
            await scene.runs(first, product, TAGS[-1])
            await quiet(scene)
            broken = first.events("worker_lost") + second.events("worker_lost")
        assert len(broken) == 1, broken
    for image in (scene.image, f"{scene.image}-two"):
        for tag in TAGS:
            build = only(await scene.rows(BUILDS, image, tag))
            assert build["state"] == "success"
            assert build["attempt"] == (2 if build["id"] == broken[0]["build_id"] else 1)
    rollouts = await scene.rows("select build_id, count(*) from rollouts group by build_id having count(*) > 1")
    assert rollouts == []
    [newest] = await scene.rows(BUILDS, scene.image, TAGS[-1])
    await really_runs(scene, product, newest, TAGS[-1])
    told = await scene.rows("select subject_id, state::text from notices where subject = 'build'")
    assert len({notice["subject_id"] for notice in told}) == len(told) == 7
    assert {notice["state"] for notice in told} == {"sent"}
    for tag in TAGS:
        assert len([text for text in said_about(scene, tag) if "built in" in text]) == 1
    assert len([text for text in said_about(scene, TAGS[-1]) if "1 of 1 product running" in text]) == 1
    await scene.read_everything()


async def push_all(scene: Scene, repo: str) -> None:
    """Push the three tags of one repository, one right after the other, each on a commit of its own."""
    for tag in TAGS:
        await scene.github.commit(repo, FILES | SLOW | {"VERSION": tag}, f"release {tag}")
        await scene.github.tag(repo, tag)


async def all_known(scene: Scene) -> bool:
    """Whether the builds of all tags have been queued, that of the first release among them."""
    return len(await scene.rows("select id from builds")) == 2 * len(TAGS) + 1
