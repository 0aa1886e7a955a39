"""SIGTERM in the states that a pushed tag passes through: the process ends well in time, holds nothing any more, and
the next one goes on at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.fault.ending import shipped
from tests.fault.test_killed_rollout import CRASHING

if TYPE_CHECKING:
    from tests.fault.succession import Succession

HELD: Final = """
select 'build' as what, id from builds where lease_token is not null
union all select 'rollout', id from rollouts where lease_token is not null
union all select 'notice', id from notices where lease_token is not null
union all select 'chore', id from chores where lease_token is not null
"""


@pytest.mark.parametrize(
    ("checkpoint", "attempt"),
    [
        ("delivery_accepted", 1),
        ("build_started", 2),
        ("source_opened", 2),
        ("engine_building", 2),
        ("image_made", 2),
        ("build_succeeded", 1),
        ("rollout_started", 1),
        ("service_applied", 1),
        ("rollout_converging", 1),
        ("rollout_done", 1),
        ("notice_started", 1),
        ("notice_posted", 1),
    ],
)
async def test_a_stopped_process_hands_back_and_the_next_goes_on(
    succession: Succession, checkpoint: str, attempt: int
) -> None:
    tag = await succession.broken_at(checkpoint)
    await succession.now.terminate()
    assert await succession.scene.rows(HELD) == []
    before = await succession.log_before_next_attempt(tag)
    next_one = await succession.follow()
    await shipped(succession.scene, next_one, succession.product, tag, attempt=attempt, before=before)


async def test_what_ran_before_is_put_back_by_the_next_process(succession: Succession) -> None:
    ran = await succession.running_tag()
    tag = await succession.broken_at("service_put_back", CRASHING)
    await succession.now.terminate()
    assert await succession.scene.rows(HELD) == []
    next_one = await succession.follow()
    await shipped(succession.scene, next_one, succession.product, tag, put_back_to=ran)
