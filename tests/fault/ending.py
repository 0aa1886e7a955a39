"""The one state in which a pushed tag ends, whatever happened on its way: built once, running, told once, nothing left.

What is asked is the database, the swarm's tasks, the engine and the product's own page; the API only to wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from app.engine.image import inspect_image, list_images
from app.engine.service import read_service
from app.engine.shape import TaskState
from app.trust import trust
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fault.process import Tagship
    from tests.fault.scene import Scene

Row = TypeVar("Row")

UNDER_WAY: Final = """
select 'build' as what, id, state::text from builds where state in ('pending', 'building')
union all select 'rollout', id, state::text from rollouts where state in ('pending', 'applying', 'converging')
union all select 'shipment', build_id, 'not told' from shipments
union all select 'notice', id, state::text from notices where state = 'pending'
union all select 'delivery', id, state::text from deliveries where state = 'received'
"""
BUILDS: Final = "select b.* from builds b join docker_images i on i.id = b.image_id where i.name = $1 and i.tag = $2"


async def quiet(scene: Scene) -> None:
    """Wait until nothing is under way any more, so that whatever is counted now stays as it is."""
    left: list[dict[str, Any]] = []

    async def look() -> bool:
        left[:] = await scene.rows(UNDER_WAY)
        return not left

    try:
        await until(look, "nothing is under way")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left}\n{scene.log.read_text()}") from None


async def shipped(
    scene: Scene,
    tagship: Tagship,
    product: dict[str, Any],
    tag: str,
    *,
    attempt: int = 1,
    before: Sequence[str] = (),
    posts: int | None = None,
    put_back_to: str | None = None,
) -> None:
    """Wait until all is done about a tag, and make sure that everything is as if nothing had happened.

    ``attempt`` is the one that the build ended with, and ``before`` what its log held when it was broken off. ``posts``
    is how many messages arrived; None: one, and one more for each time that the process may have been posting it when
    it was broken off at something else. ``put_back_to``: the tag cannot run, and the product runs this one instead.
    """
    await scene.runs(tagship, product, put_back_to or tag)
    await quiet(scene)
    build = only(await scene.rows(BUILDS, scene.image, tag))
    assert (build["state"], build["attempt"]) == ("success", attempt)
    rollout = only(await scene.rows("select * from rollouts where build_id = $1", build["id"]))
    assert rollout["state"] == ("rolled_back" if put_back_to else "done")
    tried = await told_once(scene, build["id"], rollout["id"], "rollout_failed" if put_back_to else "rollout_done")
    said = said_about(scene, tag)
    assert len(said) in (range(1, tried + 1) if posts is None else {posts}), said
    became = "0 of 1 product running, 1 failed" if put_back_to else "1 of 1 product running"
    assert all(f"built in {build_seconds(build)} s → {became}" in text for text in said), said
    delivery = only(await scene.rows("select * from deliveries where ref = $1 and event = 'push'", f"refs/tags/{tag}"))
    assert (delivery["state"], delivery["id"]) == ("accepted", build["delivery_id"])
    await log_is_whole(scene, build, before)
    await one_image(scene, build)
    [running] = await scene.rows(BUILDS, scene.image, put_back_to or tag)
    await really_runs(scene, product, running, put_back_to or tag)
    await scene.read_everything()


def only(found: list[Row]) -> Row:
    """The one there is, and no other."""
    assert len(found) == 1, found
    return found[0]


def said_about(scene: Scene, tag: str) -> list[str]:
    """The messages that name the image of a tag."""
    return [message.text for message in scene.slack.messages if f"*{scene.image}:{tag}*" in message.text]


async def told_once(scene: Scene, build_id: int, rollout_id: int, ending: str) -> int:
    """There is one notice, about the build and what became of its rollout, and it was taken; how often it was tried."""
    found = await scene.rows(
        "select event::text, subject::text, state::text, attempt from notices"
        " where (subject = 'build' and subject_id = $1) or (subject = 'rollout' and subject_id = $2)",
        build_id,
        rollout_id,
    )
    notice = only(found)
    assert (notice["event"], notice["subject"], notice["state"]) == (ending, "build", "sent")
    attempts: int = notice["attempt"]
    return attempts


def build_seconds(build: dict[str, Any]) -> str:
    """How long a build took, as messages say it."""
    return f"{(build['finished_at'] - build['started_at']).total_seconds():.0f}"


async def log_is_whole(scene: Scene, build: dict[str, Any], before: Sequence[str]) -> None:
    """The log begins with what was there before, has no gap, and its last attempt is told from its beginning to its
    end.
    """
    rows = await scene.rows("select seq, data from build_log where build_id = $1 order by seq", build["id"])
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["data"] for row in rows][: len(before)] == list(before)
    last = "".join(row["data"] for row in rows[len(before) :])
    assert last.count(f"at commit {build['commit_sha']}") == 1, last
    assert (f"--- attempt {build['attempt']} of 3 ---" in last) == (build["attempt"] > 1 or bool(before)), last
    assert "naming to" in last, last  # BuildKit leaves out steps that it has in its cache


async def one_image(scene: Scene, build: dict[str, Any]) -> None:
    """The engine has one image of that name, and it is the one on record."""
    named = [image.id for image in await list_images(scene.engine) if build["image_ref"] in image.tags]
    recorded = await inspect_image(scene.engine, build["exact_ref"])
    assert recorded is not None
    assert named == [recorded.id]


async def really_runs(scene: Scene, product: dict[str, Any], build: dict[str, Any], tag: str) -> None:
    """The swarm's one running task of the product is a container of exactly that image, and its page says so."""
    service = await read_service(scene.engine, f"tagship-{product['slug']}")
    assert service is not None
    assert service.image == build["exact_ref"]
    task = only([task for task in service.tasks if task.desired_state is TaskState.RUNNING])
    assert (task.state, task.image) == (TaskState.RUNNING, build["exact_ref"])
    container = await scene.engine.call("look at a container", f"containers/{task.container_id}/json")
    recorded = await inspect_image(scene.engine, build["exact_ref"])
    assert recorded is not None
    assert container["Image"] == recorded.id
    async with httpx.AsyncClient(trust_env=False, timeout=30, verify=trust()) as outside:
        page = (await outside.get(f"http://127.0.0.1:{product['port']}/index.json")).json()
    assert page["version"] == tag
