"""The output of a service's containers, and what health checks said, from a real swarm."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest_asyncio

from app.engine.service import apply_service, read_service
from app.engine.shape import LABEL_PRODUCT, LABEL_ROLLOUT, Builder, Healthcheck, PublishMode, ServiceTarget
from app.engine.task_log import TaskLine, service_log
from app.engine.tasks import health_output, node_names, slot_of
from tests.engine.yard import TEST_LABEL, eventually
from tests.ports import free_port

if TYPE_CHECKING:
    from app.engine.client import Engine
    from tests.engine.yard import Yard

SCRIPT = "trap exit TERM; for i in 1 2 3; do echo out $i; echo err $i >&2; done; while sleep 0.2; do echo tick; done"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def talking(engine: Engine, yard: Yard) -> ServiceTarget:
    """A service of two tasks that talk, and sicken when asked."""
    built = await yard.build(Builder.CLASSIC, f'CMD ["sh", "-c", "{SCRIPT}"]')
    target = ServiceTarget(
        name=yard.service_name("talking"),
        image=built.image_id,
        env={},
        replicas=2,
        port=free_port(),
        container_port=8080,
        publish_mode=PublishMode.INGRESS,
        labels={LABEL_PRODUCT: "7", LABEL_ROLLOUT: "1"},
        container_labels={TEST_LABEL: yard.run},
        monitor_s=2,
        healthcheck=Healthcheck(("CMD-SHELL", "test ! -e /sick || { echo I feel sick; exit 3; }"), 1, 1, 1),
    )

    async def ours() -> bool:
        return True

    await apply_service(engine, target, still_ours=ours)

    async def talks() -> bool:
        lines = await stored(engine, target.name, tail=50)
        return len({line.task for line in lines if line.text == "tick"}) == 2

    await eventually(talks, timeout_s=60)
    return target


async def stored(engine: Engine, name: str, *, tail: int) -> list[TaskLine]:
    return [line async for batch in service_log(engine, name, tail=tail, follow=False) for line in batch]


async def test_stored_output_comes_by_line_and_task(engine: Engine, talking: ServiceTarget) -> None:
    lines = await stored(engine, talking.name, tail=10_000)
    for task in {line.task for line in lines}:
        assert await slot_of(engine, task) in {1, 2}
        own = [(line.stream, line.text) for line in lines if line.task == task and line.text != "tick"]
        assert [text for stream, text in own if stream == "stdout"] == ["out 1", "out 2", "out 3"]
        assert [text for stream, text in own if stream == "stderr"] == ["err 1", "err 2", "err 3"]
    assert len(await stored(engine, talking.name, tail=2)) == 4
    assert await slot_of(engine, "nothing") == 0


async def test_output_is_followed_as_it_comes_and_resumed_behind_a_time(engine: Engine, talking: ServiceTarget) -> None:
    seen: list[TaskLine] = []
    async with asyncio.timeout(30), aclosing(service_log(engine, talking.name, tail=1, follow=True)) as batches:
        async for batch in batches:
            seen += batch
            if len(seen) > 12:
                break
    assert {line.text for line in seen} == {"tick"}
    last = sorted(line.at for line in seen)[5]
    async with (
        asyncio.timeout(30),
        aclosing(service_log(engine, talking.name, tail=0, follow=True, after=last)) as batches,
    ):
        resumed = await anext(batches)
    assert all(line.at > last for line in resumed)


async def test_leaving_cuts_the_engines_stream_at_once(engine: Engine, talking: ServiceTarget) -> None:
    async with asyncio.timeout(5):
        batches = service_log(engine, talking.name, tail=0, follow=True)
        await anext(batches)
        reading = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
        await batches.aclose()


async def test_a_failed_health_check_is_quoted(engine: Engine, talking: ServiceTarget) -> None:
    service = await read_service(engine, talking.name)
    assert service is not None
    task = service.tasks[0]
    assert (await node_names(engine, [task.node_id, "none", ""])).keys() == {task.node_id, "none"}
    assert all((await node_names(engine, [task.node_id])).values())
    assert await health_output(engine, task.container_id) == ""
    started = await engine.call(
        "make it sick", f"containers/{task.container_id}/exec", "POST", body={"Cmd": ["touch", "/sick"]}
    )
    await engine.call("make it sick", f"exec/{started['Id']}/start", "POST", body={"Detach": True})

    async def quoted() -> bool:
        return await health_output(engine, task.container_id) == "health check (exit code 3): I feel sick"

    await eventually(quoted)
    assert await health_output(engine, "nothing") == ""
