"""``kill -9`` in every state between an image on record and the message about what runs: the next process goes on from
where the one before was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.fault.ending import said_about, shipped

if TYPE_CHECKING:
    from tests.fault.succession import Succession

CRASHING: Final = {"serve": "#!/bin/sh\necho going down >&2\nexit 9\n"}


@pytest.mark.parametrize(
    "checkpoint",
    [
        "rollout_started",
        "service_applied",
        "rollout_converging",
        "rollout_done",
        "notice_started",
        "notice_sent",
    ],
)
async def test_a_killed_process_is_followed_by_one_that_goes_on(succession: Succession, checkpoint: str) -> None:
    tag = await succession.broken_at(checkpoint)
    await succession.now.kill()
    await shipped(
        succession.scene,
        await succession.follow(),
        succession.product,
        tag,
        posts=1 if checkpoint.startswith("notice") or checkpoint == "rollout_done" else None,
    )


@pytest.mark.parametrize("checkpoint", ["rollout_broken", "service_put_back", "rollout_failed"])
async def test_what_ran_before_is_put_back_although_the_process_was_killed(
    succession: Succession, checkpoint: str
) -> None:
    ran = await succession.running_tag()
    tag = await succession.broken_at(checkpoint, CRASHING)
    await succession.now.kill()
    next_one = await succession.follow()
    await shipped(succession.scene, next_one, succession.product, tag, put_back_to=ran)


async def test_a_message_that_was_taken_and_not_written_down_comes_again_and_that_is_the_one_exception(
    succession: Succession,
) -> None:
    tag = await succession.broken_at("notice_posted")
    await succession.now.kill()
    assert len(said_about(succession.scene, tag)) == 1
    await shipped(succession.scene, await succession.follow(), succession.product, tag, posts=2)
    [first, second] = said_about(succession.scene, tag)
    assert first == second
