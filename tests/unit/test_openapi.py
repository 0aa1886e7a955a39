"""The OpenAPI document says what the service does, and its page needs nobody else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import jsonschema_rs
import pytest
from starlette.applications import Starlette

from app.api.docs import docs_routes
from app.api.openapi import document
from app.api.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from app.api.operation import Operation

PROMISED = [
    "GET /api/v1/images/github-tags",
    "POST /api/v1/images",
    "GET /api/v1/images",
    "GET /api/v1/images/{id}",
    "GET /api/v1/images/{id}/log",
    "GET /api/v1/images/{id}/builds",
    "POST /api/v1/images/{id}/cancel",
    "POST /api/v1/images/{id}/rebuild",
    "DELETE /api/v1/images/{id}",
    "GET /api/v1/images/{name}/impact",
    "GET /api/v1/local-images",
    "POST /api/v1/repositories",
    "GET /api/v1/repositories",
    "GET /api/v1/repositories/{id}",
    "PATCH /api/v1/repositories/{id}",
    "DELETE /api/v1/repositories/{id}",
    "POST /api/v1/products",
    "GET /api/v1/products",
    "GET /api/v1/products/{id}",
    "PATCH /api/v1/products/{id}",
    "DELETE /api/v1/products/{id}",
    "POST /api/v1/products/{id}/start",
    "POST /api/v1/products/{id}/stop",
    "POST /api/v1/products/{id}/redeploy",
    "POST /api/v1/products/{id}/rollback",
    "GET /api/v1/products/{id}/rollouts",
    "GET /api/v1/rollouts/{id}",
    "GET /api/v1/products/{id}/tasks",
    "POST /api/v1/repositories/{id}/check",
    "POST /api/v1/repositories/{id}/ping",
    "GET /api/v1/doctor",
    "POST /api/v1/products/{id}/plan",
    "GET /api/v1/products/{id}/drift",
    "GET /api/v1/drift",
    "GET /api/v1/products/{id}/logs",
    "GET /api/v1/deliveries",
    "GET /api/v1/deliveries/{id}",
    "GET /api/v1/deliveries/{id}/body",
    "POST /api/v1/deliveries/{id}/replay",
    "GET /api/v1/notices",
    "POST /api/v1/channels",
    "GET /api/v1/channels",
    "POST /api/v1/tokens",
    "GET /api/v1/tokens",
    "DELETE /api/v1/tokens/{id}",
    "GET /api/v1/audit",
    "POST /api/v1/retention",
]


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(OPERATIONS, prefix="/api/v1")


@pytest.fixture
async def docs() -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=docs_routes(OPERATIONS, prefix="/api/v1"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tagship") as client:
        yield client


@pytest.mark.parametrize("call", PROMISED)
def test_every_promised_call_is_described(call: str, described: dict[str, Any]) -> None:
    method, path = call.split()
    assert method.lower() in described["paths"][path]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.id)
def test_every_operation_says_what_it_does_and_who_may(operation: Operation, described: dict[str, Any]) -> None:
    shown = described["paths"][f"/api/v1{operation.path.replace(':path}', '}')}"][operation.method.lower()]
    assert len(operation.description) > 20, "a docstring says what becomes true"
    assert f"`{operation.role}`" in shown["description"]
    assert shown["operationId"] == operation.id
    assert str(operation.status.value) in shown["responses"]


def test_names_of_operations_are_their_own() -> None:
    names = [operation.id for operation in OPERATIONS]
    assert sorted(set(names)) == sorted(names)


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    found = list(references(described))
    assert found
    for reference in found:
        place: Any = described
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_schema_is_one(described: dict[str, Any]) -> None:
    for schema in described["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_examples_are_accepted_by_the_fields_that_show_them(described: dict[str, Any]) -> None:
    shown = 0
    for schema in described["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            for example in field.get("examples", ()):
                jsonschema_rs.validate(field, example)
                shown += 1
    assert shown > 10


async def test_the_page_loads_everything_from_where_it_is(docs: httpx.AsyncClient) -> None:
    page = await docs.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "//" not in page.text.replace("<!doctype html>", ""), "nothing comes from another host"
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    local = [part for part in parts if not part.startswith("data:")]
    assert len(local) >= 4
    for part in local:
        answer = await docs.get(f"/{part}")
        assert answer.status_code == 200, part
        assert answer.content
    assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_the_page_asks_for_the_document_beside_it(docs: httpx.AsyncClient) -> None:
    assert 'url: "openapi.json"' in (await docs.get("/docs/start.js")).text
    answer = await docs.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["openapi"] == "3.1.0"


def references(value: Any) -> Iterator[str]:
    """Every ``$ref`` in a document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)
