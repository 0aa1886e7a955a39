"""What /deliveries and /deliveries/{id} show of what GitHub sent, to whom, and what hostile text becomes there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from app.access.model import Role
from app.dashboard import deliveries, payloads
from app.deliveries.store import store_unreadable, take_in
from app.github.payload import parse_event
from app.postgres.pool import connect, transaction
from app.repositories.model import MovedTagPolicy
from app.repositories.recipe import Recipe
from app.repositories.store import insert as insert_repository
from app.rollouts.model import RolloutState
from tests.api_client import api_services, asking, token_for
from tests.factories import claim_build, product, succeed
from tests.pages import page_of, signed_in, words
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Dedicated, Pool

HOSTILE: Final = '"><script>alert(1)</script>{{ 7 * 7 }}&amp;'
JSON: Final = "application/json"
MIB: Final = 1024 * 1024


async def deliver(pool: Pool, tag: str = "v1", *, repo: str = "acme/bre", **more: Any) -> int:
    """A pushed tag as it is taken in; the delivery's id."""
    payload = {"ref": f"refs/tags/{tag}", "before": "0" * 40, "after": "b" * 40, "head_commit": {"id": "b" * 40}}
    body = json.dumps(payload | {"repository": {"full_name": repo}, "pusher": {"name": "ci-bot"}} | more).encode()
    parsed = parse_event("push", JSON, body)
    async with transaction(pool) as conn:
        await take_in(conn, guid=f"{repo}@{tag}", event="push", content_type=JSON, body=body, parsed=parsed)
        return int(await conn.fetchval("select max(id) from deliveries"))


async def unreadable(pool: Pool, body: bytes, *, content_type: str = JSON, reason: str = "it is not JSON") -> int:
    async with transaction(pool) as conn:
        await store_unreadable(conn, guid="bad", event="push", content_type=content_type, body=body, reason=reason)
        return int(await conn.fetchval("select max(id) from deliveries"))


async def register(pool: Pool, name: str = "bre", pattern: str = "*") -> None:
    async with transaction(pool) as conn:
        await insert_repository(
            conn, repo="acme/bre", image_name=name, tag_pattern=pattern, recipe=Recipe(),
            on_moved_tag=MovedTagPolicy.REBUILD,
        )  # fmt: skip


def listed(html: str) -> list[int]:
    """The deliveries of the list, in order."""
    return [int(one) for one in re.findall(r">Delivery (\d+)</a>", html)]


def link(html: str, rel: str) -> str:
    """Where the link to the next or the previous page leads."""
    found = re.search(rf'href="([^"]+)" rel="{rel}"', html)
    assert found is not None
    return found[1].replace("&amp;", "&")


# ---------------------------------------------------------------- the list


async def test_without_anything_the_page_says_what_to_do_next(pool: Pool) -> None:
    async with signed_in(api_services(pool)) as client:
        assert "GitHub has sent nothing yet." in words(await page_of(client, "/deliveries"))


async def test_each_delivery_says_what_came_and_what_became_of_it(pool: Pool) -> None:
    await register(pool)
    await deliver(pool, "v1")
    await deliver(pool, "v2", repo="acme/other")
    await unreadable(pool, b"{", reason="the body is not JSON")
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/deliveries")
    assert listed(html) == [3, 2, 1]
    text = words(html)
    assert "push v1 by ci-bot acme/bre" in text
    assert "acme/other is not registered" in text
    assert "the body is not JSON" in text
    assert re.search(r"/images/1\?build=1#log", html)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [3, 2, 1]),
        ("state=ignored", [2]),
        ("state=failed", [3]),
        ("state=nonsense", [3, 2, 1]),
        ("repo=Acme/BRE", [1]),
        ("repo=acme", []),
        ("repo=acme/other&state=ignored", [2]),
        ("repo=acme/other&state=accepted", []),
        ("state=&repo=", [3, 2, 1]),
        ("before=x", [3, 2, 1]),
        ("before=3", [2, 1]),
        ("after=1", [3, 2]),
        ("after=1&state=ignored", [2]),
        ("after=1&repo=acme/other", [2]),
    ],
)
async def test_the_list_is_narrowed_down(pool: Pool, query: str, found: list[int]) -> None:
    await register(pool)
    await deliver(pool, "v1")
    await deliver(pool, "v2", repo="acme/other")
    await unreadable(pool, b"{")
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/deliveries?{query}")
    assert listed(html) == found
    assert found or "No delivery is like that." in words(html)


async def test_pages_follow_one_another_and_lead_back(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute(
            "insert into deliveries (guid, event, state, reason, body)"
            " select n::text, 'push', 'ignored', 'x', 'x' from generate_series(1, 120) n"
        )
    async with signed_in(api_services(pool)) as client:
        first = await page_of(client, "/deliveries?state=ignored")
        second = await page_of(client, link(first, "next"))
        third = await page_of(client, link(second, "next"))
        back = await page_of(client, link(third, "prev"))
        newest = await page_of(client, link(back, "prev"))
    assert listed(first) + listed(second) + listed(third) == list(range(120, 0, -1))
    assert listed(back) == listed(second)
    assert listed(newest) == listed(first)
    assert 'rel="next"' not in third
    assert 'rel="prev"' not in newest
    assert "state=ignored" in link(first, "next")


async def test_of_a_delivery_with_many_builds_the_first_are_named_and_all_counted(pool: Pool) -> None:
    for number in range(deliveries.MOST_BUILDS + 2):
        await register(pool, f"image-{number}")
    await deliver(pool)
    async with signed_in(api_services(pool)) as client:
        text = words(await page_of(client, "/deliveries"))
    assert "image-4:v1" in text
    assert "image-5:v1" not in text
    assert "and 2 more" in text


# ---------------------------------------------------------------- one of them


async def test_a_delivery_shows_its_payload_and_what_became_of_it(pool: Pool) -> None:
    await register(pool)
    number = await deliver(pool)
    claimed = await claim_build(pool)
    assert claimed is not None
    await product(pool, claimed.image_id, wanted=True)
    await succeed(pool, claimed)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/deliveries/{number}")
    text = words(html)
    assert "ci-bot pushed the tag" in text
    assert "bre:v1" in text
    assert f"1 {RolloutState.PENDING}" in text
    assert "&#34;full_name&#34;: &#34;acme/bre&#34;" in html
    assert "Only its beginning is shown" not in text


async def test_a_replay_asks_once_and_is_written_down_on_the_page(pool: Pool) -> None:
    number = await deliver(pool)
    async with signed_in(api_services(pool)) as client:
        before = await page_of(client, f"/deliveries/{number}")
        assert f'data-call="POST /api/v1/deliveries/{number}/replay"' in before
        assert 'data-confirm="' in before
        assert "Nothing was built: acme/bre is not registered." in words(before)
        await register(pool)
        async with asking(api_services(pool)) as api:
            assert (await api.post(f"/deliveries/{number}/replay")).status_code == 202
        text = words(await page_of(client, f"/deliveries/{number}"))
    assert "admin replayed it" in text
    assert "1 time, last" in text
    assert "bre:v1" in text


async def test_who_may_only_read_is_offered_no_replay(pool: Pool) -> None:
    number = await deliver(pool)
    async with signed_in(api_services(pool), await token_for(pool, Role.READ)) as client:
        assert "data-call" not in await page_of(client, f"/deliveries/{number}")


@pytest.mark.parametrize("number", ["7", "x", "99999999999999999999"])
async def test_a_delivery_that_is_not_there_is_said_to_be_missing(pool: Pool, number: str) -> None:
    async with signed_in(api_services(pool)) as client:
        assert f"there is no delivery {number}" in words(await page_of(client, f"/deliveries/{number}", 404))


async def test_of_a_large_payload_the_page_holds_a_part_and_the_raw_body_all(pool: Pool) -> None:
    number = await deliver(pool, more="x" * MIB * 3)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/deliveries/{number}")
        raw = await client.get(f"/api/v1/deliveries/{number}/body")
    assert len(html) < 4 * payloads.PLAIN_BYTES
    assert "Only its beginning is shown" in words(html)
    assert f'href="/api/v1/deliveries/{number}/body"' in html
    assert json.loads(raw.content)["more"] == "x" * MIB * 3
    assert int(raw.headers["content-length"]) == len(raw.content)


@pytest.mark.parametrize("body", [b"\xff\x00\x1b[31m<script>alert(1)</script>", b"", b"[" * 60_000])
async def test_a_body_that_is_no_payload_is_shown_as_text_and_downloaded_byte_for_byte(pool: Pool, body: bytes) -> None:
    number = await unreadable(pool, body)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/deliveries/{number}")
        raw = await client.get(f"/api/v1/deliveries/{number}/body")
    assert "It could not be read:" in words(html)
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert raw.content == body
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["content-disposition"].startswith("attachment")


async def test_hostile_payloads_names_and_reasons_are_text(pool: Pool) -> None:
    await register(pool)
    accepted = await deliver(pool, more=HOSTILE, pusher={"name": HOSTILE})
    failed = await unreadable(pool, HOSTILE.encode(), content_type=HOSTILE, reason=HOSTILE)
    async with transaction(pool) as conn:
        await conn.execute("update deliveries set event = $1, repo = $1, ref = $1", HOSTILE)
        await conn.execute("update docker_images set tag = $1", HOSTILE)
    async with signed_in(api_services(pool)) as client:
        for path in ("/deliveries", f"/deliveries/{accepted}", f"/deliveries/{failed}"):
            html = await page_of(client, path)
            assert "<script>alert" not in html, path
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html, path


# ---------------------------------------------------------------- with many rows


@pytest.fixture(scope="module")
async def filled(server: str, template: str) -> AsyncIterator[Dedicated]:
    """A connection to one database with a large inbox for all statements."""
    async with fresh_database(server, template) as dsn:
        conn = await connect(dsn)
        try:
            await conn.execute(
                "insert into deliveries (guid, event, repo, state, reason, body) select n::text, 'push',"
                " 'a/' || n % 3, case when n = 7 then 'failed' else 'ignored' end::delivery_state, 'x', 'x'"
                " from generate_series(1, 20000) n"
            )
            await conn.execute("analyze deliveries")
            await conn.execute("set plan_cache_mode = force_generic_plan")
            yield conn
        finally:
            await conn.close(timeout=5)


@pytest.mark.parametrize(
    ("arguments", "index"),
    [
        ("null, null, null, 51", "deliveries_pkey"),
        ("'failed', null, null, 51", "deliveries_by_state"),
        ("null, 'a/2', null, 51", "deliveries_by_repo"),
        ("'failed', 'a/2', 19000, 51", "deliveries_by_repo"),
    ],
)
@pytest.mark.parametrize("name", ["deliveries_older", "deliveries_newer"])
async def test_a_page_of_the_inbox_reads_no_more_than_a_page(
    filled: Dedicated, name: str, arguments: str, index: str
) -> None:
    if name == "deliveries_newer":
        arguments = arguments.replace("null, 51", "0, 51")
    await filled.execute(f"prepare page (delivery_state, text, bigint, bigint) as {deliveries.SQL[name]}")
    try:
        rows = await filled.fetch(f"explain (analyze, timing off, summary off) execute page ({arguments})")
    finally:
        await filled.execute("deallocate page")
    used = [line for (line,) in rows if "Scan" in line and "never executed" not in line and "on deliveries" in line]
    assert len(used) == 1, rows
    assert f"using {index}" in used[0], rows
