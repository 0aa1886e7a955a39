"""Whatever is sent in any field of any call: it is taken as it is, or refused with a problem that names the field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from app.api.operations import OPERATIONS
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from app.api.operation import Operation
    from tests.world import World

MEGABYTE: Final = "n" * 1_000_000
STRANGE: Final = {
    "null": "null",
    "true": "true",
    "minus one": "-1",
    "zero": "0",
    "half": "0.5",
    "too large for a bigint": str(2**63),
    "too large for a float": "1e400",
    "a list": "[]",
    "a list of lists": "[[[]]]",
    "an object": "{}",
    "an object in an object": '{"a": {"b": {}}}',
    "empty": '""',
    "blank": '" "',
    "nul": r'"a\u0000b"',
    "newline": r'"a\nb"',
    "escape": r'"\u001b[31mred"',
    "half a surrogate": r'"\ud800"',
    "right to left": r'"a\u202eb"',
    "accents": '"Zürich"',
    "digits of another script": '"١٢٣"',
    "a megabyte": f'"{MEGABYTE[:900_000]}"',
    "more than a megabyte": f'"{MEGABYTE * 2}"',
    "sql": r"""'"'; drop table products; --"'""".strip("'"),
    "shell": '"$(touch /tmp/x) `id` ; rm -rf / | sh"',
    "go template": '"{{.Service.Name}}"',
    "path": '"../../etc/passwd"',
    "url": '"http://user:pass@169.254.169.254/"',
    "nan": "NaN",
    "deep": "[" * 2000 + "]" * 2000,
}
REFUSALS: Final = {400, 403, 404, 409, 413, 415, 422}
TABLES: Final = ("repositories", "docker_images", "builds", "products", "rollouts", "channels")


def valid_bodies(ids: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """A body that each operation accepts, or would but for what it names."""
    return {
        "register": {"repo": "acme/other", "image_name": "other"},
        "change_repository": {"tag_pattern": "v*"},
        "create_image": {"repo": "acme/nowhere", "tag": "v1"},
        "create_product": {"name": "Another", "slug": "another", "port": free_port()},
        "change_product": {"name": "Product"},
        "rollback_product": {"to": ids["rollout"]},
        "plan_product": {"change": {"replicas": 2}},
        "create_channel": {"name": "other", "kind": "slack", "url": "http://127.0.0.1:9/hook"},
        "change_channel": {"name": "ops"},
        "create_token": {"name": "other", "role": "read"},
    }


WITH_BODY: Final = [operation for operation in OPERATIONS if operation.body is not None]
WITH_QUERY: Final = [operation for operation in OPERATIONS if operation.query is not None and operation.method == "GET"]


@pytest.fixture
async def ids(world: World) -> dict[str, int]:
    """One thing of each kind to ask about."""
    repository = await world.register()
    product = await world.post("/products", {"name": "P", "slug": f"p-{world.run}", "port": free_port()}, 201)
    channel = await world.post("/channels", {"name": "ops", "kind": "slack", "url": "http://127.0.0.1:9/h"}, 201)
    return {"repositories": repository["id"], "products": product["id"], "channels": channel["id"], "rollout": 1}


def test_every_call_with_a_body_is_tried() -> None:
    assert {operation.id for operation in WITH_BODY} == set(valid_bodies({"rollout": 1}))


@pytest.mark.timeout(300)
async def test_no_value_of_any_field_breaks_anything(world: World, ids: dict[str, int]) -> None:
    bodies = valid_bodies(ids)
    for operation in WITH_BODY:
        assert operation.body is not None
        for field in operation.body.model_fields:
            before = await counted(world)
            for name, text in STRANGE.items():
                rest = json.dumps({key: value for key, value in bodies[operation.id].items() if key != field})[1:]
                comma = "" if rest == "}" else ", "
                answer = await send(world, operation, ids, f'{{"{field}": {text}{comma}{rest}')
                if not answer.is_success:
                    judge(answer, f"{operation.id}: {field} is {name}", field)
                elif answer.status_code == 201:
                    await forget(world, answer)
            assert await counted(world) == before, f"{operation.id} left something of a strange {field} behind"


@pytest.mark.parametrize("body", ["", "null", "[]", '"x"', "{", '{"a": 1}', '{"name": "x"} {}', "\ufeff{}", "{'a': 1}"])
async def test_no_body_that_is_none_breaks_anything(world: World, ids: dict[str, int], body: str) -> None:
    for operation in WITH_BODY:
        if operation.id == "rollback_product" and body == "":
            continue  # nothing needs to be said there
        answer = await send(world, operation, ids, body)
        judge(answer, f"{operation.id} with {body!r}")


async def test_no_query_breaks_anything(world: World, ids: dict[str, int]) -> None:
    values = ["", "-1", "0", "1.5", "x", "999999999999999999999", "%00", "%ff", "null", "a" * 5000, "'--", "{{x}}"]
    for operation in WITH_QUERY:
        assert operation.query is not None
        for field in operation.query.model_fields:
            if field == "follow":
                continue  # a stream without end is no refusal
            for value in values:
                answer = await world.api.get(f"{filled(operation, ids)}?{field}={value}")
                if not answer.is_success:
                    judge(answer, f"{operation.id}?{field}={value[:20]}", field)
        unknown = await world.api.get(f"{filled(operation, ids)}?surprise=1")
        judge(unknown, f"{operation.id}?surprise=1", "surprise")


async def test_no_id_breaks_anything(world: World) -> None:
    for operation in OPERATIONS:
        if "{id}" not in operation.path:
            continue
        for text in ("0", "-1", "1.0", "x", str(2**63), "9" * 400, "%00", "%e2%82%ac", "1;drop", "%2e%2e", "%d9%a1"):
            answer = await world.api.request(operation.method, operation.path.replace("{id}", text))
            judge(answer, f"{operation.id} of {text}")


async def send(world: World, operation: Operation, ids: Mapping[str, int], body: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    content = body.encode("utf-8", "surrogatepass")
    return await world.api.request(operation.method, filled(operation, ids), content=content, headers=headers)


def filled(operation: Operation, ids: Mapping[str, int]) -> str:
    """The operation's path, about a thing that is there where there is one."""
    kind = operation.path.split("/")[1]
    return operation.path.replace("{id}", str(ids.get(kind, 1))).replace("{name:path}", "bre")


def judge(answer: httpx.Response, what: str, field: str | None = None) -> None:
    """A refusal is a 4xx problem, and one for a wrong field names it."""
    assert answer.status_code in REFUSALS, f"{what}: {answer.status_code} {answer.text[:300]}"
    assert answer.headers["content-type"] == "application/problem+json", what
    problem = answer.json()
    assert problem["status"] == answer.status_code, what
    assert problem["detail"], what
    assert len(answer.text) < 10_000, f"{what}: the refusal repeats what was sent"
    if answer.status_code == 422 and field is not None:
        assert any(field in error["loc"] for error in problem["errors"]), f"{what}: {answer.text[:300]}"


async def counted(world: World) -> dict[str, int]:
    async with world.services.pool.acquire() as conn:
        return {table: await conn.fetchval(f"select count(*) from {table}") for table in TABLES}


async def forget(world: World, answer: httpx.Response) -> None:
    """Take away what an accepted body made, so that the next one finds its name free."""
    gone = await world.api.delete(f"{answer.request.url.path}/{answer.json()['id']}".removeprefix("/api/v1"))
    assert gone.status_code == 204, gone.text
