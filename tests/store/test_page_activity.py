"""What /activity shows of who did what, to whom it is shown, and what hostile text becomes there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from app.access import audit
from app.access.model import Act, Role, Subject, Via
from app.dashboard import activity
from app.postgres.pool import connect, transaction
from tests.api_client import api_services, token_for
from tests.factories import built_image, product
from tests.pages import page_of, signed_in, words
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Dedicated, Pool

HOSTILE: Final = '"><script>alert(1)</script>{{ 7 * 7 }}&amp;'


async def line(
    pool: Pool,
    actor: str,
    action: str,
    subject: Subject,
    *,
    via: Via = Via.API,
    address: str | None = None,
    **details: Any,
) -> None:
    async with transaction(pool) as conn:
        await audit.record(conn, Act(actor, None, via, address, action), subject, **details)


async def some_lines(pool: Pool) -> None:
    await line(pool, "maria", "start_product", Subject("product", 5, "axa"))
    await line(pool, "maria", "stop_product", Subject("product", 6, "baloise"))
    await line(pool, "ops", "start_product", Subject("product", 6, "baloise"))
    await line(pool, "ops", "create_channel", Subject("channel", 5, "slack"))


def done(html: str) -> list[str]:
    """Who did what, in order, without those who signed in."""
    rows = [words(row) for row in re.findall(r'data-label="What">(.*?)</td>', html, re.DOTALL)]
    return [row.partition(" history")[0] for row in rows if "signed in" not in row]


async def test_an_entry_says_who_did_what_to_what_by_which_door_and_from_where(pool: Pool) -> None:
    image = await built_image(pool, tag="v1")
    number = await product(pool, image)
    await line(
        pool, "maria", "change_product", Subject("product", number, "axa"), via=Via.CLI, address="192.0.2.9",
        given=["replicas", "track"], old=None,
    )  # fmt: skip
    await line(pool, "tagship", "find_tag", Subject("repository", 3, "acme/bre@v2"), via=Via.RECONCILE, builds=[7])
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/activity")
    assert done(html) == ["tagship found the tag acme/bre@v2", "maria changed the product axa"]
    text = words(html)
    assert "given replicas, track by the command line 192.0.2.9" in text
    assert "builds 7 by looking at GitHub" in text
    assert f'href="/products/{number}"' in html


async def test_what_is_gone_has_no_link_and_still_its_history(pool: Pool) -> None:
    await line(pool, "maria", "delete_product", Subject("product", 77, "axa"))
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/activity")
    assert 'href="/products/77"' not in html
    assert "subject=product&amp;subject_id=77" in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=maria", ["maria stopped the product baloise", "maria started the product axa"]),
        ("actor=mar", []),
        ("action=start_product", ["ops started the product baloise", "maria started the product axa"]),
        ("actor=maria&action=start_product", ["maria started the product axa"]),
        ("subject=channel", ["ops made the channel slack"]),
        ("subject=product&subject_id=6", ["ops started the product baloise", "maria stopped the product baloise"]),
        ("subject=product&subject_id=6&actor=ops", ["ops started the product baloise"]),
        ("subject=product&subject_id=x&actor=ops", ["ops started the product baloise"]),
        ("subject_id=6&action=create_channel", ["ops made the channel slack"]),
        ("action=no_such_thing", []),
        ("after=1&actor=maria", ["maria stopped the product baloise"]),
        ("after=1&action=start_product", ["ops started the product baloise"]),
        ("after=2&subject=product", ["ops started the product baloise"]),
        ("after=2&subject=product&subject_id=6", ["ops started the product baloise"]),
        ("before=2&actor=maria", ["maria started the product axa"]),
    ],
)
async def test_the_trail_is_narrowed_down(pool: Pool, query: str, found: list[str]) -> None:
    await some_lines(pool)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/activity?{query}")
    assert done(html) == found
    assert found or "Nothing like that was done." in words(html)


async def test_the_form_keeps_what_was_asked_for_also_what_it_does_not_offer(pool: Pool) -> None:
    await some_lines(pool)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/activity?actor=ops&action=odd_thing&subject=oddity&subject_id=6")
    assert 'name="actor" list="actors" value="ops"' in html
    assert '<option value="odd_thing" selected>' in html
    assert '<option value="oddity" selected>' in html
    assert 'name="subject_id" inputmode="numeric" value="6"' in html
    assert [name for name in ("maria", "ops", "admin") if f'<option value="{name}">' not in html] == []


async def test_pages_follow_one_another_and_lead_back(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute(
            "insert into audit_log (actor, via, action, subject, subject_name)"
            " select 'maria', 'api', 'run_retention', 'retention', 'r' || n from generate_series(1, 120) n"
        )
    async with signed_in(api_services(pool)) as client:
        first = await page_of(client, "/activity?actor=maria")
        second = await page_of(client, link(first, "next"))
        third = await page_of(client, link(second, "next"))
        back = await page_of(client, link(third, "prev"))
    names = [row.rpartition(" ")[2] for html in (first, second, third) for row in done(html)]
    assert names == [f"r{number}" for number in range(120, 0, -1)]
    assert done(back) == done(second)
    assert 'rel="next"' not in third


def link(html: str, rel: str) -> str:
    """Where the link to the next or the previous page leads."""
    found = re.search(rf'href="([^"]+)" rel="{rel}"', html)
    assert found is not None
    return found[1].replace("&amp;", "&")


@pytest.mark.parametrize("role", [Role.READ, Role.DEPLOY])
async def test_only_administrators_see_the_trail_as_in_the_api(pool: Pool, role: Role) -> None:
    await some_lines(pool)
    async with signed_in(api_services(pool), await token_for(pool, role)) as client:
        html = await page_of(client, "/activity", 403)
        assert "this page needs the role admin" in words(html)
        assert "maria" not in html
        assert ">Activity</a>" not in await page_of(client, "/")
    async with signed_in(api_services(pool)) as client:
        assert ">Activity</a>" in await page_of(client, "/")


async def test_hostile_names_and_details_are_text(pool: Pool) -> None:
    details: dict[str, Any] = {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}
    await line(pool, HOSTILE, HOSTILE, Subject(HOSTILE, 5, HOSTILE), address=HOSTILE, **details)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/activity")
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 4


# ---------------------------------------------------------------- with many rows


@pytest.fixture(scope="module")
async def filled(server: str, template: str) -> AsyncIterator[Dedicated]:
    """A connection to one database with a long trail for all statements."""
    async with fresh_database(server, template) as dsn:
        conn = await connect(dsn)
        try:
            await conn.execute(
                "insert into audit_log (actor, via, action, subject, subject_id, subject_name)"
                " select 'a' || n % 40, 'api', 'x' || n % 20, case when n = 9 then 'channel' else 'product' end,"
                " n % 300, 'x' from generate_series(1, 20000) n"
            )
            await conn.execute("analyze audit_log")
            await conn.execute("set plan_cache_mode = force_generic_plan")
            yield conn
        finally:
            await conn.close(timeout=5)


@pytest.mark.parametrize(
    ("arguments", "index"),
    [
        ("null, null, null, null", "audit_log_pkey"),
        ("'a7', null, null, null", "audit_by_actor"),
        ("'a7', 'x7', 'product', null", "audit_by_actor"),
        ("null, 'x7', null, null", "audit_by_action"),
        ("null, null, 'channel', null", "audit_by_kind"),
        ("null, null, 'product', 7", "audit_by_subject"),
        ("'a7', null, 'product', 7", "audit_by_subject"),
    ],
)
@pytest.mark.parametrize(("name", "place"), [("entries_older", "null"), ("entries_newer", "0")])
async def test_a_page_of_the_trail_reads_no_more_than_a_page(
    filled: Dedicated, name: str, place: str, arguments: str, index: str
) -> None:
    await filled.execute(f"prepare page (text, text, text, bigint, bigint, bigint) as {activity.SQL[name]}")
    try:
        rows = await filled.fetch(f"explain (analyze, timing off, summary off) execute page ({arguments}, {place}, 51)")
    finally:
        await filled.execute("deallocate page")
    used = [row for (row,) in rows if "Scan" in row and "never executed" not in row and "audit_log" in row]
    assert len(used) == 1, rows
    assert f"using {index} " in used[0], rows


async def test_everybody_who_did_something_is_found_without_reading_the_trail(filled: Dedicated) -> None:
    names = [row["actor"] for row in await filled.fetch(activity.SQL.actors, 200)]
    assert names == sorted(f"a{number}" for number in range(40))
    plan = [row[0] for row in await filled.fetch("explain " + activity.SQL.actors.rstrip(";").replace("$1", "200"))]
    assert not [row for row in plan if "Seq Scan on audit_log" in row], plan
