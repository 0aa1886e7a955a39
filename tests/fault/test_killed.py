"""``kill -9`` in every state that a tag passes through until its image is on record: the next process goes on, and
nothing is lost, doubled or told twice. What comes after is in ``test_killed_rollout``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.engine.yard import eventually, processes_with
from tests.fault.ending import shipped
from tests.world import DOCKERFILE

if TYPE_CHECKING:
    from tests.fault.succession import Succession

ROWS: Final = "for n in $(seq 100); do echo row $n of 100; done"
SLEEP_S: Final = 8
STOPPED_WITHIN_S: Final = 5  # of them, which is how one knows that the engine did not just come to the end


@pytest.mark.parametrize(
    ("checkpoint", "attempt"),
    [
        ("build_started", 2),
        ("source_opened", 2),
        ("image_made", 2),
        ("build_succeeded", 1),
    ],
)
async def test_a_killed_process_loses_and_doubles_nothing(
    succession: Succession, checkpoint: str, attempt: int
) -> None:
    tag = await succession.broken_at(checkpoint)
    before = await succession.log_of(tag)
    await succession.now.kill()
    next_one = await succession.follow()
    await shipped(
        succession.scene,
        next_one,
        succession.product,
        tag,
        attempt=attempt,
        before=before if attempt > 1 else (),
    )


async def test_a_stored_delivery_that_got_no_answer_is_built_and_its_redelivery_is_a_duplicate(
    succession: Succession,
) -> None:
    scene = succession.scene
    tag = await succession.broken_at("delivery_accepted")
    await succession.now.kill()
    await scene.github.hooks.settled()
    push = [sent for sent in scene.github.deliveries if sent.event == "push"][-1]
    assert [attempt.status for attempt in push.attempts] == [None]
    next_one = await succession.follow()
    assert (await scene.github.redeliver(push.guid)).ok
    assert push.answer["outcome"] == "duplicate"
    await shipped(scene, next_one, succession.product, tag)


async def test_the_engine_does_not_go_on_with_the_build_of_a_killed_process(succession: Succession) -> None:
    word = f"{SLEEP_S}.{succession.scene.run}".translate(str.maketrans("abcdef", "012345"))
    files = {"Dockerfile": DOCKERFILE.replace("RUN chmod +x serve", f"RUN chmod +x serve; sleep {word}; {ROWS}")}
    tag = await succession.broken_at("engine_building", files)
    await eventually(lambda: processes_with(word))
    before = await succession.log_of(tag)
    await succession.now.kill()
    await eventually(lambda: not processes_with(word), timeout_s=STOPPED_WITHIN_S)
    next_one = await succession.follow()
    await shipped(succession.scene, next_one, succession.product, tag, attempt=2, before=before)
    assert not processes_with(word)
    last = "".join((await succession.log_of(tag))[len(before) :])
    assert [f"row {n} of 100" in last for n in range(1, 101)] == [True] * 100
