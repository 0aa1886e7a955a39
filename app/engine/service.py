"""Swarm services: read one with its tasks, apply a target to it safely, remove it, fetch a task's last words.

Several rollouts, workers and people may touch a service at once. What keeps an older rollout from undoing a newer one
is the number in the service's ``tagship.rollout`` label together with the version that every update must name.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp

from app.engine.client import CONFLICT, NOT_FOUND, filters, parse_time
from app.engine.credentials import service_auth
from app.engine.frame import storable
from app.engine.shape import LABEL_PRODUCT, LABEL_ROLLOUT, ServiceSnapshot, TaskSnapshot, TaskState, UpdateState
from app.engine.spec import service_spec
from app.errors import AppError, EngineRefused, EngineUnavailable, RolloutOvertaken, ServiceNotOurs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess
    from app.engine.shape import ServiceTarget

MOST_TRIES: Final = 20
FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 1.0
OUT_OF_SEQUENCE: Final = "update out of sequence"  # moby answers 500; swarmkit's own bookkeeping causes it too
EPOCH: Final = datetime.fromtimestamp(0, UTC)
ENDED: Final = frozenset({TaskState.COMPLETE, TaskState.SHUTDOWN, TaskState.FAILED, TaskState.REJECTED})
LOG_TIMEOUT: Final = aiohttp.ClientTimeout(total=5, sock_connect=5)
LARGEST_TAIL: Final = 256 * 1024
FRAME_HEADER: Final = 8


async def read_service(engine: Engine, name: str) -> ServiceSnapshot | None:
    """Return the service of exactly that name with its tasks (by slot, newest first), None when there is none."""
    service = await _find(engine, name)
    if service is None:
        return None
    up_to_date = {task["ID"] for task in await _tasks(engine, service["ID"], current_only=True)}
    tasks = await _tasks(engine, service["ID"], current_only=False)
    return _snapshot(service, tasks, up_to_date)


async def apply_service(
    engine: Engine,
    target: ServiceTarget,
    *,
    still_ours: Callable[[], Awaitable[bool]],
    replaces: int | None = None,
    access: RegistryAccess | None = None,
) -> str:
    """Make the service be as ``target`` says and return its ID; an applied rollout is not applied again.

    ``target.labels`` must hold ``tagship.product`` and ``tagship.rollout`` (an integer). When somebody else changes the
    service meanwhile, it is read again; ``still_ours`` is asked before every change. ``replaces`` opens the way
    back: the target goes over that rollout too, and over any before it, although they are newer. ``access`` goes to
    the swarm with every change, so that each node can pull the image.

    Raises ``ServiceNotOurs``, ``RolloutOvertaken``, ``EngineRefused`` (a port is taken, the spec is not accepted) or
    ``SwarmUnavailable``.
    """
    for attempt in range(MOST_TRIES):
        service = await _find(engine, target.name)
        if service is not None and _is_applied(service["Spec"], target, replaces):
            return str(service["ID"])
        # Asked after the version was read, so that whoever takes over meanwhile changes a version that we do not name.
        if not await still_ours():
            raise RolloutOvertaken(f"the rollout of {target.name} is no longer ours; its service was left as it is")
        headers = service_auth(access, target.image)
        made = await (
            _create(engine, target, headers) if service is None else _update(engine, service, target, headers)
        )
        if made is not None:
            return made
        await asyncio.sleep(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt))
    raise EngineUnavailable(f"the service {target.name} kept changing under {MOST_TRIES} tries to update it")


async def remove_service(engine: Engine, name: str) -> bool:
    """Remove the service with its tasks; False when there was none. Raises ``ServiceNotOurs`` for a foreign one."""
    service = await _find(engine, name)
    if service is None:
        return False
    if LABEL_PRODUCT not in _labels(service["Spec"]):
        raise _not_ours(name)
    try:
        await engine.call(f"remove the service {name}", f"services/{service['ID']}", "DELETE")
    except EngineRefused as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


async def task_log_tail(engine: Engine, task_id_or_container: str, lines: int = 20) -> str:
    """Return the last ``lines`` lines that a task or container wrote, stderr included, or "" when they are gone.

    A container is known only to the engine it ran on; a task's output the swarm fetches while its container exists.
    """
    for kind in ("containers", "tasks"):
        path = f"{kind}/{quote(task_id_or_container, safe='')}/logs?stdout=1&stderr=1&tail={lines}"
        try:
            data = await _read_tail(engine, path)
        except AppError:
            continue
        return storable("\n".join(demultiplex(data).decode("utf-8", "replace").splitlines()[-lines:]))
    return ""


def demultiplex(data: bytes) -> bytes:
    """Join the payloads of Docker's log frames (stream, 0, 0, 0, length, payload); data without frames is a TTY's."""
    parts: list[bytes] = []
    position = 0
    while position < len(data):
        header = data[position : position + FRAME_HEADER]
        if len(header) < FRAME_HEADER or header[0] > 2 or header[1:4] != b"\0\0\0":  # noqa: PLR2004 - stdin, stdout, stderr
            return b"".join(parts) if parts else data
        start = position + FRAME_HEADER
        position = start + int.from_bytes(header[4:], "big")
        parts.append(data[start:position])
    return b"".join(parts)


async def _read_tail(engine: Engine, path: str) -> bytes:
    data = bytearray()
    async with engine.stream("read a task's output", path, timeout=LOG_TIMEOUT) as response:
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > LARGEST_TAIL:
                break
    return bytes(data)


async def _find(engine: Engine, name: str) -> dict[str, Any] | None:
    """The service of that name; the engine's look-up also takes IDs and their beginnings, which are not meant here."""
    try:
        service: dict[str, Any] = await engine.call(f"look up the service {name}", f"services/{quote(name, safe='')}")
    except EngineRefused as error:
        if error.status == NOT_FOUND:
            return None
        raise
    return service if service["Spec"]["Name"] == name else None


async def _tasks(engine: Engine, service_id: str, *, current_only: bool) -> list[dict[str, Any]]:
    """The tasks of a service; ``_up-to-date`` is the undocumented filter that ``docker service update`` uses."""
    wanted = {"service": service_id, **({"_up-to-date": "true"} if current_only else {})}
    tasks: list[dict[str, Any]] | None = await engine.call(
        "list a service's tasks", "tasks", params={"filters": filters(**wanted)}
    )
    return tasks or []


def _is_applied(spec: Mapping[str, Any], target: ServiceTarget, replaces: int | None) -> bool:
    """Compare what the service carries with what we bring. Raises when it must not be touched."""
    labels = _labels(spec)
    if labels.get(LABEL_PRODUCT) != target.labels[LABEL_PRODUCT]:
        raise _not_ours(target.name)
    carried, ours = labels.get(LABEL_ROLLOUT, ""), int(target.labels[LABEL_ROLLOUT])
    if not carried.isascii() or not carried.isdecimal():
        return False
    if int(carried) > max(ours, replaces or 0):
        raise RolloutOvertaken(f"the service {target.name} already carries rollout {carried}, newer than {ours}")
    return int(carried) == ours != replaces


async def _create(engine: Engine, target: ServiceTarget, headers: Mapping[str, str]) -> str | None:
    """Create the service; None when somebody else just did."""
    try:
        answer = await engine.call(
            f"create the service {target.name}",
            "services/create",
            "POST",
            body=service_spec(target, None),
            headers=headers,
        )
    except EngineRefused as error:
        if error.status == CONFLICT:
            return None
        raise
    return str(answer["ID"])


async def _update(
    engine: Engine, service: dict[str, Any], target: ServiceTarget, headers: Mapping[str, str]
) -> str | None:
    """Update the version that was read; None when that is no longer the service's version, or it is gone."""
    params = {"version": str(service["Version"]["Index"]), "registryAuthFrom": "spec"}
    try:
        await engine.call(
            f"update the service {target.name}",
            f"services/{service['ID']}/update",
            "POST",
            params=params,
            body=service_spec(target, service["Spec"]),
            headers=headers,
        )
    except EngineRefused as error:
        if error.status == NOT_FOUND or OUT_OF_SEQUENCE in error.message:
            return None
        raise
    return str(service["ID"])


def _not_ours(name: str) -> ServiceNotOurs:
    return ServiceNotOurs(
        f"the swarm has a service {name} that does not belong to this product; remove it or take another slug"
    )


def _labels(spec: Mapping[str, Any]) -> dict[str, str]:
    return spec.get("Labels") or {}


def _snapshot(service: dict[str, Any], tasks: Iterable[dict[str, Any]], up_to_date: set[str]) -> ServiceSnapshot:
    spec, status = service["Spec"], service.get("UpdateStatus") or {}
    newest_first = sorted(tasks, key=lambda task: str(task.get("CreatedAt", "")), reverse=True)
    read = (_task(task, current=task["ID"] in up_to_date) for task in newest_first)
    state = status.get("State")
    return ServiceSnapshot(
        id=service["ID"],
        name=spec["Name"],
        version=int(service["Version"]["Index"]),
        image=_image(spec.get("TaskTemplate")),
        replicas=int(((spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas") or 0),
        labels=_labels(spec),
        update_state=UpdateState(state) if state in set(UpdateState) else None,
        update_message=str(status.get("Message") or ""),
        tasks=tuple(sorted((task for task in read if task is not None), key=lambda task: task.slot)),
    )


def _task(task: dict[str, Any], *, current: bool) -> TaskSnapshot | None:
    """Read one task; None for a state that this program does not know."""
    status = task.get("Status") or {}
    try:
        state, desired = TaskState(status.get("State", "new")), TaskState(task.get("DesiredState") or "running")
    except ValueError:
        return None
    container = status.get("ContainerStatus") or {}
    return TaskSnapshot(
        id=task["ID"],
        slot=int(task.get("Slot") or 0),
        node_id=str(task.get("NodeID") or ""),
        image=_image(task.get("Spec")),
        state=state,
        desired_state=desired,
        current=current,
        since=parse_time(status.get("Timestamp")) or parse_time(task.get("CreatedAt")) or EPOCH,
        error=str(status.get("Err") or ""),
        exit_code=container.get("ExitCode") if state in ENDED else None,
        container_id=str(container.get("ContainerID") or ""),
    )


def _image(task_spec: Mapping[str, Any] | None) -> str:
    return str(((task_spec or {}).get("ContainerSpec") or {}).get("Image") or "")
