"""A company's Tagship in the middle of a working day: rows in every state that a page shows, with names as people have
them. Nothing works on them, so they stay as they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.access.model import Role, new_token
from app.access.store import insert_token
from app.builds import store as builds
from app.builds.model import ImageId
from app.deliveries.store import store_unreadable, take_in
from app.engine.shape import PublishMode
from app.github.payload import parse_event
from app.postgres.pool import transaction
from app.products import store as products
from app.products.model import ProductFields, ProductStatus
from app.repositories import store as repositories
from app.repositories.model import MovedTagPolicy
from app.repositories.recipe import Recipe
from app.rollouts import store as rollouts
from app.rollouts.frozen import seal_value
from app.rollouts.model import RolloutState
from tests.browser import logs
from tests.factories import claim_build, claim_rollout, queue_rollout, succeed

if TYPE_CHECKING:
    from app.api.services import Services
    from app.builds.model import ClaimedBuild
    from app.postgres.pool import Pool
    from app.products.model import ProductId
    from app.sealing import Vault
    from tests.fakes.github import LocalGitHub

PUSH: Final = json.loads((Path(__file__).parents[1] / "payloads/push_tag_created.json").read_text())
PUSHERS: Final = ("release-bot", "maria", "ci-bot")
CUSTOMERS: Final = (
    *("Allianz", "AXA", "Baloise", "Concordia", "Generali", "Groupe Mutuel"),
    *("Helvetia", "Mobiliar", "Swiss Life", "Vaudoise", "Visana", "Zurich"),
)
OTHERS: Final = {"claims-api": ("Claims EU", "Claims CH", "Claims UK"), "docs-site": ("Docs",)}
HOURS_BETWEEN: Final = 8
LONG_LEASE_S: Final = 86_400.0
HOSTILE: Final = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


@dataclass(frozen=True)
class Scene:
    """What a test may look at."""

    built: ImageId
    failed: ImageId
    building: ImageId
    build: ClaimedBuild
    pending: ImageId
    cancelled: ImageId
    running: ProductId
    rolled_back: ProductId
    stopped: ProductId
    broken: ProductId
    hostile: int


async def set_up(services: Services, github: LocalGitHub, *, trouble: bool = True) -> Scene:
    """Everything: history, products, what is under way, and what needs a person; without ``trouble`` only what any day
    brings.
    """
    pool, vault = services.pool, services.vault
    await _register(pool, github)
    await _history(pool)
    fleet = {name: await _settled_products(pool, vault, name) for name in ("bre-payments", *OTHERS)}
    built = await _rolling_out(pool, "v1.9.0", commit_of("bre-payments", 9))
    failed = await _failing(pool)
    cancelled = await _cancelled(pool)
    build = await _building(pool)
    pending = await deliver(pool, "claims-api", "v2.0.0-rc.2", commit_of("claims-api", 20))
    hostile = await _trouble(pool, fleet["docs-site"][0]) if trouble else 0
    stopped = await _product(pool, vault, "Nationale Suisse", built, track=None)
    return Scene(
        built=built,
        failed=failed,
        building=build.image_id,
        build=build,
        pending=pending,
        cancelled=cancelled,
        running=fleet["bre-payments"][0],
        rolled_back=fleet["bre-payments"][7],
        stopped=stopped,
        broken=fleet["docs-site"][0],
        hostile=hostile,
    )


def commit_of(name: str, number: int) -> str:
    """A commit's SHA, always the same."""
    return f"{sum(name.encode()) * 7919 + number:x}{'c0ffee' * 7}"[:40]


async def deliver(pool: Pool, name: str, tag: str, commit: str, *, repo: str = "") -> ImageId:
    """Take in GitHub's push of a tag; the image that is then to be built, or 0 when nobody watches the repository."""
    repo = repo or f"acme/{name}"
    payload = json.loads(json.dumps(PUSH))
    payload |= {"ref": f"refs/tags/{tag}", "after": commit}
    payload["repository"]["full_name"] = repo
    payload["pusher"]["name"] = PUSHERS[len(tag) % len(PUSHERS)]
    payload["head_commit"]["id"] = commit
    body = json.dumps(payload).encode()
    parsed = parse_event("push", "application/json", body)
    guid = f"{commit[:8]}-{commit[8:12]}-11f1-{commit[12:16]}-{tag.encode().hex():0>12}"
    async with transaction(pool) as conn:
        await take_in(
            conn,
            guid=guid,
            event="push",
            content_type="application/json",
            body=body,
            parsed=parsed,
            address="140.82.115.3",
        )
        image = "select id from docker_images where name = $1 and tag = $2"
        return ImageId(await conn.fetchval(image, name, tag) or 0)


# ---------------------------------------------------------------- what was


async def _register(pool: Pool, github: LocalGitHub) -> None:
    for name in ("bre-payments", *OTHERS):
        await github.create_repository(f"acme/{name}", {"Dockerfile": "FROM busybox\n"})
        for tag in ("v1.8.0", "v1.9.0", "v2.0.0"):
            await github.commit(f"acme/{name}", {"VERSION": tag}, f"Retry SEPA batches, for {tag}")
            await github.tag(f"acme/{name}", tag)
        async with transaction(pool) as conn:
            await repositories.insert(
                conn,
                repo=f"acme/{name}",
                image_name=name,
                tag_pattern="v*",
                recipe=Recipe(),
                on_moved_tag=MovedTagPolicy.REBUILD,
            )


async def _history(pool: Pool) -> None:
    """Nine days of tags that were pushed and built; two of the builds failed."""
    for minor in range(9):
        for name in ("bre-payments", *OTHERS):
            await deliver(pool, name, f"v1.{minor}.0", commit_of(name, minor))
            claimed = await _claim(pool)
            if (name, minor) in {("docs-site", 2), ("claims-api", 4)}:
                await _fail(pool, claimed, "the build was not done after 1800 s and was stopped")
            else:
                await _log(pool, claimed, logs.SUCCESS)
                await succeed(pool, claimed)
    async with transaction(pool) as conn:
        await conn.execute(
            "update builds set created_at = now() - make_interval(hours => $1 * (28 - id::int))", HOURS_BETWEEN
        )
        await conn.execute("update builds set started_at = created_at + make_interval(secs => 2 + id % 5)")
        await conn.execute("update builds set finished_at = started_at + make_interval(secs => 31 + (id * 7) % 23)")
        await conn.execute("update builds set size_bytes = 91000000 + id * 137000 where state = 'success'")
        await conn.execute("update deliveries d set received_at = created_at from builds b where b.delivery_id = d.id")
        await conn.execute("update audit_log a set at = d.received_at from deliveries d where a.subject_id = d.id")


async def _settled_products(pool: Pool, vault: Vault, name: str) -> list[ProductId]:
    """The products of an image, which run since the day before yesterday."""
    async with transaction(pool) as conn:
        image = await conn.fetchval("select id from docker_images where name = $1 and tag = 'v1.8.0'", name)
    made = []
    for customer in OTHERS.get(name, CUSTOMERS):
        product = await _product(pool, vault, customer, image, track=None if customer in {"Zurich", "Docs"} else "^1")
        await queue_rollout(pool, product)
        await _settle(pool)
        made.append(product)
    async with transaction(pool) as conn:
        ago = "now() - interval '2 days'"
        await conn.execute(f"update rollouts set created_at = {ago}, finished_at = {ago} + interval '6 s'")
    return made


async def _product(pool: Pool, vault: Vault, name: str, image: int, *, track: str | None) -> ProductId:
    slug = name.lower().replace(" ", "-")
    values = {"CUSTOMER": slug, "LOG_LEVEL": "info", "PLATFORM_API_KEY": "a secret value"}
    env = {key: seal_value(vault, slug, key, value) for key, value in values.items()}
    async with transaction(pool) as conn:
        port = 8001 + await conn.fetchval("select count(*) from products")
        fields = ProductFields(name, port, None, PublishMode.INGRESS, 1, image, track, env, None)
        return await products.insert(conn, slug=slug, fields=fields, status=ProductStatus.STOPPED)


async def _settle(pool: Pool, state: RolloutState = RolloutState.DONE, error: str | None = None) -> None:
    """Bring the rollout that is next to its end."""
    taken = await claim_rollout(pool)
    assert taken is not None
    lease, rollout = taken
    async with transaction(pool) as conn:
        await rollouts.mark_converging(conn, lease, f"service-{rollout.product_id}")
        if error:
            where = {"task": "hx2k9vq1", "slot": 1, "node": "node-1"}
            end = {"state": "failed", "error": "task: non-zero exit (1)", "exit_code": 1, "output": logs.LAST_WORDS}
            await rollouts.record_failure(conn, lease, error, [where | end])
        live = rollout.id if state is RolloutState.DONE else rollout.live_rollout_id
        await rollouts.settle(conn, lease, state, status="running", live=live)
        await conn.execute("update products set wanted = true where id = $1", rollout.product_id)


# ---------------------------------------------------------------- what goes on


async def _rolling_out(pool: Pool, tag: str, commit: str) -> ImageId:
    """A release that nine products follow: most run it, one has gone back, three are on their way."""
    image = await deliver(pool, "bre-payments", tag, commit)
    claimed = await _claim(pool)
    await _log(pool, claimed, logs.SUCCESS)
    await succeed(pool, claimed)
    for _ in range(7):
        await _settle(pool)
    await _settle(pool, RolloutState.ROLLED_BACK, "its container left with exit code 1 three times")
    for _ in range(2):
        taken = await claim_rollout(pool)
        assert taken is not None
        async with transaction(pool) as conn:
            await rollouts.mark_converging(conn, taken[0], "service-x")
            await rollouts.record_progress(conn, taken[0], "0 of 1 running, 1 starting", None)
            await conn.execute("update rollouts set lease_until = now() + interval '1 day' where id = $1", taken[1].id)
    await _began(pool, claimed, seconds_ago=69, took_s=38)
    return image


async def _failing(pool: Pool) -> ImageId:
    image = await deliver(pool, "docs-site", "v2.0.1", commit_of("docs-site", 21))
    claimed = await _claim(pool)
    await _log(pool, claimed, logs.FAILURE)
    await _fail(pool, claimed, logs.WHY_IT_FAILED)
    await _began(pool, claimed, seconds_ago=860, took_s=6)
    return image


async def _cancelled(pool: Pool) -> ImageId:
    image = await deliver(pool, "docs-site", "v2.0.0", commit_of("docs-site", 20))
    claimed = await _claim(pool)
    async with transaction(pool) as conn:
        await builds.cancel(conn, claimed.id)
        await builds.cancel_if_wanted(conn, claimed.lease, "cancelled by maria")
    await _began(pool, claimed, seconds_ago=1210, took_s=9)
    return image


async def _building(pool: Pool) -> ClaimedBuild:
    await deliver(pool, "claims-api", "v2.0.0-rc.1", commit_of("claims-api", 19))
    claimed = await _claim(pool)
    await _log(pool, claimed, logs.BEGINNING)
    await _began(pool, claimed, seconds_ago=18)
    return claimed


async def _trouble(pool: Pool, broken: ProductId) -> int:
    """What else needs a person, and what strangers sent; the delivery whose text is hostile."""
    await deliver(pool, "x", "v1", "b" * 40, repo="acme/not-registered")
    async with transaction(pool) as conn:
        reason = "the content type is neither application/json nor application/x-www-form-urlencoded"
        await store_unreadable(
            conn, guid="hostile", event="push", content_type="text/plain", body=HOSTILE.encode(), reason=reason
        )
        await conn.execute("update products set status = 'failed' where id = $1", broken)
        await conn.execute(
            "insert into channels (name, kind, enabled, disabled_reason)"
            " values ('ops', 'slack', false, 'Slack answered 410: the channel is gone')"
        )
        expiry = datetime.now(UTC) + timedelta(days=90)
        for name, role in (("ci", Role.DEPLOY), (HOSTILE[:40], Role.READ)):
            await insert_token(conn, name=name, role=role, token=new_token(), expires_at=expiry)
        hostile: int = await conn.fetchval("select id from deliveries where guid = 'hostile'")
        return hostile


# ---------------------------------------------------------------- hands


async def _claim(pool: Pool) -> ClaimedBuild:
    claimed = await claim_build(pool, lease_s=LONG_LEASE_S)
    assert claimed is not None
    return claimed


async def _began(pool: Pool, claimed: ClaimedBuild, *, seconds_ago: float, took_s: float | None = None) -> None:
    """Let a build have begun so long ago, two seconds after it was pushed, and be over if it took some time."""
    async with transaction(pool) as conn:
        await conn.execute(
            "update builds set created_at = now() - make_interval(secs => $2 + 2),"
            " started_at = now() - make_interval(secs => $2), finished_at = now() - make_interval(secs => $2 - $3),"
            " size_bytes = case when state = 'success' then 94371840 end where id = $1",
            claimed.id,
            seconds_ago,
            took_s,
        )
        await conn.execute(
            "update deliveries set received_at = now() - make_interval(secs => $2) where guid = $1",
            claimed.delivery_guid,
            seconds_ago + 2,
        )


async def _fail(pool: Pool, claimed: ClaimedBuild, error: str) -> None:
    async with transaction(pool) as conn:
        assert await builds.fail(conn, claimed.lease, error)


async def _log(pool: Pool, claimed: ClaimedBuild, text: str) -> None:
    async with transaction(pool) as conn:
        head = f"{claimed.name}:{claimed.tag} from {claimed.repo} at commit {claimed.commit_sha}\n"
        assert await builds.append_log(conn, claimed.lease, 1, head + text)
