"""What /images and /images/{id} show in each state, to whom, and what hostile text becomes there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest

from app.access.model import Role
from app.builds import store
from app.builds.model import BuildState
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.products.model import ProductStatus
from tests.api_client import api_services, asking, token_for
from tests.factories import built_image, claimed_build, product, queue_build, succeed
from tests.pages import page_of, signed_in, words

if TYPE_CHECKING:
    from app.builds.model import ClaimedBuild
    from app.postgres.pool import Pool

HOSTILE: Final = '"><script>alert(1)</script>{{ 7 * 7 }}&amp;'
PAGE: Final = 50


async def failed_build(pool: Pool, error: str, *, tag: str = "v1") -> ClaimedBuild:
    claimed = await claimed_build(pool, tag=tag)
    async with transaction(pool) as conn:
        assert await store.fail(conn, claimed.lease, error)
    return claimed


async def run_it(pool: Pool, product_id: int, image_id: int) -> None:
    """Let a product run what the image's last build made, as after a rollout."""
    async with transaction(pool) as conn:
        await conn.execute(
            "with made as (insert into rollouts (product_id, kind, reason, state, finished_at, image, env_sealed, port,"
            " publish_mode, replicas, image_id, build_id, image_name, image_tag) select $1, 'deploy', 'start', 'done',"
            " now(), b.exact_ref, '{}', 1, 'host', 1, i.id, b.id, i.name, i.tag from docker_images i"
            " join builds b on b.id = i.live_build_id where i.id = $2 returning id)"
            " update products set live_rollout_id = made.id, status = 'running' from made where products.id = $1",
            product_id,
            image_id,
        )


def listed(html: str) -> list[str]:
    """The images of the list, in order."""
    return re.findall(r'href="/images/\d+">([^<]+)</a><br>', html)


# ---------------------------------------------------------------- the list


async def test_without_anything_the_page_says_what_to_do_next(pool: Pool) -> None:
    async with signed_in(api_services(pool)) as client:
        text = words(await page_of(client, "/images"))
    assert "No repository is registered" in text
    assert "There is no image yet" in text


async def test_every_state_is_listed_with_what_matters_of_it(pool: Pool) -> None:
    image_id = await built_image(pool, tag="v1")
    await run_it(pool, await product(pool, image_id), image_id)
    await product(pool, image_id)
    await failed_build(pool, "step 4 failed", tag="v2")
    await claimed_build(pool, tag="v3")
    await queue_build(pool, tag="v4")
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/images")
    text = words(html)
    assert listed(html) == ["bre:v4", "bre:v3", "bre:v2", "bre:v1"]
    assert all(part in text for part in ("waits since", "began", "step 4 failed", "1 run it 2 pinned"))


async def test_filters_narrow_the_list_down_and_keep_their_values(pool: Pool) -> None:
    await built_image(pool, name="claims-api", tag="v1.0")
    await built_image(pool, name="bre", tag="v1.0")
    await failed_build(pool, "no", tag="v2.0")
    async with signed_in(api_services(pool)) as client:
        for query, wanted in {
            "name=CLAIMS": ["claims-api:v1.0"],
            "tag=v2": ["bre:v2.0"],
            "status=failed": ["bre:v2.0"],
            "repo=acme": ["bre:v2.0", "bre:v1.0", "claims-api:v1.0"],
            "name=&tag=&status=&repo=": ["bre:v2.0", "bre:v1.0", "claims-api:v1.0"],
            "status=nonsense&before=x&after=-1": ["bre:v2.0", "bre:v1.0", "claims-api:v1.0"],
            "name=%00%25_": [],
        }.items():
            assert listed(await page_of(client, f"/images?{query}")) == wanted, query
        html = await page_of(client, "/images?name=claims&status=success")
        assert 'name="name" value="claims"' in html
        assert '<option value="success" selected>' in html
        assert "No image is like that" in words(await page_of(client, "/images?name=nothing"))


async def test_pages_lead_to_each_other_and_show_each_image_once(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute(
            "insert into docker_images (name, tag, github_repo, github_ref)"
            " select 'bre', 'v' || n, 'acme/bre', 'r' from generate_series(1, 120) n"
        )
        await conn.execute(
            "with made as (insert into builds (image_id, source, recipe, state, finished_at, error)"
            " select id, 'api', '{}', 'failed', now(), 'x' from docker_images returning id, image_id)"
            " update docker_images i set latest_build_id = made.id from made where made.image_id = i.id"
        )

    def link(html: str, rel: str) -> str | None:
        found = re.search(rf'href="(/images\?[^"]+)" rel="{rel}"', html)
        return found[1].replace("&amp;", "&") if found else None

    async with signed_in(api_services(pool)) as client:
        pages, path = [], "/images?name=bre&of=acme/bre"
        while path:
            pages.append(await page_of(client, path))
            assert path.startswith("/images?name=bre")
            path = link(pages[-1], "next") or ""
        assert [len(listed(page)) for page in pages] == [PAGE, PAGE, 20]
        assert [name for page in pages for name in listed(page)] == [f"bre:v{n}" for n in range(120, 0, -1)]
        assert link(pages[0], "prev") is None
        back = await page_of(client, link(pages[2], "prev") or "")
        assert listed(back) == listed(pages[1])
        assert link(await page_of(client, link(back, "prev") or ""), "prev") is None


async def test_an_image_that_is_being_deleted_is_gone(pool: Pool) -> None:
    image_id = await built_image(pool)
    async with transaction(pool) as conn:
        await conn.execute("update docker_images set deleting_at = now(), live_build_id = null")
    async with signed_in(api_services(pool)) as client:
        assert listed(await page_of(client, "/images")) == []
        assert "there is no image" in words(await page_of(client, f"/images/{image_id}", status=404))


# ---------------------------------------------------------------- one image


async def test_a_failure_shows_its_reason_first_and_what_goes_on_running(pool: Pool) -> None:
    image_id = await built_image(pool, tag="v1")
    await failed_build(pool, "step 4 said no")
    async with signed_in(api_services(pool)) as client:
        text = words(await page_of(client, f"/images/{image_id}"))
    assert text.index("step 4 said no") < text.index("Repository")
    assert "Products go on running what build" in text


async def test_who_asked_for_a_build_is_told(pool: Pool) -> None:
    image_id = await built_image(pool, tag="v1")
    async with transaction(pool) as conn:
        guid = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
        delivery = await conn.fetchval(
            "insert into deliveries (guid, event, state, body) values ($1, 'push', 'accepted', '') returning id", guid
        )
        build = await conn.fetchval("update builds set source = 'delivery', delivery_id = $1 returning id", delivery)
        await conn.execute(
            "insert into audit_log (actor, via, action, subject, subject_id, subject_name, details)"
            " values ('ada', 'webhook', 'push_tag', 'delivery', $1, 'x',"
            " jsonb_build_object('builds', array[$2::bigint]))",
            delivery,
            build,
        )
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/images/{image_id}")
    assert "ada pushed the tag (delivery 72d3162e)" in words(html)
    assert f'href="/deliveries/{delivery}"' in html


async def test_every_build_leads_to_its_log(pool: Pool) -> None:
    first = await claimed_build(pool, tag="v1")
    await succeed(pool, first)
    second = await failed_build(pool, "no")
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/images/{first.image_id}")
        assert f"/log?build={second.id}&amp;format=text" in html
        for build in (first, second):
            assert f'href="/images/{first.image_id}?build={build.id}#log"' in html
        earlier = await page_of(client, f"/images/{first.image_id}?build={first.id}")
        assert f"/log?build={first.id}&amp;format=text" in earlier
        assert "Log of the latest build" in words(earlier)
        other = await built_image(pool, tag="v2")
        assert "there is no build" in words(await page_of(client, f"/images/{other}?build={first.id}", status=404))


async def test_products_that_are_pinned_or_run_it_are_named_with_what_they_run(pool: Pool) -> None:
    image_id, other_id = await built_image(pool, tag="v1.0.0"), await built_image(pool, tag="v2.0.0")
    runs, moved, stopped = [await product(pool, image_id, track="^1") for _ in range(3)]
    for one in (runs, moved):
        await run_it(pool, one, image_id)
    async with transaction(pool) as conn:
        await conn.execute("update products set image_id = $1 where id = $2", other_id, moved)
    async with signed_in(api_services(pool)) as client:
        text = words(await page_of(client, f"/images/{image_id}"))
        other = words(await page_of(client, f"/images/{other_id}"))
    table = text.split("Product Status Runs")[1].split("Builds")[0]
    assert table.count("build ") >= 2
    assert "pinned to another image by now" in table
    assert "it cannot be deleted" in text
    assert "bre:v1.0.0" in other.split("Product Status Runs")[1]
    assert stopped


async def test_buttons_are_those_that_the_role_and_the_state_allow(pool: Pool) -> None:
    idle, busy = await built_image(pool, tag="v1"), await claimed_build(pool, tag="v2")
    in_use = await built_image(pool, tag="v3")
    await product(pool, in_use)
    readers, deployers = await token_for(pool, Role.READ), await token_for(pool, Role.DEPLOY)

    def buttons(html: str) -> set[str]:
        return set(re.findall(r'<button id="(cancel|rebuild|delete)"', html))

    async with signed_in(api_services(pool), deployers) as client:
        assert buttons(await page_of(client, f"/images/{idle}")) == {"rebuild", "delete"}
        assert buttons(await page_of(client, f"/images/{busy.image_id}")) == {"cancel", "rebuild"}
        assert buttons(await page_of(client, f"/images/{in_use}")) == {"rebuild"}
        assert 'data-call="POST /api/v1/images"' in await page_of(client, "/images")
    async with signed_in(api_services(pool), readers) as client:
        for image_id in (idle, busy.image_id, in_use):
            assert "data-call" not in await page_of(client, f"/images/{image_id}")
        assert "data-call" not in await page_of(client, "/images")


async def test_a_rebuild_asks_with_the_products_that_will_follow(pool: Pool) -> None:
    image_id = await built_image(pool, tag="v1")
    await product(pool, image_id, wanted=True, status=ProductStatus.RUNNING)
    await product(pool, image_id)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/images/{image_id}")
    [asked] = re.findall(r'/rebuild" data-confirm="([^"]+)"', html)
    assert re.search(r"Product \d+ will be rolled out again", asked)
    assert "2 of the 2 products on bre follow" in words(html)


@pytest.mark.parametrize("state", [BuildState.PENDING, BuildState.BUILDING])
async def test_a_build_under_way_is_followed(pool: Pool, state: BuildState) -> None:
    image_id, _ = await queue_build(pool, tag="v1")
    if state is BuildState.BUILDING:
        await claimed_build(pool, tag="v1")
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/images/{image_id}")
        assert " data-active" in html
        assert " data-active" not in await page_of(client, f"/images/{await built_image(pool, tag='v9')}")


async def test_hostile_text_is_text(pool: Pool) -> None:
    claimed = await failed_build(pool, HOSTILE, tag="v1\"'><b>")
    async with transaction(pool) as conn:
        await conn.execute("update docker_images set github_repo = $1", HOSTILE)
        await conn.execute("update builds set recipe = jsonb_set(recipe, '{dockerfile}', to_jsonb($1::text))", HOSTILE)
        await conn.execute("insert into repositories (repo, image_name) values ($1, 'a'), ('acme/bre', 'b')", HOSTILE)
    await product(pool, await built_image(pool), track="*")
    async with transaction(pool) as conn:
        await conn.execute("update products set name = $1, image_id = $2, track = $1", HOSTILE, claimed.image_id)
    async with signed_in(api_services(pool)) as client:
        for path in ("/images", f"/images?name={quote(HOSTILE)}&of={quote(HOSTILE)}", f"/images/{claimed.image_id}"):
            html = await page_of(client, path)
            assert "<script>alert" not in html
            assert "49&amp;amp;" not in html
            assert HOSTILE in words(html) or "name=" in path


async def test_pages_say_what_the_api_says(pool: Pool) -> None:
    image_id = await built_image(pool, tag="v1")
    services = api_services(pool)
    async with asking(services) as api, signed_in(services) as client:
        image = (await api.get(f"/images/{image_id}?log=false")).json()
        text = words(await page_of(client, f"/images/{image_id}"))
    assert all(image[field] in text for field in ("name", "tag", "github_repo", "commit_sha", "build_status", "digest"))


# ---------------------------------------------------------------- what it costs

FILL: Final = """
insert into docker_images (name, tag, github_repo, github_ref)
  select 'i', n::text, 'a/b', 'r' from generate_series(1, 20000) n;
with made as (insert into builds (image_id, source, recipe, state, finished_at, error)
  select id, 'api', '{}', 'failed', now(), 'x' from docker_images, generate_series(1, 3) returning id, image_id)
update docker_images i set latest_build_id = made.id from made where made.image_id = i.id;
insert into audit_log (actor, via, action, subject, subject_id, subject_name)
  select 'a', 'api', 'create_image', 'image', n, 'x' from generate_series(1, 20000) n;
insert into deliveries (guid, event, body) select n::text, 'push', '' from generate_series(1, 20000) n;
analyze docker_images; analyze builds; analyze audit_log; analyze deliveries
"""
CASES: Final = {
    "images_older": ("null, null, null, null, 15000, 51", ("docker_images", "builds")),
    "images_newer": ("null, null, null, null, 15000, 51", ("docker_images", "builds")),
    "images_listed": ("'{7, 8, 9}'", ("docker_images", "builds")),
    "builds_listed": ("7, null, 51", ("builds", "audit_log", "deliveries")),
    "images_of_tags": ("'{i}', '{7, 8}'", ("docker_images", "builds")),
}


async def test_no_page_reads_a_growing_table_whole(pool: Pool) -> None:
    async with transaction(pool) as conn:
        for statement in FILL.split(";\n"):
            await conn.execute(statement)
        for name, (arguments, tables) in CASES.items():
            statement = load_queries("images")[name].rstrip(";")
            for number, argument in reversed(list(enumerate(re.findall(r"'[^']*'|[^, ]+", arguments), 1))):
                statement = statement.replace(f"${number}", argument)
            plan = "\n".join(row[0] for row in await conn.fetch(f"explain {statement}"))
            for table in tables:
                assert f"Seq Scan on {table}" not in plan, f"{name}\n{plan}"
