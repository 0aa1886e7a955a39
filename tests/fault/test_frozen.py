"""A process that hangs for longer than its lease, with another one beside it: when it comes to again, all has been
done, and it changes nothing any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.fault.ending import shipped
from tests.waiting import until

if TYPE_CHECKING:
    from tests.fault.scene import Scene
    from tests.fault.succession import Succession

WRITTEN: Final = """
select (select jsonb_agg(l order by l.build_id, l.seq) from build_log l) as log,
       (select jsonb_agg(b order by b.id) from builds b) as builds,
       (select jsonb_agg(r order by r.id) from rollouts r) as rollouts,
       (select jsonb_agg(p order by p.id) from products p) as products,
       (select jsonb_agg(n order by n.id) from notices n) as notices
"""


async def lost(scene: Scene, more_than: int) -> bool:
    return len(leases_lost(scene)) > more_than


def leases_lost(scene: Scene) -> list[dict[str, Any]]:
    return [line for line in scene.events("lease_lost") if line.get("stage") != "chore"]


@pytest.mark.parametrize(
    ("checkpoint", "attempt"),
    [
        ("engine_building", 2),
        ("image_made", 2),
        ("rollout_started", 1),
        ("rollout_converging", 1),
        ("notice_started", 1),
    ],
)
async def test_a_thawed_process_writes_nothing_more_and_works_on(
    succession: Succession, checkpoint: str, attempt: int
) -> None:
    scene = succession.scene
    tag = await succession.broken_at(checkpoint)
    before = await succession.log_of(tag) if attempt > 1 else ()
    lost_before = len(leases_lost(scene))
    async with scene.tagship(log="successor") as successor:
        posts = 1 if checkpoint == "notice_started" else None
        await shipped(scene, successor, succession.product, tag, attempt=attempt, before=before, posts=posts)
        written = await scene.rows(WRITTEN)
        succession.now.thaw()
        await until(lambda: lost(scene, lost_before), "the thawed process has seen that its lease is lost")
        assert await scene.rows(WRITTEN) == written
        await successor.terminate()
    await shipped(scene, succession.now, succession.product, tag, attempt=attempt, before=before, posts=posts)
    assert await scene.rows(WRITTEN) == written
    later = await succession.next_tag()
    await shipped(scene, succession.now, succession.product, later)
