"""The inbox as it is read, and stored deliveries decided anew."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import pytest

from app.builds.model import BuildState
from app.deliveries.reading import LARGE_BYTES
from app.github.signature import sign
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from tests.api_client import SECRET, api_services, asking, audit_rows, waits_for_a_lock
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from app.postgres.pool import Pool

A: Final = "a" * 40
B: Final = "b" * 40
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"


def push(commit: str | None = A, tag: str = "v1.0.0", **more: Any) -> bytes:
    head = {"id": commit} if commit else None
    payload = {"ref": f"refs/tags/{tag}", "before": "0" * 40, "after": "c" * 40, "head_commit": head}
    return json.dumps(payload | {"repository": {"full_name": "acme/bre"}} | more).encode()


@pytest.fixture
async def api(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(api_services(pool)) as client:
        yield client


async def deliver(
    api: httpx.AsyncClient, body: bytes, guid: str, *, event: str = "push", content_type: str = JSON
) -> int:
    """Deliver it; its id in the inbox."""
    headers = {
        "Content-Type": content_type,
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": sign(SECRET, body),
    }
    answer = await api.post("http://tagship/webhooks/github", content=body, headers=headers)
    assert answer.status_code in {200, 202, 400}, answer.text
    found: int = (await api.get("/deliveries?limit=1")).json()[0]["id"]
    return found


async def register(api: httpx.AsyncClient, **fields: Any) -> None:
    answer = await api.post("/repositories", json={"repo": "acme/bre"} | fields)
    assert answer.status_code == 201, answer.text


async def replayed(api: httpx.AsyncClient, delivery_id: int) -> dict[str, Any]:
    answer = await api.post(f"/deliveries/{delivery_id}/replay")
    assert answer.status_code == 202, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def shown(api: httpx.AsyncClient, delivery_id: int) -> dict[str, Any]:
    answer = await api.get(f"/deliveries/{delivery_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def builds(pool: Pool) -> list[tuple[str, str | None]]:
    """State and commit of every build, oldest first."""
    async with transaction(pool) as conn:
        return [(row["state"], row["commit_sha"]) for row in await conn.fetch("select * from builds order by id")]


async def end(pool: Pool, state: BuildState) -> None:
    """Let every build have ended like this."""
    async with transaction(pool) as conn:
        await conn.execute(
            "update builds set state = $1, finished_at = now(), error = 'x',"
            " exact_ref = case when $1 = 'success'::build_state then 'sha256:x' end",
            state,
        )


# ---------------------------------------------------------------- reading


async def test_the_inbox_says_what_became_of_each_delivery(pool: Pool, api: httpx.AsyncClient) -> None:
    await deliver(api, push(), "early")
    await register(api)
    await deliver(api, push(), "pushed")
    await deliver(api, b'{"zen": "x"}', "hello", event="ping")
    await deliver(api, b"{", "broken")
    found = (await api.get("/deliveries")).json()
    assert [(one["delivery"], one["event"], one["state"], len(one["builds"])) for one in found] == [
        ("broken", "push", "failed", 0),
        ("hello", "ping", "ignored", 0),
        ("pushed", "push", "accepted", 1),
        ("early", "push", "ignored", 0),
    ]
    assert [one["repo"] for one in found] == [None, None, "acme/bre", "acme/bre"]
    assert "not registered" in found[3]["reason"]
    assert found[2]["reason"] is None
    assert not any("payload" in one or "body" in one for one in found)
    for query, guids in {
        "state=ignored": ["hello", "early"],
        "repo=ACME/bre": ["pushed", "early"],
        "event=ping": ["hello"],
        "state=ignored&event=push": ["early"],
        "limit=1&before=3": ["pushed"],
    }.items():
        assert [one["delivery"] for one in (await api.get(f"/deliveries?{query}")).json()] == guids, query
    first = await api.get("/deliveries?limit=3")
    assert [one["delivery"] for one in (await api.get(first.links["next"]["url"])).json()] == ["early"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("state=done", "state"), ("repo=acme", "repo"), ("event=a%00", "event"), ("limit=0", "limit"), ("q=1", "q")],
)
async def test_a_wrong_filter_is_refused_by_name(api: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await api.get(f"/deliveries?{query}")
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["query", field]]


@pytest.mark.parametrize(
    ("given", "index"),
    [("null, 'acme/rare', null, null", "deliveries_by_repo"), ("null, null, null, null", "deliveries_pkey")],
)
async def test_a_page_is_read_by_an_index_also_when_its_statement_is_run_often(
    pool: Pool, given: str, index: str
) -> None:
    fill = """insert into deliveries (guid, event, repo, state, body)
              select n::text, 'push', case when n % 5000 = 0 then 'acme/rare' else 'acme/bre' end, 'accepted', '{}'
                from generate_series(1, 20000) n"""
    async with transaction(pool) as conn:
        await conn.execute(fill)
        await conn.execute("analyze deliveries")
        await conn.execute(f"prepare page as {load_queries('deliveries')['list_deliveries']}")
        for _ in range(8):
            await conn.execute(f"execute page ({given}, 100)")
        plan = "\n".join(row[0] for row in await conn.fetch(f"explain execute page ({given}, 100)"))
    assert index in plan, plan


async def test_the_payload_is_shown_as_json_however_it_was_sent(api: httpx.AsyncClient) -> None:
    body = push(more='é "quoted" \ud800 </script>')
    plain = await shown(api, await deliver(api, body, "json"))
    form = await shown(
        api, await deliver(api, urlencode({"payload": body.decode()}).encode(), "form", content_type=FORM)
    )
    assert plain["payload"] == form["payload"] == json.loads(body)
    assert (plain["payload_text"], form["content_type"]) == (None, FORM)


@pytest.mark.parametrize(
    ("body", "text"), [(b"{" * 20_000, "{" * 10_000), (b"\xff\x00<", "\ufffd\x00<"), (b"[1]", "[1]"), (b"", "")]
)
async def test_a_body_that_is_no_json_object_is_shown_as_text(api: httpx.AsyncClient, body: bytes, text: str) -> None:
    found = await shown(api, await deliver(api, body, "g"))
    assert (found["state"], found["payload"], found["payload_text"]) == ("failed", None, text)


async def test_json_that_is_no_push_is_shown_as_json_all_the_same(api: httpx.AsyncClient) -> None:
    found = await shown(api, await deliver(api, b'{"ref": 7}', "g"))
    assert (found["state"], found["payload"], found["payload_text"]) == ("failed", {"ref": 7}, None)


@pytest.mark.parametrize("content_type", [JSON, FORM])
@pytest.mark.parametrize("size", [300_000, 5_000_000])
async def test_a_large_payload_is_shown_whole_or_its_beginning(
    pool: Pool, api: httpx.AsyncClient, size: int, content_type: str
) -> None:
    body = push(more="é" * (size // 6))
    sent = body if content_type == JSON else urlencode({"payload": body.decode()}).encode()
    found = await shown(api, await deliver(api, sent, "g", content_type=content_type))
    assert found["size_bytes"] == len(sent)
    if content_type == JSON or len(sent) <= 1024 * 1024:
        assert found["payload"] == json.loads(body)
    else:
        assert (found["payload"], found["payload_text"]) == (None, sent[:10_000].decode())


@pytest.mark.parametrize(
    "path", ["/deliveries/999", "/deliveries/0", "/deliveries/x", "/deliveries/9223372036854775808"]
)
async def test_a_delivery_that_is_not_there_is_a_404(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 404
    assert (await api.post(f"{path}/replay")).status_code == 404


# ---------------------------------------------------------------- deciding anew


async def test_a_tag_that_was_pushed_before_its_repository_was_registered_is_built_by_a_replay(
    pool: Pool, api: httpx.AsyncClient
) -> None:
    delivery = await deliver(api, push(), "g-1")
    answer = await replayed(api, delivery)
    assert (answer["delivery"], answer["outcome"], answer["builds"]) == ("g-1", "ignored", [])
    assert "not registered" in answer["reason"]
    await register(api)
    answer = await replayed(api, delivery)
    found = await shown(api, delivery)
    assert answer == {"delivery": "g-1", "outcome": "accepted", "builds": found["builds"], "reason": None}
    assert (found["state"], found["reason"], found["replays"]) == ("accepted", None, 2)
    assert found["replayed_at"].endswith("Z")
    assert await builds(pool) == [("pending", A)]
    rows = [row for row in await audit_rows(pool) if row["action"] == "replay_delivery"]
    assert [row["details"]["builds"] for row in rows] == [[], found["builds"]]
    assert {row["subject_name"] for row in rows} == {"acme/bre@v1.0.0"}


@pytest.mark.parametrize("commit", [A, None])
@pytest.mark.parametrize(
    ("state", "again"),
    [(None, False), (BuildState.SUCCESS, False), (BuildState.FAILED, True), (BuildState.CANCELLED, True)],
)
async def test_a_replay_doubles_no_build_that_runs_or_stands(
    pool: Pool, api: httpx.AsyncClient, commit: str | None, state: BuildState | None, again: bool
) -> None:
    await register(api)
    delivery = await deliver(api, push(commit), "g-1")
    if state is not None:
        await end(pool, state)
    answer = await replayed(api, delivery)
    assert (answer["outcome"], len(answer["builds"])) == (("accepted", 1) if again else ("ignored", 0))
    assert len(await builds(pool)) == 1 + again
    found = await shown(api, delivery)
    assert (found["state"], found["reason"], len(found["builds"])) == ("accepted", None, 1 + again)


async def test_a_replay_does_not_bring_back_a_commit_that_the_tag_has_left(pool: Pool, api: httpx.AsyncClient) -> None:
    await register(api)
    old = await deliver(api, push(A), "g-1")
    await end(pool, BuildState.SUCCESS)
    await deliver(api, push(B, before=A), "g-2")
    assert (await replayed(api, old))["outcome"] == "ignored"
    assert await builds(pool) == [("success", A), ("pending", B)]


async def test_a_replay_builds_only_what_a_new_registration_adds(pool: Pool, api: httpx.AsyncClient) -> None:
    await register(api)
    delivery = await deliver(api, push(), "g-1")
    await register(api, image_name="second")
    assert len((await replayed(api, delivery))["builds"]) == 1
    assert len((await shown(api, delivery))["builds"]) == 2
    assert (await replayed(api, delivery))["builds"] == []


async def test_two_replays_at_once_queue_one_build(pool: Pool, api: httpx.AsyncClient) -> None:
    delivery = await deliver(api, push(None), "g-1")
    await register(api)
    answers = await asyncio.gather(*(replayed(api, delivery) for _ in range(4)))
    assert sorted(len(answer["builds"]) for answer in answers) == [0, 0, 0, 1]
    assert len(await builds(pool)) == 1
    assert (await shown(api, delivery))["replays"] == 4


async def test_a_registration_that_is_being_deleted_while_its_tag_arrives_costs_no_delivery(
    pool: Pool, api: httpx.AsyncClient
) -> None:
    await register(api)
    async with transaction(pool) as conn:
        await conn.execute("delete from repositories")
        arriving = asyncio.create_task(deliver(api, push(), "g-1"))
        await until(lambda: waits_for_a_lock(pool), "the delivery waits", 10)
    found = await shown(api, await arriving)
    assert (found["state"], found["builds"]) == ("ignored", [])


async def test_a_large_delivery_is_decided_anew_like_a_small_one(pool: Pool, api: httpx.AsyncClient) -> None:
    delivery = await deliver(api, push(more="x" * 2 * LARGE_BYTES), "g-1")
    await register(api)
    assert len((await replayed(api, delivery))["builds"]) == 1
    assert await builds(pool) == [("pending", A)]


async def test_what_makes_no_sense_cannot_be_decided_anew(pool: Pool, api: httpx.AsyncClient) -> None:
    delivery = await deliver(api, b"{", "g-1")
    answer = await api.post(f"/deliveries/{delivery}/replay")
    assert answer.status_code == 409
    assert "not valid JSON" in answer.json()["detail"]
    found = await shown(api, delivery)
    assert (found["state"], found["replays"], await audit_rows(pool)) == ("failed", 0, [])


async def test_a_delivery_that_failed_and_makes_sense_now_leaves_that_state(pool: Pool, api: httpx.AsyncClient) -> None:
    await register(api)
    delivery = await deliver(api, b"{", "g-1")
    async with transaction(pool) as conn:
        await conn.execute("update deliveries set body = $1", push())
    assert (await replayed(api, delivery))["outcome"] == "accepted"
    found = await shown(api, delivery)
    assert (found["state"], found["repo"], found["ref"]) == ("accepted", "acme/bre", "refs/tags/v1.0.0")
