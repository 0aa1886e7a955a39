"""Products through the API on a real database; the engine is away, as it may be."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from app.access import audit
from app.api.services import Services
from app.engine.client import Engine
from app.postgres.listen import Wakeups
from app.postgres.pool import transaction
from app.products import store
from app.products.model import ProductStatus
from app.receivers.client import Sender
from app.rollouts import store as rollouts
from app.rollouts.model import RolloutKind, RolloutReason, RolloutState, rollback_target
from app.settings import load_settings
from app.web import create_app
from tests.factories import (
    VAULT,
    built_image,
    claim_rollout,
    claimed_build,
    product,
    queue_build,
    queue_rollout,
    succeed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.github.client import GitHubClient
    from app.postgres.pool import Pool
    from app.rollouts.model import RolloutId

TOKEN = "0123456789abcdef"


@pytest.fixture
async def api(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(pool) as client:
        yield client


@asynccontextmanager
async def client_of(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with Engine.open("unix:///nowhere/docker.sock") as engine:
        services = Services(
            settings=load_settings({}),
            pool=pool,
            engine=engine,
            github=cast("GitHubClient", None),
            wakeups=Wakeups(""),
            vault=VAULT,
            api_token=TOKEN,
            stalled=list,
            stopping=asyncio.Event(),
            sender=Sender(),
            registry=None,
        )
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)),
            base_url="http://tagship/api/v1",
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as client:
            yield client


async def ask(
    api: httpx.AsyncClient, method: str, path: str, body: object = None, status: int = 200, **headers: str
) -> Any:
    answer = await api.request(method, path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def rolled_out(pool: Pool, product_id: int, state: RolloutState = RolloutState.DONE) -> RolloutId:
    """A rollout of the product as it is, ended in this state."""
    rollout_id = await queue_rollout(pool, product_id)
    claimed = await claim_rollout(pool)
    assert claimed is not None
    lease, rollout = claimed
    good = state is RolloutState.DONE
    async with transaction(pool) as conn:
        await rollouts.mark_converging(conn, lease, "service", 8080)
        if not good:
            await rollouts.record_failure(conn, lease, "for a reason", [])
        live = rollout_id if good else rollout.live_rollout_id
        await rollouts.settle(conn, lease, state, status="running" if live else "failed", live=live)
    return rollout_id


async def audited(pool: Pool) -> list[tuple[str, str, dict[str, Any]]]:
    async with transaction(pool) as conn:
        return [(one.action, one.subject_name, dict(one.details)) for one in reversed(await audit.entries(conn))]


def wish(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"name": "Allianz", "slug": f"allianz-{number}", "port": 9000 + number} | fields


@pytest.mark.parametrize(("same", "other"), [("slug", "port"), ("port", "slug")])
async def test_of_twenty_that_want_the_same_one_gets_it(
    pool: Pool, api: httpx.AsyncClient, same: str, other: str
) -> None:
    image_id = await built_image(pool)
    wishes = [wish(number, image_id=image_id) | {same: wish()[same]} for number in range(20)]
    answers = await asyncio.gather(*[api.post("/products", json=one) for one in wishes])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    refusals = [answer.json() for answer in answers if answer.status_code == 409]
    assert {error["loc"][0] for refusal in refusals for error in refusal["errors"]} == {same}
    assert all("is taken by product " in refusal["detail"] for refusal in refusals)
    assert len(await ask(api, "GET", "/products")) == len(await audited(pool)) == 1
    assert other != same


async def test_the_port_of_what_runs_stays_taken_while_a_change_fails(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool))
    old = (await ask(api, "GET", f"/products/{made}"))["port"]
    good = await rolled_out(pool, made)
    await ask(api, "PATCH", f"/products/{made}", {"port": 7001})
    assert (await ask(api, "GET", f"/products/{made}"))["status"] == "deploying"
    await rolled_out(pool, made, RolloutState.ROLLED_BACK)
    shown = await ask(api, "GET", f"/products/{made}")
    assert (shown["port"], shown["live"]["port"], shown["live"]["rollout_id"]) == (7001, old, good)
    assert (shown["live"]["container_port"], shown["container_port"]) == (8080, None)
    for port in (old, 7001):
        refused = await ask(api, "POST", "/products", wish(port=port, image_id=shown["image_id"]), 409)
        assert refused["detail"] == f"port: {port} is taken by product {shown['slug']}"
    other = await product(pool, shown["image_id"])
    refused = await ask(api, "PATCH", f"/products/{other}", {"port": old}, 409)
    assert refused["errors"][0]["loc"] == ["port"]
    assert (await ask(api, "GET", f"/products/{other}"))["port"] != old
    assert (await ask(api, "PATCH", f"/products/{made}", {"port": old}))["port"] == old


async def test_products_are_listed_in_pages_and_narrowed_down(pool: Pool, api: httpx.AsyncClient) -> None:
    image_id = await built_image(pool)
    ids = [await product(pool, image_id) for _ in range(3)]
    await product(pool, await built_image(pool), status=ProductStatus.RUNNING)
    assert len(await ask(api, "GET", "/products")) == 4
    assert [one["id"] for one in await ask(api, "GET", f"/products?image_id={image_id}")] == ids[::-1]
    assert len(await ask(api, "GET", "/products?status=running")) == 1
    slug = (await ask(api, "GET", f"/products/{ids[0]}"))["slug"]
    assert [one["id"] for one in await ask(api, "GET", f"/products?slug={slug}")] == [ids[0]]
    seen: list[int] = []
    url: str | None = "/products?status=stopped&limit=2"
    while url:
        answer = await api.get(url)
        seen += [one["id"] for one in answer.json()]
        url = answer.links["next"]["url"] if "next" in answer.links else None
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "path",
    [
        "/products?status=up",
        "/products?limit=0",
        "/products?image_id=x",
        "/products/1/logs?tail=-1",
        "/products/1/logs?tail=10001",
        "/images/bre/impact",
        "/images/bre/impact?tag=a..b",
    ],
)
async def test_wrong_parameters_are_named(api: httpx.AsyncClient, path: str) -> None:
    refused = await ask(api, "GET", path, status=422)
    assert refused["errors"][0]["loc"][0] == "query"


async def test_a_product_that_never_started_is_deleted_without_an_engine(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await ask(api, "POST", "/products", wish(image_id=await built_image(pool), env_vars={"KEY": "canary"}), 201)
    await ask(api, "DELETE", f"/products/{made['id']}", status=204)
    await ask(api, "GET", f"/products/{made['id']}", status=404)
    await ask(api, "DELETE", f"/products/{made['id']}", status=404)
    log = await audited(pool)
    assert [(action, name) for action, name, _ in log] == [
        ("create_product", made["slug"]),
        ("delete_product", made["slug"]),
    ]
    assert log[0][2]["env"] == ["KEY"]
    assert "canary" not in str(log)


async def test_without_an_engine_nothing_is_begun(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool))
    await rolled_out(pool, made)
    before = await ask(api, "GET", f"/products/{made}")
    await ask(api, "DELETE", f"/products/{made}", status=503)
    for action in ("start", "stop", "redeploy", "rollback"):
        await ask(api, "POST", f"/products/{made}/{action}", status=503)
    await ask(api, "GET", f"/products/{made}/tasks", status=503)
    await ask(api, "GET", f"/products/{made}/logs", status=503)
    assert await ask(api, "GET", f"/products/{made}") == before
    assert await audited(pool) == []


async def test_a_removal_gives_way_to_nothing_and_takes_the_product_along(pool: Pool, api: httpx.AsyncClient) -> None:
    image_id = await built_image(pool, tag="v6.0.0")
    made = await product(pool, image_id, wanted=True, track="^6")
    await rolled_out(pool, made)
    under_way = await queue_rollout(pool, made)
    async with transaction(pool) as conn:
        assert not await store.delete_unstarted(conn, made)
        [removal] = await rollouts.enqueue(conn, [made], kind=RolloutKind.REMOVE, reason=RolloutReason.DELETE)
        assert await rollouts.removal_of(conn, made) == removal
    assert (await ask(api, "GET", f"/rollouts/{under_way}"))["state"] == "superseded"
    assert (await ask(api, "GET", f"/products/{made}"))["status"] == "deleting"
    assert "is being deleted" in (await ask(api, "PATCH", f"/products/{made}", {"replicas": 2}, 409))["detail"]
    assert await succeed(pool, await claimed_build(pool, tag="v6.1.0")) == []
    claimed = await claim_rollout(pool)
    assert claimed is not None
    assert (claimed[1].id, claimed[1].wanted) == (removal, 0)
    async with transaction(pool) as conn:
        assert await rollouts.finish_removal(conn, claimed[0])
    await ask(api, "GET", f"/products/{made}", status=404)
    await ask(api, "GET", f"/rollouts/{under_way}", status=404)


async def test_only_the_holder_of_the_lease_ends_a_removal(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    await queue_rollout(pool, made, RolloutKind.STOP)
    claimed = await claim_rollout(pool)
    assert claimed is not None
    async with transaction(pool) as conn:
        await rollouts.enqueue(conn, [made], kind=RolloutKind.REMOVE, reason=RolloutReason.DELETE)
    removal = await claim_rollout(pool)
    assert removal is not None
    async with transaction(pool) as conn:
        assert not await rollouts.finish_removal(conn, claimed[0])
        await rollouts.hand_back(conn, removal[0])
        assert not await rollouts.finish_removal(conn, removal[0])
        assert await store.read(conn, made) is not None


async def test_a_product_held_on_an_older_build_runs_it_until_its_image_is_built_again(
    pool: Pool, api: httpx.AsyncClient
) -> None:
    image_id = await built_image(pool, tag="v7.0.0")
    made = await product(pool, image_id, wanted=True)
    first = await rolled_out(pool, made)
    await succeed(pool, await claimed_build(pool, tag="v7.0.0"))
    await rolled_out(pool, made)
    async with transaction(pool) as conn:
        target = await rollouts.read(conn, first)
        assert target is not None
        await conn.execute("update products set held_build_id = $2 where id = $1", made, target.build_id)
    for body in ({"replicas": 2}, {"name": "Other"}):
        assert (await ask(api, "PATCH", f"/products/{made}", body))["held_build_id"] == target.build_id
        assert (await ask(api, "GET", f"/products/{made}/rollouts?limit=1"))[0]["image"] == target.image
    await ask(api, "PATCH", f"/products/{made}", {"image_id": image_id})
    newest = (await ask(api, "GET", f"/products/{made}/rollouts?limit=1"))[0]
    assert (newest["reason"], newest["image"] == target.image) == ("changed", False)
    async with transaction(pool) as conn:
        await conn.execute("update products set held_build_id = $2 where id = $1", made, target.build_id)
    [rebuilt] = await succeed(pool, await claimed_build(pool, tag="v7.0.0"), digest="sha256:fresh")
    assert (await ask(api, "GET", f"/rollouts/{rebuilt}"))["image"] == "sha256:fresh"
    assert (await ask(api, "GET", f"/products/{made}"))["held_build_id"] is None


async def test_what_a_product_has_been_is_told_apart_by_all_that_a_rollback_restores(
    pool: Pool, api: httpx.AsyncClient
) -> None:
    made = await product(pool, await built_image(pool))
    changes: list[dict[str, Any]] = [
        {"replicas": 3},
        {"port": 7100},
        {"container_port": 81},
        {"publish_mode": "ingress"},
        {"env_vars": {"CUSTOMER": "other"}},
        {"healthcheck": {"test": "true"}},
        {"image_id": await built_image(pool)},
    ]
    await rolled_out(pool, made)
    for change in changes:
        await ask(api, "PATCH", f"/products/{made}", change)
        await rolled_out(pool, made)
    await ask(api, "PATCH", f"/products/{made}", {"name": "Other", "env_vars": {"CUSTOMER": "********"}})
    await rolled_out(pool, made)
    async with transaction(pool) as conn:
        past, wanted = await rollouts.past_deploys(conn, made)
    assert len({one.fingerprint for one in past}) == len(changes) + 1
    assert past[-1].fingerprint == past[-2].fingerprint == wanted


async def test_a_second_rollback_goes_further_back_although_the_first_is_under_way(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    ran = []
    for replicas in (1, 2, 3):
        await pool.execute("update products set replicas = $2 where id = $1", made, replicas)
        ran.append(await rolled_out(pool, made))
    for replicas, target in ((2, ran[0]), (1, None)):
        await pool.execute("update products set replicas = $2 where id = $1", made, replicas)
        async with transaction(pool) as conn:
            await rollouts.enqueue(conn, [made], kind=RolloutKind.DEPLOY, reason=RolloutReason.ROLLBACK)
            assert rollback_target(*await rollouts.past_deploys(conn, made)) == target


async def test_changes_are_audited_by_the_names_of_fields_and_variables(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool))
    await ask(api, "PATCH", f"/products/{made}", {"env_vars": {"CUSTOMER": "********", "KEY": "canary"}, "replicas": 2})
    await ask(api, "PATCH", f"/products/{made}", {"replicas": 2})
    [(action, _, details)] = await audited(pool)
    assert (action, details) == ("change_product", {"changed": ["env_vars", "replicas"], "env": ["KEY"]})


async def test_impact_tells_what_building_the_tag_then_does(pool: Pool, api: httpx.AsyncClient) -> None:
    old, mid = (
        await built_image(pool, name="team/shop", tag="v1.2.0"),
        await built_image(pool, name="team/shop", tag="v1.9.0"),
    )
    running = await product(pool, old, wanted=True, track="^1")
    stopped = await product(pool, old, track="v1.*")
    fixed = await product(pool, old, wanted=True)
    ahead = await product(pool, mid, wanted=True, track="^1")
    shown = await ask(api, "GET", "/images/team/shop/impact?tag=v1.3.0")
    assert {(one["id"], one["from"], one["to"], one["runs"]) for one in shown["moves"]} == {
        (running, "v1.2.0", "v1.3.0", True),
        (stopped, "v1.2.0", "v1.3.0", False),
    }
    reasons = {one["id"]: one["reason"] for one in shown["stays"]}
    assert reasons[fixed] == "it is pinned to v1.2.0 and tracks nothing"
    assert reasons[ahead] == "v1.3.0 is not newer than v1.9.0, which it is pinned to"
    assert await ask(api, "GET", "/images/team%2Fshop/impact?tag=v1.3.0") == shown
    again = await ask(api, "GET", "/images/team/shop/impact?tag=v1.2.0")
    assert {one["id"]: one["effect"] for one in again["moves"]} == dict.fromkeys(
        (running, stopped, fixed), "image_built"
    )
    queued = await succeed(pool, await claimed_build(pool, name="team/shop", tag="v1.3.0"))
    assert [(await ask(api, "GET", f"/rollouts/{one}"))["product_id"] for one in queued] == [running]


async def test_impact_of_a_name_that_nobody_knows_is_404(pool: Pool, api: httpx.AsyncClient) -> None:
    await queue_build(pool, name="bre")
    assert (await ask(api, "GET", "/images/bre/impact?tag=v1"))["moves"] == []
    for name in ("none", "team/none", "a%00b"):
        await ask(api, "GET", f"/images/{name}/impact?tag=v1", status=404)
