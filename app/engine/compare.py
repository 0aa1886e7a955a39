"""What differs between two service specs, of all that Tagship writes into one: pure.

The engine answers with a spec that it has put into its own order: what is empty or zero is left out, and defaults are
filled in. Two specs that make the same service are equal here. Of environment variables one learns that they differ,
never what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from app.engine.shape import LABEL_ROLLOUT
from app.engine.spec import NANOSECONDS, OUR_LABELS
from app.mask import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Value: TypeAlias = "str | int | float | list[str] | None"

CONTAINER: Final = "TaskTemplate.ContainerSpec"
IMAGE: Final = f"{CONTAINER}.Image"
ENV: Final = f"{CONTAINER}.Env."
CONTAINER_LABELS: Final = f"{CONTAINER}.Labels."
HEALTHCHECK: Final = f"{CONTAINER}.Healthcheck."
FORCE_UPDATE: Final = "TaskTemplate.ForceUpdate"
REPLICAS: Final = "Mode.Replicated.Replicas"
PORTS: Final = "EndpointSpec.Ports"
LABELS: Final = "Labels."
ROLLOUT: Final = LABELS + LABEL_ROLLOUT

# What people want to know first.
ORDER: Final = (IMAGE, ENV, HEALTHCHECK, REPLICAS, "Mode", PORTS, "EndpointSpec", "UpdateConfig", "RollbackConfig")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in a spec, named as Docker names it, that is ``before`` in one and ``after`` in the other; None where
    it is not there at all. Durations are in Docker's form (``30s``), ports as ``8001 -> 80/tcp (ingress)``. Of a
    ``secret`` both values are masked.
    """

    path: str
    before: Value
    after: Value
    secret: bool = False


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Everything of ours that differs, what matters most first; an empty mapping stands for no service."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    paths = sorted({*old, *new}, key=_rank)
    return [_difference(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)]


def replaces_tasks(found: Iterable[Difference]) -> bool:
    """Whether the swarm starts other tasks in the place of those that run: swarmkit's ``IsTaskDirty`` compares the task
    template and the endpoint, and nothing else (orchestrator/task.go).
    """
    return any(one.path.startswith(("TaskTemplate.", "EndpointSpec.")) for one in found)


def _difference(path: str, before: Value, after: Value) -> Difference:
    if not path.startswith(ENV):
        return Difference(path, before, after)
    return Difference(path, None if before is None else MASK, None if after is None else MASK, secret=True)


def _rank(path: str) -> tuple[int, str]:
    return next((rank for rank, prefix in enumerate(ORDER) if path.startswith(prefix)), len(ORDER)), path


def _leaves(spec: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if not spec:
        return
    task = spec.get("TaskTemplate") or {}
    mode = spec.get("Mode") or {}
    if "Replicated" in mode:
        yield REPLICAS, int((mode["Replicated"] or {}).get("Replicas") or 0)
    else:
        yield "Mode", ", ".join(sorted(mode)) or None
    yield from _labels(LABELS, spec.get("Labels"))
    yield from _container(task.get("ContainerSpec") or {})
    yield FORCE_UPDATE, int(task.get("ForceUpdate") or 0)
    yield from _change("UpdateConfig", spec.get("UpdateConfig"))
    yield from _change("RollbackConfig", spec.get("RollbackConfig"))
    yield from _endpoint(spec.get("EndpointSpec") or {})


def _container(container: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    yield IMAGE, str(container.get("Image") or "")
    for variable in container.get("Env") or ():  # of a name that is there twice the last one counts
        name, _, value = variable.partition("=")
        yield ENV + name, value
    yield from _labels(CONTAINER_LABELS, container.get("Labels"))
    check = container.get("Healthcheck")
    if check:
        yield HEALTHCHECK + "Test", list(check.get("Test") or ())
        for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
            yield HEALTHCHECK + name, _duration(check.get(name))
        yield HEALTHCHECK + "Retries", int(check.get("Retries") or 0)


def _labels(prefix: str, labels: Mapping[str, str] | None) -> Iterator[tuple[str, Value]]:
    for name, value in (labels or {}).items():
        if name.startswith(OUR_LABELS):
            yield prefix + name, value


def _change(prefix: str, config: Mapping[str, Any] | None) -> Iterator[tuple[str, Value]]:
    if config is None:
        return
    yield f"{prefix}.Parallelism", int(config.get("Parallelism") or 0)
    yield f"{prefix}.Delay", _duration(config.get("Delay"))
    yield f"{prefix}.FailureAction", config.get("FailureAction") or "pause"
    yield f"{prefix}.Monitor", _duration(config.get("Monitor"))
    yield f"{prefix}.MaxFailureRatio", float(config.get("MaxFailureRatio") or 0)
    yield f"{prefix}.Order", config.get("Order") or "stop-first"


def _endpoint(endpoint: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    yield "EndpointSpec.Mode", endpoint.get("Mode") or "vip"
    yield PORTS, sorted(_port(port) for port in endpoint.get("Ports") or ())


def _port(port: Mapping[str, Any]) -> str:
    published = port.get("PublishedPort") or "any"
    protocol, mode = port.get("Protocol") or "tcp", port.get("PublishMode") or "ingress"
    return f"{published} -> {port.get('TargetPort')}/{protocol} ({mode})"


def _duration(nanoseconds: int | None) -> str:
    """A duration as Docker writes it, in seconds.

    >>> _duration(1_500_000_000), _duration(30_000_000_000), _duration(None), _duration(1)
    ('1.5s', '30s', '0s', '0.000000001s')
    """
    return f"{f'{(nanoseconds or 0) / NANOSECONDS:.9f}'.rstrip('0').rstrip('.')}s"
