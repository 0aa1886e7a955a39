"""What a plan says while nothing has to be asked of the engine, what it refuses, and that it writes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from app.access.model import Role
from app.engine.client import Engine
from app.postgres.pool import transaction
from app.products.model import ProductStatus
from tests.api_client import api_services, asking, audit_rows, refused_fields, token_for
from tests.factories import built_image, product, queue_build, queue_rollout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from app.postgres.pool import Pool

MASK = "********"


@pytest.fixture
async def api(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    """The API while its engine is away."""
    async with (
        Engine.open("unix:///nowhere/docker.sock") as engine,
        asking(replace(api_services(pool), engine=engine)) as client,
    ):
        yield client


async def plan(api: httpx.AsyncClient, product_id: int, status: int = 200, **body: Any) -> Any:
    answer = await api.post(f"/products/{product_id}/plan", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_change_of_a_stopped_product_says_what_is_kept_for_its_next_start(
    pool: Pool, api: httpx.AsyncClient
) -> None:
    made, other = await product(pool, await built_image(pool, tag="v1")), await built_image(pool, tag="v2")
    change = {"image_id": other, "replicas": 3, "track": "^2", "env_vars": {"CUSTOMER": MASK, "KEY": "canary"}}
    shown = await plan(api, made, change=change)
    assert (shown["rolls_out"], shown["replaces_tasks"], shown["changes"]) == (False, False, [])
    assert {one["path"]: (one["before"], one["after"]) for one in shown["fields"]} == {
        "image": ("bre:v1", "bre:v2"),
        "replicas": (1, 3),
        "track": (None, "^2"),
        "env_vars.KEY": (None, MASK),
    }
    assert "kept for its next start" in shown["effects"][0]
    assert "canary" not in str(shown)


async def test_a_value_that_is_the_same_is_no_change_and_another_one_is(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool))
    for value in (MASK, "x"):
        assert (await plan(api, made, change={"env_vars": {"CUSTOMER": value}}))["effects"] == ["Nothing changes."]
    [found] = (await plan(api, made, change={"env_vars": {"CUSTOMER": "y"}}))["fields"]
    assert (found["path"], found["before"], found["after"], found["secret"]) == ("env_vars.CUSTOMER", MASK, MASK, True)


async def test_a_new_name_reaches_no_container(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool), wanted=True, status=ProductStatus.RUNNING)
    shown = await plan(api, made, change={"name": "Other"})
    assert (shown["rolls_out"], shown["effects"]) == (False, ["The containers go on running as they are."])


async def test_nothing_is_written(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool))
    before = (await api.get(f"/products/{made}")).json()
    await plan(api, made, change={"replicas": 9, "port": 7777, "env_vars": {"A": "b"}})
    assert (await api.get(f"/products/{made}")).json() == before
    assert (await api.get(f"/products/{made}/rollouts")).json() == []
    assert await audit_rows(pool) == []


async def test_what_would_be_refused_is_refused_in_the_same_words(pool: Pool, api: httpx.AsyncClient) -> None:
    image_id = await built_image(pool)
    made, other = await product(pool, image_id), await product(pool, image_id)
    port = (await api.get(f"/products/{other}")).json()["port"]
    unbuilt, _ = await queue_build(pool)
    for change in (
        {"port": port},
        {"image_id": unbuilt},
        {"image_id": 99999},
        {"image_id": None, "track": "^1"},
        {"env_vars": {"NEW": MASK}},
    ):
        planned = await api.post(f"/products/{made}/plan", json={"change": change})
        done = await api.patch(f"/products/{made}", json=change)
        assert planned.status_code == done.status_code >= 400, change
        assert planned.json()["detail"].replace("change.", "") == done.json()["detail"].replace("change.", "")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "explode"}, "action"),
        ({"change": {"port": 0}}, "change"),
        ({"change": {"colour": "red"}}, "change"),
        ({"action": "stop", "change": {"port": 1}}, "change"),
        ({"action": "redeploy", "to": 1}, "to"),
        ({"to": 1}, "to"),
        ({"action": "rollback", "to": "1"}, "to"),
    ],
)
async def test_bad_input_is_named(pool: Pool, api: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    made = await product(pool, await built_image(pool))
    answer = await api.post(f"/products/{made}/plan", json=body)
    assert answer.status_code == 422, answer.text
    assert refused_fields(answer) == [field]


async def test_without_an_engine_what_would_reach_it_is_not_planned(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool), wanted=True, status=ProductStatus.RUNNING)
    for body in ({"change": {"replicas": 2}}, {"action": "redeploy"}, {"action": "stop"}, {"action": "rollback"}):
        assert "engine" in (await plan(api, made, 503, **body))["detail"]
    for path in (f"/products/{made}/drift", "/drift"):
        assert (await api.get(path)).status_code == 503


async def test_a_product_on_its_way_out_has_no_plans(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool), status=ProductStatus.DELETING)
    assert "being deleted" in (await plan(api, made, 409, change={"replicas": 2}))["detail"]
    await plan(api, 99999, 404, change={})
    assert (await api.get("/products/99999/drift")).status_code == 404


async def test_variables_that_open_no_more_are_said_and_not_a_crash(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await product(pool, await built_image(pool))
    async with transaction(pool) as conn:
        await conn.execute('update products set env_sealed = \'{"KEY": "v1:x:y:z"}\'')
    assert "KEY" in (await plan(api, made, 409, change={"replicas": 2}))["detail"]


async def test_who_may_only_read_may_see_drift_and_guess_no_values(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    await queue_rollout(pool, made)
    async with asking(api_services(pool), await token_for(pool, Role.READ)) as reader:
        assert (await reader.post(f"/products/{made}/plan", json={})).status_code == 403
        assert (await reader.get("/products/99999/drift")).status_code == 404
