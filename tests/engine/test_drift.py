"""Services of the real engine against the rollouts that made them: nobody's hand in it, and somebody's."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from app.engine.compare import ROLLOUT, differences
from app.engine.service import OUT_OF_SEQUENCE, apply_service, remove_service
from app.engine.shape import Healthcheck, PublishMode
from app.engine.specs import read_spec
from app.errors import AppError, EngineRefused
from app.postgres.pool import transaction
from app.products import store as products
from app.products.model import ProductFields, ProductStatus
from app.rollouts import store
from app.rollouts.drift import DriftState
from app.rollouts.fleet import compare_product, drifted_products
from app.rollouts.frozen import open_env, seal_value
from app.rollouts.model import RolloutKind, RolloutState, service_target
from tests.api_client import api_services, asking
from tests.factories import VAULT, built_image, claim_rollout, queue_rollout
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx

    from app.engine.client import Engine
    from app.postgres.pool import Pool
    from app.rollouts.fleet import Comparison
    from tests.engine.yard import Yard

MASK = "********"
ENV = {"KEY": "canary", "EMPTY": "", "B": "x=y"}


@dataclass
class Running:
    """A product whose service was made by a rollout that is done."""

    pool: Pool
    engine: Engine
    id: int
    name: str

    async def compare(self) -> Comparison:
        compared = await compare_product(self.pool, self.engine, VAULT, self.id)
        assert compared is not None
        return compared

    async def by_hand(self, **changes: Any) -> None:
        """Change the service as ``docker service update`` does; the swarm's own bookkeeping may come in between."""
        while True:
            service = await self.engine.call("read", f"services/{self.name}")
            spec = service["Spec"]
            for path, value in changes.items():
                place, *parts = spec, *path.split("__")
                for part in parts[:-1]:
                    place = place.setdefault(part, {})
                place[parts[-1]] = value
            version = {"version": str(service["Version"]["Index"])}
            try:
                await self.engine.call("edit", f"services/{service['ID']}/update", "POST", params=version, body=spec)
            except EngineRefused as error:
                if OUT_OF_SEQUENCE not in error.message:
                    raise
            else:
                return

    async def differences(self) -> dict[str, tuple[Any, Any]]:
        return {one.path.rpartition(".")[2]: (one.before, one.after) for one in (await self.compare()).differences}


async def roll_out(
    pool: Pool, engine: Engine, product_id: int, state: RolloutState = RolloutState.DONE,
    kind: RolloutKind = RolloutKind.DEPLOY,
) -> None:  # fmt: skip
    """What a worker does for a rollout, without its watch: no node may run a task of these tests, so that none fails,
    and the swarm goes back to nothing by itself.
    """
    await queue_rollout(pool, product_id, kind)
    claimed = await claim_rollout(pool)
    assert claimed is not None
    lease, rollout = claimed
    env = open_env(VAULT, rollout.slug, rollout.env_sealed)
    target = service_target(rollout, env, container_port=rollout.container_port or 8080, monitor_s=1)
    target = replace(target, published=kind is RolloutKind.DEPLOY)

    async def ours() -> bool:
        return True

    service_id = await apply_service(engine, target, still_ours=ours)
    async with transaction(pool) as conn:
        await store.mark_converging(conn, lease, service_id, None if rollout.container_port else 8080)
        if state is not RolloutState.DONE:
            await store.record_failure(conn, lease, "for a reason", [])
        live = rollout.id if kind is RolloutKind.DEPLOY else None
        await store.settle(conn, lease, state, status="running" if live else "stopped", live=live)


@pytest.fixture
async def running(pool: Pool, engine: Engine, yard: Yard) -> Running:
    slug = f"drift-{yard.run}-{free_port()}"
    yard.services.add(f"tagship-{slug}")
    fields = ProductFields(
        name="AXA", port=free_port(), container_port=None, publish_mode=PublishMode.HOST, replicas=1,
        image_id=await built_image(pool, tag="v1"), track=None,
        env={name: seal_value(VAULT, slug, name, value) for name, value in ENV.items()},
        healthcheck=Healthcheck(("CMD-SHELL", "true"), interval_s=1.5),
    )  # fmt: skip
    async with transaction(pool) as conn:
        product_id = await products.insert(conn, slug=slug, fields=fields, status=ProductStatus.STOPPED)
    await roll_out(pool, engine, product_id)
    made = Running(pool, engine, product_id, f"tagship-{slug}")
    await made.by_hand(TaskTemplate__Placement={"Constraints": ["node.id==nobody"]})
    return made


async def test_what_the_engine_makes_of_our_spec_is_in_step(running: Running) -> None:
    compared = await running.compare()
    assert (compared.state, compared.differences) == (DriftState.IN_STEP, ())
    await running.by_hand(TaskTemplate__Resources={"Limits": {"MemoryBytes": 64 << 20}})
    assert (await running.compare()).state is DriftState.IN_STEP, "what Tagship does not write is nobody's business"


async def test_a_service_changed_by_hand_shows_what_was_changed_and_a_redeploy_puts_it_right(running: Running) -> None:
    port = free_port()
    await running.by_hand(
        Mode={"Replicated": {"Replicas": 3}},
        TaskTemplate__ContainerSpec__Image="busybox:latest",
        TaskTemplate__ContainerSpec__Env=["KEY=another canary", "B=x=y", "DEBUG=1"],
        EndpointSpec={"Mode": "dnsrr", "Ports": [{"Protocol": "tcp", "TargetPort": 8080, "PublishedPort": port,
                                                   "PublishMode": "host"}]},
    )  # fmt: skip
    found = await running.differences()
    assert found["Replicas"] == (1, 3)
    assert found["Image"][1].startswith("busybox:latest")
    assert (found["KEY"], found["EMPTY"], found["DEBUG"]) == ((MASK, MASK), (MASK, None), (None, MASK))
    assert found["Ports"][1] == [f"{port} -> 8080/tcp (host)"]
    assert set(found) == {"Replicas", "Image", "KEY", "EMPTY", "DEBUG", "Ports"}
    compared = await running.compare()
    assert "canary" not in str(compared)
    assert "replicas" in compared.sentence or "Image" in compared.sentence
    await roll_out(running.pool, running.engine, running.id)
    assert (await running.compare()).state is DriftState.IN_STEP


async def test_the_fleet_tells_the_drifted_from_the_others_and_a_rollout_under_way_is_not_judged(
    running: Running,
) -> None:
    services = replace(api_services(running.pool), engine=running.engine)
    async with asking(services) as api:
        assert (await api.get("/drift")).json()["drifted"] == []
        await running.by_hand(Mode={"Replicated": {"Replicas": 2}})
        shown = (await api.get("/drift")).json()
        assert [one["product_id"] for one in shown["drifted"]] == [running.id]
        assert shown["compared"] == 1
        assert (await api.get(f"/products/{running.id}/drift")).json()["state"] == "drifted"
        await queue_rollout(running.pool, running.id)
        assert (await api.get("/drift")).json()["drifted"] == []
        assert (await api.get(f"/products/{running.id}/drift")).json()["state"] == "rolling_out"


async def test_a_stopped_product_is_compared_with_nothing_that_runs(running: Running) -> None:
    await roll_out(running.pool, running.engine, running.id, kind=RolloutKind.STOP)
    assert (await running.compare()).state is DriftState.IN_STEP
    await running.by_hand(Mode={"Replicated": {"Replicas": 1}})
    compared = await running.compare()
    assert (compared.state, "Stop the product once more" in compared.sentence) == (DriftState.DRIFTED, True)
    await remove_service(running.engine, running.name)
    assert (await running.compare()).state is DriftState.IN_STEP


async def test_a_service_that_is_gone_or_somebody_elses_is_said(running: Running) -> None:
    labels = (await read_spec(running.engine, running.name) or {})["Labels"]
    await running.by_hand(Labels={"team": "pay"})
    assert (await running.compare()).state is DriftState.FOREIGN
    await running.by_hand(Labels=labels)
    with suppress(AppError):
        await remove_service(running.engine, running.name)
    assert (await running.compare()).state is DriftState.MISSING
    [found] = await drifted_products(running.pool, running.engine, VAULT)
    assert "no service" in found.sentence


@asynccontextmanager
async def planning(running: Running) -> AsyncIterator[tuple[httpx.AsyncClient, Callable[..., Awaitable[Any]]]]:
    """The API with the engine, and what a plan of the product, which shall run, says."""
    await running.pool.execute("update products set wanted = true")
    async with asking(replace(api_services(running.pool), engine=running.engine)) as api:

        async def plan(**body: Any) -> Any:
            answer = await api.post(f"/products/{running.id}/plan", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        yield api, plan


def by_name(shown: Any) -> dict[str, tuple[Any, Any]]:
    return {one["path"].rpartition(".")[2]: (one["before"], one["after"]) for one in shown}


def but_the_watch(shown: Any) -> dict[str, Any]:
    """What a plan changes, besides for how long it is watched: these tests roll out with another setting."""
    return {one["path"]: one["after"] for one in shown["changes"] if "Monitor" not in one["path"]}


async def test_a_plan_shows_the_service_as_it_is_against_what_the_rollout_then_makes(running: Running) -> None:
    other = await built_image(running.pool, tag="v2")
    await running.by_hand(Mode={"Replicated": {"Replicas": 4}})
    async with planning(running) as (api, plan):
        change = {"image_id": other, "replicas": 2, "env_vars": {"KEY": "new canary", "B": MASK, "EMPTY": MASK}}
        shown = await plan(change=change)
        found = by_name(shown["changes"])
        assert (found["Replicas"], found["KEY"], found["version"]) == ((4, 2), (MASK, MASK), ("v1", "v2"))
        assert "B" not in found
        assert (shown["rolls_out"], shown["replaces_tasks"], shown["order"]) == (True, True, "stop-first")
        assert "canary" not in str(shown)
        assert (await api.patch(f"/products/{running.id}", json=change)).status_code == 200
    before = await read_spec(running.engine, running.name)
    await roll_out(running.pool, running.engine, running.id)
    made = differences(before or {}, await read_spec(running.engine, running.name) or {})
    assert {one.path: one.after for one in made if "Monitor" not in one.path and one.path != ROLLOUT} == but_the_watch(
        shown
    )


async def test_actions_are_planned_as_they_are_carried_out(running: Running) -> None:
    async with planning(running) as (_, plan):
        assert list(but_the_watch(await plan(action="redeploy"))) == ["TaskTemplate.ForceUpdate"]
        stop = await plan(action="stop")
        assert but_the_watch(stop) == {"Mode.Replicated.Replicas": 0, "EndpointSpec.Ports": []}
        assert not stop["replaces_tasks"]
        assert but_the_watch(await plan(action="start")) == {}


async def test_a_rollback_to_an_image_that_is_gone_is_refused_before_it_is_shown(running: Running) -> None:
    await running.pool.execute("update products set replicas = 2")
    await roll_out(running.pool, running.engine, running.id)
    async with planning(running) as (api, _):
        refused = await api.post(f"/products/{running.id}/plan", json={"action": "rollback"})
    assert refused.status_code == 409
    assert "cannot go back" in refused.json()["detail"]
