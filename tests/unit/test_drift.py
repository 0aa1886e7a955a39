"""What differs between two specs, and what of that is drift: the engine's own way of writing a spec is none."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import app.engine.compare
import app.rollouts.drift
from app.engine.compare import Difference, differences, replaces_tasks
from app.engine.shape import Healthcheck, PublishMode, ServiceTarget
from app.engine.spec import service_spec
from app.mask import MASK
from app.rollouts.drift import Described, DriftState, Standing, described_by, drift, sentence
from app.rollouts.model import RolloutKind, RolloutState

TARGET = ServiceTarget(
    name="tagship-axa",
    image="sha256:1111",
    env={"KEY": "a secret", "MODE": "x"},
    replicas=2,
    port=8001,
    container_port=80,
    publish_mode=PublishMode.INGRESS,
    labels={"tagship.product": "axa", "tagship.rollout": "12", "tagship.delivery": "d"},
    container_labels={"tagship.product": "axa", "tagship.build": "5"},
    monitor_s=5,
)
names = st.text("ABC_", min_size=1, max_size=3)
targets = st.builds(
    ServiceTarget,
    name=st.just("tagship-axa"),
    image=st.sampled_from(["sha256:1111", "registry/bre@sha256:2222"]),
    env=st.dictionaries(names, st.text(max_size=5)),
    replicas=st.integers(0, 5),
    port=st.integers(1, 65535),
    container_port=st.integers(1, 65535),
    publish_mode=st.sampled_from(PublishMode),
    labels=st.dictionaries(
        st.sampled_from(["tagship.product", "tagship.rollout", "tagship.build"]), st.text(max_size=3)
    ),
    container_labels=st.dictionaries(st.sampled_from(["tagship.product", "tagship.build"]), st.text(max_size=3)),
    monitor_s=st.floats(1, 3600),
    restart=st.integers(0, 9),
    healthcheck=st.none()
    | st.builds(
        Healthcheck,
        test=st.tuples(st.just("CMD"), st.text(max_size=5)),
        interval_s=st.floats(1, 60),
        start_period_s=st.just(0) | st.floats(0, 60),
    ),
    published=st.booleans(),
)


def as_the_engine_writes_it(spec: dict[str, Any]) -> dict[str, Any]:
    """What ``GET /services`` answers for a spec: Go leaves out what is empty or zero where a field says omitempty, and
    fills in what a container has anyway (moby, api/types/swarm and daemon/cluster/convert).
    """
    written: dict[str, Any] = json.loads(json.dumps(spec))
    task = written["TaskTemplate"]
    container = task["ContainerSpec"]
    container |= {"Isolation": "default", "DNSConfig": {}, "Init": False}
    task |= {"Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}, "Runtime": "container"}
    task["RestartPolicy"] = {"Condition": "any", "MaxAttempts": 0}
    container["Env"].reverse()
    for name in ("Env", "Labels"):
        if not container[name]:
            del container[name]
    check = container.get("Healthcheck", {})
    for name in [name for name, value in check.items() if not value]:
        del check[name]
    if not written["EndpointSpec"]["Ports"]:
        del written["EndpointSpec"]["Ports"]
    if not written["Mode"]["Replicated"]["Replicas"]:
        written["Mode"]["Replicated"] = {"Replicas": 0}
    for name in ("UpdateConfig", "RollbackConfig"):
        written[name]["MaxFailureRatio"] = 0.0
    return written


@pytest.mark.parametrize("module", [app.engine.compare, app.rollouts.drift], ids=str)
def test_examples_in_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@given(targets)
def test_what_the_engine_makes_of_a_spec_is_no_difference(target: ServiceTarget) -> None:
    spec = service_spec(target, None)
    assert differences(spec, as_the_engine_writes_it(spec)) == []
    assert drift(service_spec(target, as_the_engine_writes_it(spec)), as_the_engine_writes_it(spec)) == []


@given(targets, targets)
def test_what_differs_one_way_differs_the_other_way_too(one: ServiceTarget, other: ServiceTarget) -> None:
    there = differences(service_spec(one, None), service_spec(other, None))
    back = differences(service_spec(other, None), service_spec(one, None))
    assert [(found.path, found.before, found.after) for found in there] == [
        (found.path, found.after, found.before) for found in back
    ]
    assert bool(there) == (service_spec(one, None) != service_spec(other, None))


@given(st.dictionaries(names, st.text("secret", min_size=7)), st.dictionaries(names, st.text("secret", min_size=7)))
def test_no_value_of_a_variable_comes_out(before: dict[str, str], after: dict[str, str]) -> None:
    specs = [service_spec(replace(TARGET, env=env), None) for env in (before, after)]
    found = [one for one in differences(*specs) if one.secret]
    assert {one.path.rpartition(".")[2] for one in found} == {
        name for name in {*before, *after} if before.get(name) != after.get(name)
    }
    assert {value for one in found for value in (one.before, one.after)} <= {MASK, None}


def by_hand(**changes: Any) -> dict[str, Any]:
    """The service after somebody changed it."""
    spec = as_the_engine_writes_it(service_spec(TARGET, None))
    for path, value in changes.items():
        place, *parts = spec, *path.split("__")
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = value
    return spec


def found_in(spec: dict[str, Any]) -> list[Difference]:
    return drift(service_spec(TARGET, spec), spec)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (by_hand(Mode__Replicated__Replicas=5), ("Mode.Replicated.Replicas", 2, 5)),
        (by_hand(Mode={"Replicated": {}}), ("Mode.Replicated.Replicas", 2, 0)),
        (
            by_hand(TaskTemplate__ContainerSpec__Image="busybox"),
            ("TaskTemplate.ContainerSpec.Image", "sha256:1111", "busybox"),
        ),
        (
            by_hand(TaskTemplate__ContainerSpec__Env=["KEY=a secret", "MODE=x", "DEBUG"]),
            ("TaskTemplate.ContainerSpec.Env.DEBUG", None, MASK),
        ),
        (by_hand(EndpointSpec__Ports=[]), ("EndpointSpec.Ports", ["8001 -> 80/tcp (ingress)"], [])),
        (by_hand(UpdateConfig__Delay=10**10), ("UpdateConfig.Delay", "0s", "10s")),
        (by_hand(Labels={"tagship.product": "axa", "tagship.rollout": "1"}), ("Labels.tagship.rollout", "12", "1")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_was_changed_by_hand_is_drift(spec: dict[str, Any], expected: tuple[str, Any, Any]) -> None:
    [found] = found_in(spec)
    assert (found.path, found.before, found.after) == expected


@pytest.mark.parametrize(
    "spec",
    [
        by_hand(TaskTemplate__Resources={"Limits": {"MemoryBytes": 1}}),
        by_hand(TaskTemplate__Placement={"Constraints": ["node.role==worker"]}),
        by_hand(TaskTemplate__ContainerSpec__Mounts=[{"Source": "v", "Target": "/v"}]),
        by_hand(TaskTemplate__ForceUpdate=3),
        by_hand(UpdateConfig__Monitor=10**10),
        by_hand(Labels={"tagship.product": "axa", "tagship.rollout": "12", "team": "pay"}),
    ],
)
def test_what_tagship_does_not_write_or_remember_is_no_drift(spec: dict[str, Any]) -> None:
    assert found_in(spec) == []


def test_what_matters_most_comes_first() -> None:
    spec = by_hand(
        UpdateConfig__Delay=1, Mode__Replicated__Replicas=1, TaskTemplate__ContainerSpec__Image="x",
        TaskTemplate__ContainerSpec__Env=[],
    )  # fmt: skip
    assert [one.path.rpartition(".")[2] for one in found_in(spec)] == ["Image", "KEY", "MODE", "Replicas", "Delay"]


def test_only_the_task_template_and_the_endpoint_replace_tasks() -> None:
    before = service_spec(TARGET, None)
    more = service_spec(replace(TARGET, replicas=3, labels={"tagship.product": "axa"}, monitor_s=9), None)
    assert not replaces_tasks(differences(before, more))
    for changed in (
        replace(TARGET, env={}),
        replace(TARGET, image="sha256:2"),
        replace(TARGET, port=1),
        replace(TARGET, restart=1),
    ):
        assert replaces_tasks(differences(before, service_spec(changed, None)))


def standing(
    state: RolloutState | None, kind: RolloutKind = RolloutKind.DEPLOY, *, live: int | None = 4, newest: int = 9
) -> Standing:
    return Standing(1, "axa", "AXA", live, newest if state else None, kind if state else None, state)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (standing(None), DriftState.NOT_STARTED),
        (standing(RolloutState.PENDING), DriftState.ROLLING_OUT),
        (standing(RolloutState.CONVERGING, RolloutKind.REMOVE), DriftState.ROLLING_OUT),
        (standing(RolloutState.DONE, live=9), Described(9, runs=True)),
        (standing(RolloutState.ROLLED_BACK), Described(4, runs=True)),
        (standing(RolloutState.FAILED), DriftState.FAILED),
        (standing(RolloutState.FAILED, live=None), DriftState.FAILED),
        (standing(RolloutState.FAILED, RolloutKind.STOP), DriftState.FAILED),
        (standing(RolloutState.DONE, RolloutKind.STOP, live=None), Described(9, runs=False)),
    ],
)
def test_a_service_is_compared_with_the_rollout_that_describes_it(
    known: Standing, expected: Described | DriftState
) -> None:
    assert described_by(known) == expected


def test_every_state_has_a_sentence_that_says_what_to_do_where_a_person_should_look() -> None:
    one = Difference("Mode.Replicated.Replicas", 2, 1)
    for state in DriftState:
        said = sentence(state, [one], "axa", runs=True)
        assert said.endswith(".")
        if state.is_wrong:
            assert "edeploy" in said
    assert "replicas 2 → 1" in sentence(DriftState.DRIFTED, [one], "axa", runs=True)
    assert "Stop the product once more" in sentence(DriftState.DRIFTED, [one], "axa", runs=False)
    assert sentence(DriftState.DRIFTED, [one] * 5, "axa", runs=True).count("2 → 1") == 3
