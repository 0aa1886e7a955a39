from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.engine.service import demultiplex
from app.engine.shape import Healthcheck, PublishMode, ServiceTarget
from app.engine.spec import service_spec

TARGET = ServiceTarget(
    name="shop",
    image="sha256:1111",
    env={"B": "2", "A": "x=y"},
    replicas=3,
    port=8080,
    container_port=80,
    publish_mode=PublishMode.INGRESS,
    labels={"tagship.product": "7", "tagship.rollout": "12"},
    container_labels={"tagship.build": "5"},
    monitor_s=2.5,
    restart=4,
)


def test_new_service_is_the_whole_spec() -> None:
    assert service_spec(TARGET, None) == {
        "Name": "shop",
        "Labels": {"tagship.product": "7", "tagship.rollout": "12"},
        "Mode": {"Replicated": {"Replicas": 3}},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "sha256:1111", "Env": ["A=x=y", "B=2"], "Labels": {"tagship.build": "5"}},
            "ForceUpdate": 4,
        },
        "UpdateConfig": {
            "Parallelism": 1,
            "FailureAction": "rollback",
            "Monitor": 2_500_000_000,
            "MaxFailureRatio": 0,
            "Order": "start-first",
        },
        "RollbackConfig": {
            "Parallelism": 1,
            "FailureAction": "pause",
            "Monitor": 2_500_000_000,
            "MaxFailureRatio": 0,
            "Order": "start-first",
        },
        "EndpointSpec": {
            "Mode": "vip",
            "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}],
        },
    }


def test_host_port_stops_the_old_task_first_and_has_no_virtual_address() -> None:
    spec = service_spec(replace(TARGET, publish_mode=PublishMode.HOST), None)
    assert spec["UpdateConfig"]["Order"] == "stop-first"
    assert spec["RollbackConfig"]["Order"] == "stop-first"
    assert spec["EndpointSpec"] == {
        "Mode": "dnsrr",
        "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"}],
    }


def test_healthcheck_is_in_nanoseconds() -> None:
    check = Healthcheck(("CMD-SHELL", "wget -q localhost"), interval_s=1.5, timeout_s=2, retries=4, start_period_s=0.25)
    container = service_spec(replace(TARGET, healthcheck=check), None)["TaskTemplate"]["ContainerSpec"]
    assert container["Healthcheck"] == {
        "Test": ["CMD-SHELL", "wget -q localhost"],
        "Interval": 1_500_000_000,
        "Timeout": 2_000_000_000,
        "Retries": 4,
        "StartPeriod": 250_000_000,
    }


def test_update_carries_over_what_is_not_ours_and_drops_what_was() -> None:
    current = {
        "Name": "shop",
        "Labels": {"team": "pay", "tagship.rollout": "11", "tagship.delivery": "old"},
        "Mode": {"Replicated": {"Replicas": 1}},
        "Networks": [{"Target": "old-style"}],
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "sha256:0000",
                "Env": ["OLD=1"],
                "Labels": {"trace": "on", "tagship.build": "4"},
                "Healthcheck": {"Test": ["NONE"]},
                "Mounts": [{"Source": "v", "Target": "/v"}],
                "Secrets": [{"SecretID": "s"}],
            },
            "Resources": {"Limits": {"MemoryBytes": 1}},
            "Placement": {"Constraints": ["node.role==worker"]},
            "Networks": [{"Target": "net"}],
            "ForceUpdate": 1,
            "Runtime": "container",
        },
    }
    spec = service_spec(TARGET, current)
    fresh = service_spec(TARGET, None)
    assert spec == {
        **fresh,
        "Labels": {"team": "pay", **TARGET.labels},
        "Networks": [{"Target": "old-style"}],
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "sha256:1111",
                "Env": ["A=x=y", "B=2"],
                "Labels": {"trace": "on", "tagship.build": "5"},
                "Mounts": [{"Source": "v", "Target": "/v"}],
                "Secrets": [{"SecretID": "s"}],
            },
            "Resources": {"Limits": {"MemoryBytes": 1}},
            "Placement": {"Constraints": ["node.role==worker"]},
            "Networks": [{"Target": "net"}],
            "ForceUpdate": 4,
            "Runtime": "container",
        },
    }
    assert current["Labels"] == {"team": "pay", "tagship.rollout": "11", "tagship.delivery": "old"}, "it was copied"


targets = st.builds(
    ServiceTarget,
    name=st.just("shop"),
    image=st.text(),
    env=st.dictionaries(st.text(), st.text() | st.just("{{.Node.ID}}")),
    replicas=st.integers(0, 9),
    port=st.integers(1, 65535),
    container_port=st.integers(1, 65535),
    publish_mode=st.sampled_from(PublishMode),
    labels=st.dictionaries(st.text(), st.text()),
    container_labels=st.dictionaries(st.text(), st.text()),
    monitor_s=st.floats(1, 3600),
    restart=st.integers(0, 9),
    healthcheck=st.none() | st.builds(Healthcheck, test=st.tuples(st.just("CMD"), st.text())),
)


@given(targets)
def test_applying_a_target_twice_changes_nothing(target: ServiceTarget) -> None:
    once = service_spec(target, None)
    assert service_spec(target, once) == once


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.binary(max_size=300))))
def test_log_frames_are_joined(frames: list[tuple[int, bytes]]) -> None:
    data = b"".join(bytes([kind, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for kind, text in frames)
    assert demultiplex(data) == b"".join(text for _, text in frames)


@given(st.binary(max_size=100))
def test_any_log_bytes_are_survived(data: bytes) -> None:
    assert len(demultiplex(data)) <= len(data)


def test_output_of_a_terminal_has_no_frames() -> None:
    assert demultiplex(b"plain text\n") == b"plain text\n"


def test_a_service_that_stops_keeps_its_ports_until_it_is_told_to_give_them_up() -> None:
    running = service_spec(TARGET, None)
    stopping = replace(TARGET, replicas=0, port=9090)
    assert service_spec(stopping, running)["EndpointSpec"] == running["EndpointSpec"]
    assert service_spec(replace(stopping, published=False), running)["EndpointSpec"] == {"Mode": "vip", "Ports": []}
    assert service_spec(stopping, None)["EndpointSpec"]["Ports"][0]["PublishedPort"] == 9090
