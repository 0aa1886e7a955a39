"""What /products, /products/new and /products/{id} show in each state, to whom, and what hostile text becomes there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest

from app.access.model import Role
from app.engine.shape import Healthcheck
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.products import store
from app.products.model import ProductStatus
from app.rollouts import store as rollouts
from app.rollouts.frozen import healthcheck_json
from app.rollouts.model import RolloutKind, RolloutState
from tests.api_client import api_services, asking, token_for
from tests.factories import built_image, claim_rollout, product, queue_build, queue_rollout
from tests.pages import page_of, signed_in, words

if TYPE_CHECKING:
    from app.postgres.pool import Pool
    from app.rollouts.model import RolloutId

HOSTILE: Final = '"><script>alert(1)</script>{{ 7 * 7 }}&amp;'
PAGE: Final = 50
TASK: Final = {
    "task": "t",
    "slot": 1,
    "node": "n",
    "state": "failed",
    "error": "task: non-zero exit (1)",
    "exit_code": 1,
    "output": "KeyError: PLATFORM_API_KEY",
}


async def ended(
    pool: Pool,
    product_id: int,
    state: RolloutState = RolloutState.DONE,
    *,
    kind: RolloutKind = RolloutKind.DEPLOY,
    error: str = "its container keeps ending",
    tasks: int = 1,
) -> RolloutId:
    """A rollout of the product as it is, ended in this state."""
    rollout_id = await queue_rollout(pool, product_id, kind)
    claimed = await claim_rollout(pool)
    assert claimed is not None
    lease, rollout = claimed
    good = state is RolloutState.DONE
    async with transaction(pool) as conn:
        await rollouts.mark_converging(conn, lease, "service", 8080)
        if not good:
            await rollouts.record_failure(conn, lease, error, [TASK] * tasks)
        live = (rollout_id if kind is RolloutKind.DEPLOY else None) if good else rollout.live_rollout_id
        status = ("running" if live else "stopped") if good or live else "failed"
        await rollouts.settle(conn, lease, state, status=status, live=live)
    return rollout_id


async def named(pool: Pool, product_id: int, name: str) -> None:
    async with transaction(pool) as conn:
        await conn.execute("update products set name = $2 where id = $1", product_id, name)


def listed(html: str) -> list[str]:
    """The products of the list, in order."""
    return re.findall(r'href="/products/\d+">([^<]+)</a><br>', html)


def buttons(html: str) -> set[str]:
    return set(re.findall(r'<button (?:class="\w+" )?id="(start|stop|redeploy|delete|back)', html))


# ---------------------------------------------------------------- the list


async def test_without_anything_the_page_says_what_to_do_next(pool: Pool) -> None:
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/products")
        assert "There is no product yet. Make one" in words(html)
        assert 'href="/products/new"' in html
        text = words(await page_of(client, "/products/new"))
        assert "No image is built yet" in text
    async with signed_in(api_services(pool), await token_for(pool, Role.READ)) as client:
        assert "/products/new" not in await page_of(client, "/products")
        await page_of(client, "/products/new", status=403)


async def test_what_is_wrong_comes_first_and_then_the_alphabet(pool: Pool) -> None:
    image_id = await built_image(pool)
    ids = [await product(pool, image_id) for _ in range(7)]
    for one, name in zip(ids, ("a stopped", "b runs", "A runs", "kept", "broken", "waits", "moves"), strict=True):
        await named(pool, one, name)
    for one in (ids[1], ids[2], ids[3]):
        await ended(pool, one)
    await ended(pool, ids[3], RolloutState.ROLLED_BACK)
    await ended(pool, ids[4], RolloutState.FAILED, error="no such file: /app")
    await queue_rollout(pool, ids[6])
    async with transaction(pool) as conn:
        await conn.execute("update products set status = 'awaiting_image' where id = $1", ids[5])
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/products")
    assert listed(html) == ["broken", "kept", "moves", "waits", "A runs", "b runs", "a stopped"]
    text = words(html)
    assert "no such file: /app" in text
    assert "last change failed" in text
    assert "waits for a worker" in text
    assert "1 failed" in text
    assert "3 running" in text


async def test_filters_narrow_the_list_down_and_keep_their_values(pool: Pool) -> None:
    claims, bre = await built_image(pool, name="claims-api", tag="v2"), await built_image(pool)
    one, other = await product(pool, claims), await product(pool, bre)
    await named(pool, one, "Allianz")
    await named(pool, other, "AXA")
    await ended(pool, other)
    async with signed_in(api_services(pool)) as client:
        for query, wanted in {
            "text=all": ["Allianz"],
            "text=PRODUCT-": ["AXA", "Allianz"],
            "image=claims-api": ["Allianz"],
            "status=running": ["AXA"],
            "text=&image=&status=": ["AXA", "Allianz"],
            "status=nonsense&after=x&before=-1": ["AXA", "Allianz"],
            "text=%00%25_": [],
        }.items():
            assert listed(await page_of(client, f"/products?{query}")) == wanted, query
        html = await page_of(client, "/products?text=all&image=claims-api&status=stopped")
        assert 'name="text" value="all"' in html
        assert "<option selected>claims-api</option>" in html
        assert '<option value="stopped" selected>' in html
        assert "No product is like that" in words(await page_of(client, "/products?text=nobody"))


async def test_pages_lead_to_each_other_and_show_each_product_once(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute(
            "insert into products (name, slug, port, status)"
            " select 'p' || lpad(n::text, 3, '0'), 'p-' || n, n, case when n % 3 = 0 then 'failed' else 'stopped' end"
            "::product_status from generate_series(1, 120) n"
        )
    failed = [f"p{n:03}" for n in range(1, 121) if n % 3 == 0]
    others = [f"p{n:03}" for n in range(1, 121) if n % 3]

    def link(html: str, rel: str) -> str | None:
        found = re.search(rf'href="(/products\?[^"]+)" rel="{rel}"', html)
        return found[1].replace("&amp;", "&") if found else None

    async with signed_in(api_services(pool)) as client:
        pages, path = [], "/products?text=p"
        while path:
            pages.append(await page_of(client, path))
            assert path.startswith("/products?text=p")
            path = link(pages[-1], "next") or ""
        assert [len(listed(page)) for page in pages] == [PAGE, PAGE, 20]
        assert [name for page in pages for name in listed(page)] == failed + others
        assert link(pages[0], "prev") is None
        back = await page_of(client, link(pages[2], "prev") or "")
        assert listed(back) == listed(pages[1])
        assert link(await page_of(client, link(back, "prev") or ""), "prev") is None
        gone = await page_of(client, "/products?after=99999")
        assert listed(gone) == []


# ---------------------------------------------------------------- one product


async def test_a_stopped_product_can_be_started_and_a_running_one_stopped(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    path = f"/products/{made}"
    readers = await token_for(pool, Role.READ)
    async with signed_in(api_services(pool)) as client, signed_in(api_services(pool), readers) as reader:
        html = await page_of(client, path)
        assert buttons(html) == {"start", "delete"}
        assert "It was never started" in words(html)
        first = await ended(pool, made)
        html = await page_of(client, path)
        assert buttons(html) == {"redeploy", "stop", "delete"}
        assert "what runs now" in words(html)
        await ended(pool, made)
        assert f'id="back-{first}" data-plan="rollback" data-to="{first}"' in await page_of(client, path)
        seen = await page_of(reader, path)
        assert buttons(seen) == set()
        assert "edit-product" not in seen
        await queue_rollout(pool, made, RolloutKind.REMOVE)
        html = await page_of(client, path)
        assert buttons(html) == set()
        assert "Being removed" in words(html)
        await page_of(client, "/products/99999", status=404)


async def test_it_shows_what_runs_since_when_and_how(pool: Pool) -> None:
    made = await product(pool, await built_image(pool, tag="v1.0.0"), track="^1")
    await ended(pool, made)
    newer = await built_image(pool, tag="v1.0.1-x")
    async with transaction(pool) as conn:
        await conn.execute(
            "update products set image_id = $2, replicas = 3, healthcheck = $3 where id = $1",
            made, newer, healthcheck_json(Healthcheck(("CMD-SHELL", "wget -q localhost"))),
        )  # fmt: skip
        shown = await store.read(conn, made)
    assert shown is not None
    assert shown.live is not None
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/products/{made}")
    text = words(html)
    facts = text.split("Runs", 1)[1].split("Tasks")[0]
    assert "bre:v1.0.0 aaaaaaa since" in facts
    assert "not what it is pinned to" in facts
    assert "Pinned to bre:v1.0.1-x" in facts
    assert "^1: newer tags" in facts
    assert f":{shown.fields.port} → 8080 host" in facts
    assert shown.live.image in facts
    assert "wget -q localhost" in facts
    assert f"tagship-{shown.slug}" in facts


async def test_a_failure_shows_its_reason_and_the_last_words_first(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    await ended(pool, made)
    await ended(pool, made, RolloutState.ROLLED_BACK, tasks=3)
    async with signed_in(api_services(pool)) as client:
        kept = words(await page_of(client, f"/products/{made}"))
        assert "what ran before runs on: its container keeps ending" in kept
        assert kept.index("KeyError: PLATFORM_API_KEY") < kept.index("Pinned to")
        assert "exit code 1" in kept
        assert "2 more tasks" in kept
        await ended(pool, made)
        good = words(await page_of(client, f"/products/{made}"))
        assert "what ran before runs on" not in good
        assert "KeyError" in good.split("History")[1], "history keeps it"


async def test_history_says_why_by_whom_and_how_long(pool: Pool) -> None:
    image_id = await built_image(pool, tag="v3.0.0")
    made = await product(pool, image_id)
    services = api_services(pool)
    await ended(pool, made)
    async with asking(services) as api:
        assert (await api.patch(f"/products/{made}", json={"replicas": 2})).status_code == 200
    async with transaction(pool) as conn:
        delivery = await conn.fetchval(
            "insert into deliveries (guid, event, state, body) values ('g', 'push', 'accepted', '') returning id"
        )
        await conn.execute("update builds set source = 'delivery', delivery_id = $1", delivery)
        await conn.execute(
            "insert into audit_log (actor, via, action, subject, subject_id, subject_name)"
            " values ('ada', 'webhook', 'push_tag', 'delivery', $1, 'x')",
            delivery,
        )
        await conn.execute("update rollouts set reason = 'pin_moved' where state = 'done'")
    async with signed_in(services) as client:
        html = await page_of(client, f"/products/{made}")
    history = words(html).split("History", 1)[1]
    assert "changed by admin" in history
    assert "its rule moved it to bre:v3.0.0, pushed by ada (delivery)" in history
    assert f'href="/deliveries/{delivery}"' in html


async def test_older_history_is_one_page_further(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    ids = [await ended(pool, made, kind=kind) for kind in (RolloutKind.DEPLOY, RolloutKind.STOP) * 15]
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/products/{made}")
        assert f'href="/products/{made}?before={ids[5]}#history"' in html
        older = await page_of(client, f"/products/{made}?before={ids[5]}")
    assert [number in words(older) for number in (f"rollout {ids[4]}", f"rollout {ids[0]}")] == [True, True]
    assert 'rel="next"' not in older
    assert "Newest" in words(older)


async def test_what_was_removed_cannot_be_gone_back_to(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    first = await ended(pool, made)
    async with transaction(pool) as conn:
        await conn.execute("update products set image_id = $1", await conn.fetchval("select id from docker_images"))
    await ended(pool, made)
    async with transaction(pool) as conn:
        await conn.execute("update builds set removed_at = now()")
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, f"/products/{made}")
    assert f"back-{first}" not in html
    assert "its image was removed" in words(html)


async def test_the_form_holds_names_and_masks_and_never_a_value(pool: Pool) -> None:
    built, pending = await built_image(pool, tag="v1"), (await queue_build(pool, tag="v2"))[0]
    services = api_services(pool)
    async with asking(services) as api:
        body = {
            "name": "AXA", "slug": "axa", "port": 7001, "image_id": built,
            "env_vars": {"KEY": "a canary of a value"}, "healthcheck": {"test": ["CMD", "/check", '"x"']},
        }  # fmt: skip
        made = (await api.post("/products", json=body)).json()
    async with signed_in(services) as client:
        html = await page_of(client, f"/products/{made['id']}")
        new = await page_of(client, f"/products/new?image={built}")
    assert "canary" not in html
    assert 'value="KEY"' in html
    assert "[&#34;CMD&#34;, &#34;/check&#34;" in html
    assert f'<option value="{built}" selected>bre:v1</option>' in html
    assert f'value="{pending}"' not in html, "an image that is not built cannot be changed to"
    assert f'<option value="{pending}" data-waits>bre:v2 (not built yet)</option>' in new
    assert f'<option value="{built}" selected>' in new


async def test_the_mark_of_a_form_changes_with_the_fields_and_not_with_the_state(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))

    async def mark() -> set[str]:
        async with signed_in(api_services(pool)) as client:
            return set(re.findall(r'data-mark="(\w+)"', await page_of(client, f"/products/{made}")))

    first = await mark()
    await ended(pool, made)
    assert await mark() == first
    assert len(first) == 1
    await named(pool, made, "Other")
    assert await mark() != first


async def test_deleting_asks_with_names_and_numbers(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    async with transaction(pool) as conn:
        await conn.execute(
            "update products set replicas = 2, name = 'AXA', slug = 'axa', port = 7002, env_sealed = '{}'"
        )

    async def asked() -> str:
        async with signed_in(api_services(pool)) as client:
            html = await page_of(client, f"/products/{made}")
        [found] = re.findall(r'data-call="DELETE [^"]+" data-confirm="([^"]+)"', html)
        return str(found)

    assert (await asked()).startswith("Its service")
    await ended(pool, made)
    assert "2 tasks of AXA stop" in await asked()
    assert "port 7002 and the slug axa are free" in await asked()


async def test_hostile_text_is_text(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    await ended(pool, made, RolloutState.FAILED, error=HOSTILE)
    async with transaction(pool) as conn:
        await conn.execute(
            "update products set name = $1, track = $1, healthcheck = $2",
            HOSTILE, healthcheck_json(Healthcheck(("CMD-SHELL", HOSTILE))),
        )  # fmt: skip
        await conn.execute(
            "update rollouts set task_errors = jsonb_set(task_errors, '{0,output}', to_jsonb($1::text))", HOSTILE
        )
        await conn.execute("update rollouts set image_name = $1, progress = $1", HOSTILE)
    async with signed_in(api_services(pool)) as client:
        for path in ("/products", f"/products?text={quote(HOSTILE)}&image={quote(HOSTILE)}", f"/products/{made}"):
            html = await page_of(client, path)
            assert "<script>alert" not in html
            assert "49&amp;amp;" not in html
            assert HOSTILE in words(html) or "text=" in path


async def test_pages_say_what_the_api_says(pool: Pool) -> None:
    made = await product(pool, await built_image(pool), track="^1")
    await ended(pool, made)
    services = api_services(pool)
    async with asking(services) as api, signed_in(services) as client:
        said: dict[str, Any] = (await api.get(f"/products/{made}")).json()
        text = words(await page_of(client, f"/products/{made}"))
    assert all(str(said[name]) in text for name in ("name", "port", "replicas", "image_name", "track", "status"))
    assert said["live"]["image"] in text


# ---------------------------------------------------------------- what it costs

FILL: Final = """
insert into products (name, slug, port) select 'p' || n, 'p-' || n, n from generate_series(1, 3000) n;
insert into rollouts (product_id, kind, reason, state, finished_at, image, env_sealed, port, publish_mode, replicas)
  select p.id, 'deploy', 'start', 'done', now(), 'sha256:x', '{}', 1, 'host', 1 from products p, generate_series(1, 10);
insert into docker_images (name, tag, github_repo, github_ref)
  select 'i', n::text, 'a/b', 'r' from generate_series(1, 20000) n;
with made as (insert into builds (image_id, source, recipe, state, finished_at, exact_ref)
  select id, 'api', '{}', 'success', now(), 'x' from docker_images returning id, image_id)
update docker_images i set latest_build_id = made.id, live_build_id = made.id from made where made.image_id = i.id;
insert into audit_log (actor, via, action, subject, subject_id, subject_name)
  select 'a', 'api', 'start_product', 'product', n, 'x' from generate_series(1, 20000) n;
insert into deliveries (guid, event, body) select n::text, 'push', '' from generate_series(1, 20000) n;
analyze products; analyze rollouts; analyze docker_images; analyze builds; analyze audit_log; analyze deliveries
"""
CASES: Final = {
    ("products_page", "products_ranked"): ("null, null, null, 1500, false, 51", ("rollouts", "docker_images")),
    ("products_page", "products_listed"): ("'{7, 8, 9}'", ("products", "rollouts", "docker_images", "builds")),
    ("products_page", "history"): ("7, null, 26", ("rollouts", "builds", "audit_log", "deliveries")),
    ("drift", "standings"): ("1500, null, 100", ("products", "rollouts")),
    ("plans", "under_way"): ("7", ("rollouts",)),
    ("plans", "brought_by_pin"): ("7, null", ("docker_images", "builds", "deliveries")),
}


async def test_no_page_reads_a_growing_table_whole(pool: Pool) -> None:
    async with transaction(pool) as conn:
        for statement in FILL.split(";\n"):
            await conn.execute(statement)
        for (file, name), (arguments, tables) in CASES.items():
            statement = load_queries(file)[name].rstrip(";")
            for number, argument in reversed(list(enumerate(re.findall(r"'[^']*'|[^, ]+", arguments), 1))):
                statement = statement.replace(f"${number}", argument)
            plan = "\n".join(row[0] for row in await conn.fetch(f"explain {statement}"))
            for table in tables:
                assert f"Seq Scan on {table}" not in plan, f"{name}\n{plan}"


@pytest.mark.parametrize("status", list(ProductStatus))
async def test_every_state_has_a_page(pool: Pool, status: ProductStatus) -> None:
    made = await product(pool, await built_image(pool))
    async with transaction(pool) as conn:
        await conn.execute("update products set status = $2 where id = $1", made, status)
    async with signed_in(api_services(pool)) as client:
        assert str(status).replace("_", " ") in words(await page_of(client, f"/products/{made}"))
        assert str(status).replace("_", " ") in words(await page_of(client, "/products"))
