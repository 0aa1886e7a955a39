"""Registrations over the API: listed, changed and forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api_client import api_services, asking, audit_rows, refused_fields
from tests.factories import queue_build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from app.postgres.pool import Pool


@pytest.fixture
async def api(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(api_services(pool)) as client:
        yield client


async def register(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/repositories", json={"repo": "acme/bre"} | fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_only_what_is_given_changes(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await register(api, target="prod", build_args={"A": "1"})
    path = f"/repositories/{made['id']}"
    changes: list[dict[str, Any]] = [
        {"tag_pattern": "v*"},
        {"image_name": "renamed"},
        {"dockerfile": "docker/Dockerfile", "context": "src"},
        {"target": None},
        {"build_args": {}},
        {"on_moved_tag": "ignore"},
        {},
    ]
    expected = dict(made)
    for change in changes:
        answer = await api.patch(path, json=change)
        assert answer.status_code == 200, answer.text
        expected |= change
        shown = answer.json()
        assert shown | {"updated_at": ""} == expected | {"updated_at": ""}
        assert (await api.get(path)).json() == shown
    details = [row["details"] for row in await audit_rows(pool) if row["action"] == "change_repository"]
    assert details[2] == {"given": ["context", "dockerfile"]}
    assert details[-1] == {"given": []}


async def test_an_image_name_belongs_to_one_registration(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await register(api)
    await register(api, image_name="other")
    answer = await api.patch(f"/repositories/{made['id']}", json={"image_name": "other", "tag_pattern": "v*"})
    assert (answer.status_code, refused_fields(answer)) == (409, ["image_name"])
    assert (await api.get(f"/repositories/{made['id']}")).json() == made
    assert (await api.patch(f"/repositories/{made['id']}", json={"image_name": "bre"})).status_code == 200
    assert len(await audit_rows(pool)) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repo", "acme/other"),
        ("id", 7),
        ("image_name", None),
        ("image_name", "Upper"),
        ("image_name", "x" * 1_000_000),
        ("tag_pattern", ""),
        ("tag_pattern", "a\x00"),
        ("dockerfile", "../Dockerfile"),
        ("context", "/etc"),
        ("target", "$(id)"),
        ("build_args", {"A B": "x"}),
        ("build_args", ["A"]),
        ("on_moved_tag", "sometimes"),
        ("on_moved_tag", None),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_wrong_change_is_refused_by_name(api: httpx.AsyncClient, field: str, value: Any) -> None:
    made = await register(api)
    answer = await api.patch(f"/repositories/{made['id']}", json={"tag_pattern": "v*"} | {field: value})
    assert (answer.status_code, refused_fields(answer)) == (422, [field])
    assert (await api.get(f"/repositories/{made['id']}")).json() == made


async def test_a_forgotten_registration_leaves_its_images(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await register(api)
    image_id, _ = await queue_build(pool)
    assert (await api.delete(f"/repositories/{made['id']}")).status_code == 204
    assert (await api.get(f"/repositories/{made['id']}")).status_code == 404
    assert (await api.delete(f"/repositories/{made['id']}")).status_code == 404
    assert (await api.get(f"/images/{image_id}?log=false")).json()["build_status"] == "pending"
    assert (await register(api))["image_name"] == made["image_name"]


async def test_registrations_are_listed_by_repository_and_page(api: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await register(api, image_name=name)
    await register(api, repo="acme/other")
    assert [one["image_name"] for one in (await api.get("/repositories?repo=ACME/bre")).json()] == ["c", "b", "a"]
    first = await api.get("/repositories?limit=3")
    assert [one["image_name"] for one in (await api.get(first.links["next"]["url"])).json()] == ["a"]
    for query in ("repo=acme", "repo=%27%20or%201=1", "limit=0", "name=x"):
        assert (await api.get(f"/repositories?{query}")).status_code == 422
