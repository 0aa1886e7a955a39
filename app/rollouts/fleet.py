"""Comparing what is on the engine with what rollouts made: of one product, or of all of them in one call of the engine.

A rollout may begin or end between the look at the database and the look at the engine. Whatever then seems to be wrong
is looked up once more, and is not said of a product that moved on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from app.engine.shape import LABEL_PRODUCT
from app.engine.spec import service_spec
from app.engine.specs import read_spec, read_specs
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.rollouts import drift, store
from app.rollouts.drift import Described, DriftState, Standing, described_by
from app.rollouts.frozen import open_env
from app.rollouts.model import SERVICE_PREFIX, RolloutKind, RolloutState, service_target
from app.sealing import SealBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from app.engine.client import Engine
    from app.engine.compare import Difference
    from app.postgres.pool import Connection, Pool
    from app.rollouts.model import Rollout
    from app.sealing import Vault

SQL: Final = load_queries("drift")

BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one product's service stands to what Tagship last made it; ``rollout_id`` is the rollout that describes it,
    ``sentence`` what people are told. Of a difference ``before`` is what the rollout made, ``after`` what is there.
    """

    product_id: int
    slug: str
    name: str
    state: DriftState
    rollout_id: int | None
    runs: bool
    differences: tuple[Difference, ...]
    sentence: str


async def compare_product(pool: Pool, engine: Engine, vault: Vault, product_id: int) -> Comparison | None:
    """One product; None when there is none. Raises ``EngineUnavailable`` and ``SwarmUnavailable``."""
    async with transaction(pool) as conn:
        standings = await _standings(conn, ids=[product_id])
        rollouts = await _described(conn, standings)
    if not standings:
        return None
    name = SERVICE_PREFIX + standings[0].slug
    spec = await read_spec(engine, name)
    [compared] = await _still_true(pool, standings, [_compare(vault, standings[0], rollouts, spec)])
    return compared


async def compare_fleet(pool: Pool, engine: Engine, vault: Vault) -> list[Comparison]:
    """Every product, in the order of their ids: one call of the engine, and the products some at a time.

    Raises ``EngineUnavailable`` and ``SwarmUnavailable``.
    """
    compared: list[Comparison] = []
    specs = await read_specs(engine, SERVICE_PREFIX)
    async for standings, rollouts in _batches(pool):
        found = []
        for standing in standings:
            found.append(_compare(vault, standing, rollouts, specs.get(SERVICE_PREFIX + standing.slug)))
            await asyncio.sleep(0)  # a thousand variables take a while to open
        compared += await _still_true(pool, standings, found)
    return compared


async def drifted_products(pool: Pool, engine: Engine, vault: Vault) -> list[Comparison]:
    """The products whose service somebody changed, removed or took over by hand. Raises as ``compare_fleet``."""
    return [one for one in await compare_fleet(pool, engine, vault) if one.state.is_wrong]


async def _batches(pool: Pool) -> AsyncIterator[tuple[list[Standing], Mapping[int, Rollout]]]:
    after = 0
    while True:
        async with transaction(pool) as conn:
            standings = await _standings(conn, after=after)
            rollouts = await _described(conn, standings)
        if not standings:
            return
        yield standings, rollouts
        after = standings[-1].product_id


async def _standings(conn: Connection, *, after: int = 0, ids: Sequence[int] | None = None) -> list[Standing]:
    return [
        Standing(
            **dict(row)
            | {
                "newest_kind": RolloutKind(row["newest_kind"]) if row["newest_kind"] else None,
                "newest_state": RolloutState(row["newest_state"]) if row["newest_state"] else None,
            }
        )
        for row in await conn.fetch(SQL.standings, after, ids, BATCH)
    ]


async def _described(conn: Connection, standings: Sequence[Standing]) -> Mapping[int, Rollout]:
    wanted = [one.rollout_id for one in map(described_by, standings) if isinstance(one, Described)]
    return await store.read_all(conn, wanted)


def _compare(
    vault: Vault, standing: Standing, rollouts: Mapping[int, Rollout], spec: Mapping[str, Any] | None
) -> Comparison:
    described = described_by(standing)
    if isinstance(described, DriftState):
        return _comparison(standing, described, None, runs=standing.live_id is not None)
    rollout = rollouts.get(described.rollout_id)
    if rollout is None:  # between the two reads, it went with its product
        return _comparison(standing, DriftState.NOT_STARTED, None, runs=False)
    runs = described.runs
    if spec is None:
        return _comparison(standing, DriftState.MISSING if runs else DriftState.IN_STEP, rollout, runs=runs)
    if (spec.get("Labels") or {}).get(LABEL_PRODUCT) != standing.slug:
        return _comparison(standing, DriftState.FOREIGN, rollout, runs=runs)
    try:
        wanted = _wanted(vault, rollout, spec, runs=runs)
    except SealBroken as error:
        return replace(_comparison(standing, DriftState.UNREADABLE, rollout, runs=runs), sentence=f"{error}.")
    found = drift.drift(wanted, spec)
    state = DriftState.DRIFTED if found else DriftState.IN_STEP
    return _comparison(standing, state, rollout, found, runs=runs)


def _wanted(vault: Vault, rollout: Rollout, spec: Mapping[str, Any], *, runs: bool) -> dict[str, Any]:
    """The spec that the rollout would make of the service. What was not compared may be anything."""
    container_port = rollout.container_port or rollout.exposed_port or rollout.port
    env = open_env(vault, rollout.slug, rollout.env_sealed)
    target = service_target(rollout, env, container_port=container_port, monitor_s=0)
    return service_spec(replace(target, published=runs), spec)


def _comparison(
    standing: Standing, state: DriftState, rollout: Rollout | None, found: Sequence[Difference] = (), *, runs: bool
) -> Comparison:
    return Comparison(
        product_id=standing.product_id,
        slug=standing.slug,
        name=standing.name,
        state=state,
        rollout_id=rollout.id if rollout else None,
        runs=runs,
        differences=tuple(found),
        sentence=drift.sentence(state, found, standing.slug, runs=runs),
    )


async def _still_true(pool: Pool, seen: Sequence[Standing], compared: Sequence[Comparison]) -> list[Comparison]:
    wrong = [one.product_id for one in compared if one.state.is_wrong]
    if not wrong:
        return list(compared)
    async with transaction(pool) as conn:
        now = {one.product_id: one for one in await _standings(conn, ids=wrong)}
    then = {one.product_id: one for one in seen}
    return [
        _comparison(then[one.product_id], DriftState.ROLLING_OUT, None, runs=one.runs)
        if one.state.is_wrong and now.get(one.product_id) != then[one.product_id]
        else one
        for one in compared
    ]
