"""What a look at a service means for the rollout that applied it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.engine.shape import LABEL_ROLLOUT, ServiceSnapshot, TaskSnapshot, TaskState, UpdateState
from app.rollouts.judge import Broken, Converged, Expected, Verdict, Waiting, judge, judge_restored
from app.rollouts.model import Steady

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NEW, OLD = "sha256:new", "sha256:old"
EXPECTED = Expected(9, NEW, 2, monitor=timedelta(seconds=5), deadline=NOW + timedelta(minutes=5))


def task(name: str, slot: int = 1, state: str = "running", *, image: str = NEW, current: bool = True) -> TaskSnapshot:
    desired = TaskState.RUNNING if state in {"running", "starting", "pending"} and current else TaskState.SHUTDOWN
    return TaskSnapshot(name, slot, "node", image, TaskState(state), desired, current, NOW)


def service(*tasks: TaskSnapshot, update: str | None = None, rollout: str = "9", image: str = NEW) -> ServiceSnapshot:
    state = UpdateState(update) if update else None
    return ServiceSnapshot("id", "tagship-x", 1, image, 2, {LABEL_ROLLOUT: rollout}, state, "because", tasks)


BOTH = (task("a", 1), task("b", 2))
STEADY = Steady(NOW - timedelta(seconds=6), ("a", "b"))


def look(seen: ServiceSnapshot | None, steady: Steady | None = STEADY, at: datetime = NOW) -> Verdict:
    return judge(seen, EXPECTED, steady, at)


def test_all_replicas_that_stayed_up_for_the_monitor_time_are_done() -> None:
    assert look(service(*BOTH)) == Converged()
    assert look(service(*BOTH, update="completed")) == Converged()


def test_all_replicas_that_have_just_come_up_are_watched() -> None:
    verdict = look(service(*BOTH), None)
    assert isinstance(verdict, Waiting)
    assert verdict.steady == Steady(NOW, ("a", "b"))
    assert look(service(*BOTH, update="updating"), None) == verdict, "the swarm's own watch and ours run side by side"


def test_a_replaced_task_starts_the_watch_again() -> None:
    verdict = look(service(task("a", 1), task("c", 2), task("b", 2, "shutdown")))
    assert isinstance(verdict, Waiting)
    assert verdict.steady == Steady(NOW, ("a", "c"))


@pytest.mark.parametrize(
    "seen",
    [
        service(task("a", 1)),
        service(task("a", 1), task("b", 2, "starting")),
        service(task("a", 1), task("b", 2, image=OLD)),
        service(task("a", 1), task("b", 2, current=False)),
        service(*BOTH, update="updating"),
        service(*BOTH, update="rollback_started"),
        service(*BOTH, replace(task("o", 3, image=OLD, current=False), desired_state=TaskState.RUNNING)),
        service(),
    ],
)
def test_anything_less_is_not_done(seen: ServiceSnapshot) -> None:
    assert isinstance(look(seen), Waiting)


def test_an_old_task_that_is_shutting_down_does_not_delay() -> None:
    assert look(service(*BOTH, task("o", 1, "running", image=OLD, current=False))) == Converged()


def test_completed_alone_is_not_believed() -> None:
    verdict = look(service(task("a", 1), task("b", 2, "failed"), update="completed"))
    assert isinstance(verdict, Waiting)


@pytest.mark.parametrize("update", ["rollback_completed", "rollback_paused", "paused"])
def test_the_swarms_rollback_or_pause_is_a_failure_with_its_reason_and_tasks(update: str) -> None:
    dead = task("x", 1, "failed", current=False)
    verdict = look(service(task("o", 1, image=OLD), dead, update=update, rollout="8", image=OLD))
    assert isinstance(verdict, Broken)
    assert "because" in verdict.sentence
    assert verdict.tasks == (dead,)


@pytest.mark.parametrize("seen", [service(*BOTH, rollout="8"), service(*BOTH, image=OLD)])
def test_a_spec_that_somebody_else_wrote_is_a_failure(seen: ServiceSnapshot) -> None:
    verdict = look(seen)
    assert isinstance(verdict, Broken)
    assert "somebody else" in verdict.sentence


def test_a_removed_service_is_a_failure() -> None:
    assert isinstance(look(None), Broken)


def test_a_task_that_dies_again_and_again_is_a_failure() -> None:
    dead = [replace(task(f"d{n}", 1, "failed"), error="task: non-zero exit (9)") for n in range(3)]
    assert isinstance(look(service(*dead[:2])), Waiting)
    verdict = look(service(*dead))
    assert isinstance(verdict, Broken)
    assert "non-zero exit (9)" in verdict.sentence
    assert "3 times" in verdict.sentence


def test_a_process_that_ends_well_is_dead_all_the_same() -> None:
    assert isinstance(look(service(*[task(f"d{n}", 1, "complete") for n in range(3)])), Broken)


def test_the_deadline_ends_what_cannot_be_placed_and_says_why() -> None:
    stuck = replace(task("a", 1, "pending"), error="no suitable node (host-mode port already in use on 1 node)")
    assert isinstance(look(service(stuck)), Waiting)
    verdict = look(service(stuck), at=EXPECTED.deadline)
    assert isinstance(verdict, Broken)
    assert "port already in use" in verdict.sentence
    assert verdict.tasks == (stuck,)


def test_what_came_up_in_time_may_still_show_that_it_stays_up() -> None:
    young = Steady(EXPECTED.deadline - timedelta(seconds=1), ("a", "b"))
    assert isinstance(look(service(*BOTH), young, EXPECTED.deadline), Waiting)
    assert look(service(*BOTH), young, EXPECTED.deadline + timedelta(seconds=4)) == Converged()
    flapping = look(service(task("a", 1), task("c", 2)), young, EXPECTED.deadline + timedelta(seconds=5))
    assert isinstance(flapping, Broken)


def test_a_rollback_that_does_not_end_is_ended_by_the_deadline() -> None:
    seen = service(task("a", 1), update="rollback_started", rollout="8", image=OLD)
    assert isinstance(look(seen), Waiting)
    assert isinstance(look(seen, at=EXPECTED.deadline), Broken)


def test_what_died_in_an_earlier_life_of_the_same_spec_is_not_held_against_it() -> None:
    dead = [replace(task(f"d{n}", 1, "failed"), error="old") for n in range(3)]
    expected = replace(EXPECTED, before=frozenset({"d0", "d1", "d2"}))
    assert judge(service(*BOTH, *dead), expected, STEADY, NOW) == Converged()
    late = judge(service(*dead, task("a", 1, "pending")), expected, None, EXPECTED.deadline)
    assert isinstance(late, Broken)
    assert "old" not in late.sentence


def test_a_version_that_was_put_back_must_stay_up_like_any_other() -> None:
    seen = service(*BOTH, update="rollback_completed")
    assert isinstance(judge_restored(seen, EXPECTED, None, NOW), Waiting)
    assert judge_restored(seen, EXPECTED, STEADY, NOW) == Converged()
    dead = [task(f"d{n}", 1, "failed") for n in range(3)]
    assert isinstance(judge_restored(service(*dead), EXPECTED, None, NOW), Broken)


def test_a_stop_is_done_when_every_task_has_gone() -> None:
    stop = replace(EXPECTED, replicas=0)
    assert isinstance(judge(service(task("a", current=False)), stop, None, NOW), Waiting)
    assert judge(service(task("a", 1, "shutdown")), stop, None, NOW) == Converged()
    assert judge(service(), stop, None, NOW) == Converged()
    assert judge(None, stop, None, NOW) == Converged()


@pytest.mark.parametrize("update", ["paused", "rollback_completed"])
def test_what_the_tasks_died_of_is_the_reason_and_not_that_the_swarm_gave_up(update: str) -> None:
    failed = replace(task("a", 1, "failed"), error="port 8001 is in use")
    verdict = look(service(failed, update=update))
    assert isinstance(verdict, Broken)
    assert "port 8001 is in use" in verdict.sentence
    silent = look(service(update=update))
    assert isinstance(silent, Broken)
    assert "because" in silent.sentence
