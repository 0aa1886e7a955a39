from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from app.engine.service import apply_service, read_service, remove_service, task_log_tail
from app.engine.shape import (
    LABEL_PRODUCT,
    LABEL_ROLLOUT,
    Builder,
    PublishMode,
    ServiceSnapshot,
    ServiceTarget,
    TaskState,
    UpdateState,
)
from app.errors import EngineRefused, RolloutOvertaken, ServiceNotOurs
from tests.engine.yard import TEST_LABEL, eventually
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.engine.client import Engine
    from tests.engine.yard import Yard

CONVERGES_WITHIN_S = 120  # swarmkit waits up to a minute for an old task that was never placed before it goes back


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def good_image(yard: Yard) -> str:
    """An image that stays up and stops at once when asked."""
    built = await yard.build(Builder.CLASSIC, 'CMD ["sh", "-c", "trap exit TERM; echo up; sleep 3600 & wait"]')
    return built.image_id


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def crashing_image(yard: Yard) -> str:
    script = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo said $i; done; sleep 0.3; echo last words >&2; exit 9"
    built = await yard.build(Builder.CLASSIC, f'CMD ["sh", "-c", "{script}"]')
    return built.image_id


@pytest.fixture
def target(yard: Yard, good_image: str) -> ServiceTarget:
    return ServiceTarget(
        name=yard.service_name("service"),
        image=good_image,
        env={"GREETING": "a=b c", "EMPTY": ""},
        replicas=1,
        port=free_port(),
        container_port=8080,
        publish_mode=PublishMode.HOST,
        labels={LABEL_PRODUCT: "7", LABEL_ROLLOUT: "1"},
        container_labels={TEST_LABEL: yard.run},
        monitor_s=2,
    )


async def test_service_is_created_and_runs(engine: Engine, target: ServiceTarget) -> None:
    service_id = await apply_service(engine, target, still_ours=_always)
    snapshot = await _snapshot_when(engine, target.name, _runs(target))
    assert snapshot.id == service_id
    assert snapshot.labels == target.labels
    assert snapshot.replicas == 1
    assert snapshot.update_state is None
    [task] = snapshot.tasks
    assert task.current
    assert task.slot == 1
    assert task.container_id
    assert task.exit_code is None
    assert await task_log_tail(engine, task.container_id) == "up"


async def test_absent_service_is_none_and_its_removal_no_error(engine: Engine, yard: Yard) -> None:
    assert await read_service(engine, yard.name("absent")) is None
    assert not await remove_service(engine, yard.name("absent"))


async def test_beginning_of_an_id_is_no_name(engine: Engine, target: ServiceTarget) -> None:
    service_id = await apply_service(engine, target, still_ours=_always)
    assert await read_service(engine, service_id[:12]) is None


async def test_applying_again_sends_nothing(engine: Engine, target: ServiceTarget) -> None:
    first = await apply_service(engine, target, still_ours=_always)
    before = await _snapshot_when(engine, target.name, _runs(target))
    assert await apply_service(engine, target, still_ours=_always) == first
    after = await read_service(engine, target.name)
    assert after is not None
    assert after.version == before.version


async def test_update_keeps_what_is_not_ours(engine: Engine, target: ServiceTarget) -> None:
    service_id = await apply_service(engine, target, still_ours=_always)
    await _snapshot_when(engine, target.name, _runs(target))
    service = await engine.call("read", f"services/{service_id}")
    spec = service["Spec"]
    spec["Labels"]["team"] = "payments"
    spec["TaskTemplate"]["Resources"] = {"Limits": {"MemoryBytes": 64 << 20}}
    spec["TaskTemplate"]["ContainerSpec"]["Hostname"] = "kept"
    version = {"version": str(service["Version"]["Index"])}
    await engine.call("edit", f"services/{service_id}/update", "POST", params=version, body=spec)

    changed = _rollout(replace(target, env={"GREETING": "new"}), 2)
    await apply_service(engine, changed, still_ours=_always)

    spec = (await engine.call("read", f"services/{service_id}"))["Spec"]
    assert spec["Labels"] == {**changed.labels, "team": "payments"}
    assert spec["TaskTemplate"]["Resources"]["Limits"] == {"MemoryBytes": 64 << 20}
    assert spec["TaskTemplate"]["ContainerSpec"]["Hostname"] == "kept"
    assert spec["TaskTemplate"]["ContainerSpec"]["Env"] == ["GREETING=new"]


async def test_update_replaces_the_task_and_completes(engine: Engine, target: ServiceTarget) -> None:
    await apply_service(engine, target, still_ours=_always)
    [old] = (await _snapshot_when(engine, target.name, _runs(target))).tasks
    changed = _rollout(replace(target, restart=2), 2)
    await apply_service(engine, changed, still_ours=_always)
    done = await _snapshot_when(
        engine, target.name, lambda seen: seen.update_state is UpdateState.COMPLETED and _runs(changed)(seen)
    )
    by_id = {task.id: task for task in done.tasks}
    assert not by_id[old.id].current
    assert by_id[old.id].desired_state is TaskState.SHUTDOWN
    assert [task.slot for task in done.tasks] == [1, 1]
    assert done.tasks[0].current


async def test_label_change_alone_keeps_the_task(engine: Engine, target: ServiceTarget) -> None:
    await apply_service(engine, target, still_ours=_always)
    [old] = (await _snapshot_when(engine, target.name, _runs(target))).tasks
    await apply_service(engine, _rollout(target, 2), still_ours=_always)
    after = await _snapshot_when(engine, target.name, lambda seen: seen.labels[LABEL_ROLLOUT] == "2")
    assert [task.id for task in after.tasks] == [old.id]
    assert after.tasks[0].current


async def test_scaling_to_zero_ends_every_task(engine: Engine, target: ServiceTarget) -> None:
    await apply_service(engine, target, still_ours=_always)
    await _snapshot_when(engine, target.name, _runs(target))
    await apply_service(engine, _rollout(replace(target, replicas=0), 2), still_ours=_always)
    stopped = await _snapshot_when(
        engine, target.name, lambda seen: all(task.state is not TaskState.RUNNING for task in seen.tasks)
    )
    assert stopped.replicas == 0


async def test_foreign_service_is_left_alone(engine: Engine, target: ServiceTarget) -> None:
    theirs = replace(target, labels={LABEL_PRODUCT: "8", LABEL_ROLLOUT: "0"})
    await apply_service(engine, theirs, still_ours=_always)
    before = await engine.call("read", f"services/{target.name}")
    with pytest.raises(ServiceNotOurs):
        await apply_service(engine, target, still_ours=_always)
    after = await engine.call("read", f"services/{target.name}")
    assert after["Spec"] == before["Spec"]


async def test_service_without_our_label_is_not_removed(engine: Engine, target: ServiceTarget) -> None:
    theirs = {
        "Name": target.name,
        "TaskTemplate": {"ContainerSpec": {"Image": target.image, "Labels": dict(target.container_labels)}},
    }
    await engine.call("create", "services/create", "POST", body=theirs)
    with pytest.raises(ServiceNotOurs):
        await remove_service(engine, target.name)
    assert await read_service(engine, target.name) is not None


async def test_our_service_is_removed(engine: Engine, target: ServiceTarget) -> None:
    await apply_service(engine, target, still_ours=_always)
    assert await remove_service(engine, target.name)
    assert await read_service(engine, target.name) is None


async def test_a_service_that_gave_its_port_up_keeps_it_from_nobody(
    engine: Engine, yard: Yard, target: ServiceTarget
) -> None:
    published = replace(target, publish_mode=PublishMode.INGRESS)
    other = replace(published, name=yard.service_name("other"))
    await apply_service(engine, published, still_ours=_always)
    with pytest.raises(EngineRefused, match="already in use"):
        await apply_service(engine, other, still_ours=_always)
    stopped = _rollout(replace(published, replicas=0, published=False), 2)
    await apply_service(engine, stopped, still_ours=_always)
    await apply_service(engine, other, still_ours=_always)
    with pytest.raises(EngineRefused, match="already in use"):
        await apply_service(engine, _rollout(published, 3), still_ours=_always)
    await remove_service(engine, other.name)
    await apply_service(engine, _rollout(published, 3), still_ours=_always)
    await _snapshot_when(engine, target.name, _runs(_rollout(published, 3)))


async def test_the_tasks_of_a_service_that_stops_are_seen_until_they_are_gone(
    engine: Engine, yard: Yard, target: ServiceTarget
) -> None:
    slow = await yard.build(
        Builder.CLASSIC, """CMD ["sh", "-c", "trap 'sleep 1; exit' TERM; while sleep 0.1; do :; done"]"""
    )
    target = replace(target, image=slow.image_id)
    await apply_service(engine, target, still_ours=_always)
    await _snapshot_when(engine, target.name, _runs(target))
    elsewhere = _rollout(replace(target, replicas=0, port=free_port()), 2)
    await apply_service(engine, elsewhere, still_ours=_always)
    seen = await read_service(engine, target.name)
    assert seen is not None
    assert [task.state for task in seen.tasks] == [TaskState.RUNNING]
    await _snapshot_when(engine, target.name, lambda service: not service.tasks)


async def test_older_rollout_does_not_undo_a_newer_one(engine: Engine, target: ServiceTarget) -> None:
    await apply_service(engine, _rollout(target, 10), still_ours=_always)
    with pytest.raises(RolloutOvertaken):
        await apply_service(engine, _rollout(target, 9), still_ours=_always)
    seen = await read_service(engine, target.name)
    assert seen is not None
    assert seen.labels[LABEL_ROLLOUT] == "10"


async def test_way_back_goes_over_the_failed_rollout_and_no_newer_one(engine: Engine, target: ServiceTarget) -> None:
    good = _rollout(replace(target, replicas=0), 5)
    await apply_service(engine, _rollout(good, 10), still_ours=_always)
    with pytest.raises(RolloutOvertaken):
        await apply_service(engine, good, still_ours=_always, replaces=9)
    await apply_service(engine, good, still_ours=_always, replaces=10)
    seen = await read_service(engine, target.name)
    assert seen is not None
    assert seen.labels[LABEL_ROLLOUT] == "5"


async def test_way_back_without_a_good_rollout_scales_its_own_to_nothing(engine: Engine, target: ServiceTarget) -> None:
    await apply_service(engine, target, still_ours=_always)
    await apply_service(engine, replace(target, replicas=0), still_ours=_always, replaces=1)
    seen = await read_service(engine, target.name)
    assert seen is not None
    assert seen.replicas == 0


async def test_of_rollouts_applied_at_once_the_newest_stays(engine: Engine, target: ServiceTarget) -> None:
    asked: list[None] = []

    async def still_ours() -> bool:
        asked.append(None)
        return True

    rollouts = [_rollout(replace(target, replicas=0), number) for number in range(1, 9)]
    applied = await asyncio.gather(
        *(apply_service(engine, each, still_ours=still_ours) for each in rollouts), return_exceptions=True
    )
    assert all(isinstance(result, str | RolloutOvertaken) for result in applied)
    assert isinstance(applied[-1], str)
    assert asked, "eight at once must conflict"
    seen = await read_service(engine, target.name)
    assert seen is not None
    assert seen.labels[LABEL_ROLLOUT] == "8"


async def test_nothing_is_changed_under_a_lease_that_was_lost(engine: Engine, target: ServiceTarget) -> None:
    async def gone() -> bool:
        return False

    with pytest.raises(RolloutOvertaken, match="no longer ours"):
        await apply_service(engine, target, still_ours=gone)
    assert await read_service(engine, target.name) is None
    await apply_service(engine, target, still_ours=_always)
    with pytest.raises(RolloutOvertaken, match="no longer ours"):
        await apply_service(engine, _rollout(replace(target, replicas=0), 2), still_ours=gone)
    service = await read_service(engine, target.name)
    assert service is not None
    assert service.labels[LABEL_ROLLOUT] == "1"


async def test_who_took_over_while_the_lease_was_asked_about_wins(engine: Engine, target: ServiceTarget) -> None:
    """The version that an update names was read before the lease was looked at: what changed since then refuses it."""
    await apply_service(engine, target, still_ours=_always)

    async def overtaken() -> bool:
        await apply_service(engine, _rollout(replace(target, replicas=0), 3), still_ours=_always)
        return True

    with pytest.raises(RolloutOvertaken):
        await apply_service(engine, _rollout(target, 2), still_ours=overtaken)
    service = await read_service(engine, target.name)
    assert service is not None
    assert service.labels[LABEL_ROLLOUT] == "3"


async def test_taken_ingress_port_is_refused_in_the_engines_words(
    engine: Engine, yard: Yard, target: ServiceTarget
) -> None:
    first = replace(target, publish_mode=PublishMode.INGRESS, replicas=0)
    await apply_service(engine, first, still_ours=_always)
    second = replace(first, name=yard.service_name("second"))
    with pytest.raises(EngineRefused, match=f"{first.port}.*already in use"):
        await apply_service(engine, second, still_ours=_always)


async def test_crashing_update_rolls_back_and_tells_why(
    engine: Engine, target: ServiceTarget, crashing_image: str
) -> None:
    await apply_service(engine, target, still_ours=_always)
    await _snapshot_when(engine, target.name, _runs(target))
    await apply_service(engine, _rollout(replace(target, image=crashing_image), 2), still_ours=_always)

    failed = await _snapshot_when(
        engine, target.name, lambda seen: any(task.state is TaskState.FAILED for task in seen.tasks)
    )
    crashed = next(task for task in failed.tasks if task.state is TaskState.FAILED)
    assert crashed.image == crashing_image
    assert crashed.exit_code == 9
    assert "exit (9)" in crashed.error
    for name in (crashed.container_id, crashed.id):
        tail = await task_log_tail(engine, name, lines=3)
        assert tail == "said 29\nsaid 30\nlast words"

    back = await _snapshot_when(
        engine,
        target.name,
        lambda seen: seen.update_state is UpdateState.ROLLBACK_COMPLETED and _runs(target)(seen),
    )
    assert back.image == target.image
    assert back.labels[LABEL_ROLLOUT] == "1"
    assert "rollback" in back.update_message


async def test_image_that_is_not_there_is_rejected(engine: Engine, target: ServiceTarget) -> None:
    missing = replace(target, image=f"sha256:{random.randbytes(32).hex()}")
    await apply_service(engine, missing, still_ours=_always)
    seen = await _snapshot_when(
        engine, target.name, lambda seen: any(task.state is TaskState.REJECTED for task in seen.tasks)
    )
    rejected = next(task for task in seen.tasks if task.state is TaskState.REJECTED)
    assert "No such image" in rejected.error
    assert await task_log_tail(engine, rejected.id) == ""


def _rollout(target: ServiceTarget, number: int) -> ServiceTarget:
    return replace(target, labels={**target.labels, LABEL_ROLLOUT: str(number)})


def _runs(target: ServiceTarget) -> Callable[[ServiceSnapshot], bool]:
    def check(seen: ServiceSnapshot) -> bool:
        up = [task for task in seen.tasks if task.current and task.state is TaskState.RUNNING]
        return len(up) == target.replicas and all(task.image == target.image for task in up)

    return check


async def _snapshot_when(engine: Engine, name: str, condition: Callable[[ServiceSnapshot], bool]) -> ServiceSnapshot:
    seen: list[ServiceSnapshot] = []

    async def look() -> bool:
        snapshot = await read_service(engine, name)
        assert snapshot is not None
        seen.append(snapshot)
        return condition(snapshot)

    try:
        await eventually(look, timeout_s=CONVERGES_WITHIN_S)
    except TimeoutError:
        pytest.fail(f"the service did not get there; last seen: {seen[-1] if seen else None}", pytrace=False)
    return seen[-1]


async def _always() -> bool:
    return True
