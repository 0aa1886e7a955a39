"""The audit log as it is read: filtered, page by page, by its indexes, and with who pushed a tag."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from app.access import audit
from app.access.model import Act, Subject, Via
from app.github.signature import sign
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from tests.api_client import ADDRESS, SECRET, api_services, asking, audit_rows, refused_fields

if TYPE_CHECKING:
    import httpx

    from app.postgres.pool import Pool

ZERO: Final = "0" * 40


async def line(pool: Pool, actor: str, action: str, subject: Subject, **details: Any) -> None:
    async with transaction(pool) as conn:
        await audit.record(conn, Act(actor, None, Via.API, None, action), subject, **details)


async def test_it_is_filtered_by_who_what_and_to_what(pool: Pool) -> None:
    await line(pool, "ada", "change_product", Subject("product", 1, "allianz"), given=["port"])
    await line(pool, "ada", "change_product", Subject("product", 2, "axa"))
    await line(pool, "bob", "start_product", Subject("product", 1, "allianz"))
    await line(pool, "bob", "revoke_token", Subject("token", 1, "ci"))
    expected = {
        "": [4, 3, 2, 1],
        "actor=ada": [2, 1],
        "action=start_product": [3],
        "subject=product": [3, 2, 1],
        "subject=product&subject_id=1": [3, 1],
        "actor=bob&subject=product": [3],
        "actor=' or 1=1 --": [],
        "before=3": [2, 1],
        "before=3&limit=1": [2],
    }
    async with asking(api_services(pool)) as api:
        for query, ids in expected.items():
            assert [row["id"] for row in (await api.get(f"/audit?{query}")).json()] == ids, query
        oldest = (await api.get("/audit?before=2")).json()[0]
    assert oldest.pop("at").endswith("Z")
    assert oldest == {
        "id": 1,
        "actor": "ada",
        "token_id": None,
        "via": "api",
        "address": None,
        "action": "change_product",
        "subject": "product",
        "subject_id": 1,
        "subject_name": "allianz",
        "details": {"given": ["port"]},
    }


async def test_an_address_that_a_proxy_makes_up_does_not_fill_the_log(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await audit.record(conn, Act("ada", None, Via.API, "x" * 60_000, "change_product"), Subject("product", 1, "a"))
    async with asking(api_services(pool)) as api:
        assert [row["address"] for row in (await api.get("/audit")).json()] == ["x" * audit.LONGEST_ADDRESS]


async def test_pages_follow_each_other_and_keep_the_filter(pool: Pool) -> None:
    for number in range(7):
        await line(pool, "ada" if number % 2 else "bob", "x", Subject("token", number, "t"))
    async with asking(api_services(pool)) as api:
        answer, seen = await api.get("/audit?actor=bob&limit=2"), []
        while True:
            seen += [row["id"] for row in answer.json()]
            if "next" not in answer.links:
                break
            answer = await api.get(answer.links["next"]["url"])
    assert seen == [7, 5, 3, 1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("before=0", "before"),
        ("before=9223372036854775808", "before"),
        ("subject_id=-1", "subject_id"),
        ("subject_id=1e3", "subject_id"),
        ("actor=a%00b", "actor"),
        ("action=a%0Ab", "action"),
        ("subject=" + "x" * 256, "subject"),
        ("who=ada", "who"),
        ("actor=a&actor=b", "actor"),
    ],
)
async def test_a_wrong_filter_is_refused_by_name(pool: Pool, query: str, field: str) -> None:
    async with asking(api_services(pool)) as api:
        answer = await api.get(f"/audit?{query}")
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["query", field]]


@pytest.mark.parametrize(
    ("given", "index"),
    [
        ("'ada', null, null, null", "audit_by_actor"),
        ("null, 'rare', null, null", "audit_by_action"),
        ("null, null, 'product', 7", "audit_by_subject"),
        ("null, null, null, null", "audit_log_pkey"),
    ],
)
async def test_a_page_is_read_by_an_index_also_when_its_statement_is_run_often(
    pool: Pool, given: str, index: str
) -> None:
    """PostgreSQL plans a prepared statement anew for its values five times, and then may choose one plan for all."""
    fill = """insert into audit_log (actor, via, action, subject, subject_id, subject_name)
              select case when n % 5000 = 0 then 'ada' else 'bob' end, 'api',
                     case when n % 5000 = 7 then 'rare' else 'x' end, 'product', n % 3000, 'p'
                from generate_series(1, 30000) n"""
    async with transaction(pool) as conn:
        await conn.execute(fill)
        await conn.execute("analyze audit_log")
        await conn.execute(f"prepare page as {load_queries('audit')['list_audit']}")
        for _ in range(8):
            await conn.execute(f"execute page ({given}, null, 100)")
        plan = "\n".join(row[0] for row in await conn.fetch(f"explain execute page ({given}, null, 100)"))
    assert index in plan, plan
    assert "Seq Scan" not in plan, plan


# ---------------------------------------------------------------- by which door


async def test_the_command_line_is_told_apart_from_other_programs(pool: Pool) -> None:
    async with asking(api_services(pool), **{"User-Agent": "tagship-cli/0.1"}) as api:
        await api.post("/repositories", json={"repo": "acme/bre"})
    [row] = await audit_rows(pool)
    assert (row["actor"], row["via"], row["token_id"], row["action"]) == ("admin", "cli", None, "register")


def push(**changes: Any) -> bytes:
    payload = {
        "ref": "refs/tags/v1.0.0",
        "before": ZERO,
        "after": "a" * 40,
        "head_commit": {"id": "a" * 40},
        "repository": {"full_name": "acme/bre"},
        "pusher": {"name": "octocat"},
        "sender": {"login": "hubot"},
    } | changes
    return json.dumps({name: value for name, value in payload.items() if value is not None}).encode()


async def deliver(api: httpx.AsyncClient, body: bytes, guid: str = "g-1") -> httpx.Response:
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": sign(SECRET, body),
    }
    return await api.post("http://tagship/webhooks/github", content=body, headers=headers)


@pytest.mark.parametrize(
    ("changes", "actor"),
    [
        ({}, "octocat"),
        ({"pusher": None}, "hubot"),
        ({"pusher": None, "sender": None}, "github"),
        ({"pusher": {"name": ""}, "sender": []}, "github"),
        ({"pusher": {"name": 7}, "sender": {"login": "a\x00b"}}, "github"),
        ({"pusher": "octocat", "sender": {"login": "\ud800"}}, "github"),
        ({"pusher": {"name": "x" * 5000}}, "x" * 100),
    ],
)
async def test_an_accepted_tag_push_is_written_down_with_who_pushed(
    pool: Pool, changes: dict[str, Any], actor: str
) -> None:
    async with asking(api_services(pool)) as api:
        await api.post("/repositories", json={"repo": "acme/bre"})
        answer = await deliver(api, push(**changes))
        assert answer.status_code == 202, answer.text
        assert (await deliver(api, push(**changes))).json()["outcome"] == "duplicate"
    [_, row] = await audit_rows(pool)
    assert (row["actor"], row["via"], row["address"], row["action"]) == (actor, "webhook", ADDRESS, "push_tag")
    assert (row["subject"], row["subject_name"]) == ("delivery", "acme/bre@v1.0.0")
    assert row["details"] == {"guid": "g-1", "builds": answer.json()["builds"]}


async def test_deliveries_that_change_nothing_are_not_written_down(pool: Pool) -> None:
    async with asking(api_services(pool)) as api:
        assert (await deliver(api, push(), "unregistered")).json()["outcome"] == "ignored"
        await deliver(api, b"[]", "unreadable")
        refused = await api.post("http://tagship/webhooks/github", content=push())
        assert refused.status_code == 401
    assert await audit_rows(pool) == []


async def test_a_webhook_needs_no_token_and_none_helps_it(pool: Pool) -> None:
    async with asking(api_services(pool), token="x") as api:
        assert (await deliver(api, push())).status_code == 200
        assert refused_fields(await api.get("/audit")) == []
