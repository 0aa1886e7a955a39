"""The Swarm service spec that a rollout wants: a pure function of the target and of what is there now.

``services/update`` takes the whole spec and resets what is left out, so everything we do not own (resources, placement,
networks, mounts, secrets, other people's labels) is carried over from the current spec. Durations are nanoseconds.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from app.engine.shape import PublishMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.engine.shape import Healthcheck, ServiceTarget

NANOSECONDS: Final = 1_000_000_000
OUR_LABELS: Final = ("tagship.", "org.opencontainers.image.")


def service_spec(target: ServiceTarget, current: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the full spec for ``services/create`` (``current`` None) or ``services/{id}/update``.

    Equal targets make equal specs, so that applying one again replaces no task.
    """
    spec = deepcopy(dict(current or {}))
    spec["Name"] = target.name
    spec["Labels"] = _labels(spec.get("Labels"), target.labels)
    spec["Mode"] = {"Replicated": {"Replicas": target.replicas}}
    spec["TaskTemplate"] = _task(target, spec.get("TaskTemplate") or {})
    spec["UpdateConfig"] = _change(target, on_failure="rollback")
    spec["RollbackConfig"] = _change(target, on_failure="pause")
    stops = current is not None and target.replicas == 0 and target.published
    # The swarm forgets at once the tasks of a service whose ports change while it is scaled to nothing, although their
    # containers are still stopping: nobody could wait for them.
    spec["EndpointSpec"] = spec.get("EndpointSpec") if stops else _endpoint(target)
    return spec


def _task(target: ServiceTarget, task: dict[str, Any]) -> dict[str, Any]:
    container = task.get("ContainerSpec") or {}
    container["Image"] = target.image
    container["Env"] = sorted(f"{name}={value}" for name, value in target.env.items())
    container["Labels"] = _labels(container.get("Labels"), target.container_labels)
    container.pop("Healthcheck", None)
    if target.healthcheck is not None:
        container["Healthcheck"] = _healthcheck(target.healthcheck)
    return {**task, "ContainerSpec": container, "ForceUpdate": target.restart}


def _labels(current: Mapping[str, str] | None, wanted: Mapping[str, str]) -> dict[str, str]:
    """Ours as wanted, and other people's as they are."""
    kept = {name: value for name, value in (current or {}).items() if not name.startswith(OUR_LABELS)}
    return {**kept, **wanted}


def _change(target: ServiceTarget, *, on_failure: str) -> dict[str, Any]:
    """One task at a time. A host port can be held by one task only, so there the old one has to stop first."""
    start_first = target.publish_mode is PublishMode.INGRESS
    return {
        "Parallelism": 1,
        "FailureAction": on_failure,
        "Monitor": _nanoseconds(target.monitor_s),
        "MaxFailureRatio": 0,
        "Order": "start-first" if start_first else "stop-first",
    }


def _endpoint(target: ServiceTarget) -> dict[str, Any]:
    """Host mode goes without a virtual IP: nothing would use it, and it needs IPVS in the kernel."""
    port = {
        "Protocol": "tcp",
        "TargetPort": target.container_port,
        "PublishedPort": target.port,
        "PublishMode": target.publish_mode.value,
    }
    mode = "vip" if target.publish_mode is PublishMode.INGRESS else "dnsrr"
    return {"Mode": mode, "Ports": [port] if target.published else []}


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    return {
        "Test": list(check.test),
        "Interval": _nanoseconds(check.interval_s),
        "Timeout": _nanoseconds(check.timeout_s),
        "Retries": check.retries,
        "StartPeriod": _nanoseconds(check.start_period_s),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
