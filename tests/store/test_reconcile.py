"""Looks at repositories over a real database and a local GitHub: what they build, and what they leave alone."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import SecretStr

from app.deliveries.store import Accepted, Duplicate, take_in
from app.github.client import GitHubClient
from app.github.payload import parse_event
from app.postgres.migrate import migrate
from app.postgres.pool import connect, transaction
from app.postgres.queries import sql_folder
from app.reconcile import store
from app.reconcile.work import LookStage
from app.stages import stages
from tests.api_client import SECRET, api_services, asking, audit_rows, waits_for_a_lock
from tests.factories import expire
from tests.fakes.github import LocalGitHub
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from app.deliveries.model import Ignored
    from app.postgres.pool import Connection, Pool
    from app.queue.lease import Settle
    from app.reconcile.store import ClaimedLook

REPO: Final = "Acme/bre"
TOKEN: Final = "a-token"


@pytest.fixture
async def github(tmp_path: Path) -> AsyncIterator[LocalGitHub]:
    async with LocalGitHub.start(tmp_path / "github", webhook_secret=SECRET, token=TOKEN) as github:
        await github.create_repository(REPO)
        yield github


@asynccontextmanager
async def opened(pool: Pool, github: LocalGitHub, token: str | None = TOKEN) -> AsyncIterator[LookStage]:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(token) if token else None)
    try:
        yield LookStage(pool, client, worker="tests", interval_s=300, public_url="http://tagship")
    finally:
        await client.close()


@pytest.fixture
async def stage(pool: Pool, github: LocalGitHub) -> AsyncIterator[LookStage]:
    async with opened(pool, github) as stage:
        yield stage


@pytest.fixture
async def api(pool: Pool, github: LocalGitHub) -> AsyncIterator[httpx.AsyncClient]:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(TOKEN))
    async with asking(api_services(pool, github=client)) as asked:
        yield asked
    await client.close()


async def register(api: httpx.AsyncClient, **fields: Any) -> int:
    answer = await api.post("/repositories", json={"repo": REPO} | fields)
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


async def shown(api: httpx.AsyncClient, number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/repositories/{number}")).json()
    return found


async def execute(pool: Pool, statement: str, *values: object) -> None:
    async with transaction(pool) as conn:
        await conn.execute(statement, *values)


async def due(pool: Pool) -> None:
    """Let time pass until every look is due and the pace lets it through."""
    await execute(pool, "update looks set run_after = now()")
    await execute(pool, "update look_pace set open_at = now(), closed_until = now()")


async def claimed(stage: LookStage) -> ClaimedLook:
    job = await stage.claim()
    assert job is not None
    return job


async def gathered(stage: LookStage) -> tuple[ClaimedLook, Settle]:
    """A look that has asked GitHub and not yet written anything down."""
    job = await claimed(stage)
    return job, await stage.run(job)


async def look(stage: LookStage) -> None:
    """One look, from its claim to its end."""
    _, settle = await gathered(stage)
    await settle()


async def look_again(pool: Pool, stage: LookStage) -> None:
    await due(pool)
    await look(stage)


async def builds(pool: Pool) -> list[tuple[str, str, str]]:
    """Image name, tag and source of every build, oldest first."""
    async with transaction(pool) as conn:
        rows = await conn.fetch("select i.name, i.tag, b.source from builds b join docker_images i on i.id = image_id")
    return sorted((row["name"], row["tag"], row["source"]) for row in rows)


async def tags_built(pool: Pool) -> list[str]:
    return [tag for _, tag, _ in await builds(pool)]


async def seen(pool: Pool) -> dict[str, tuple[str | None, str | None]]:
    async with transaction(pool) as conn:
        rows = await conn.fetch("select * from seen_tags")
    return {row["tag"]: (row["commit_sha"], row["listed_sha"]) for row in rows}


async def watched(pool: Pool, api: httpx.AsyncClient, stage: LookStage, **fields: Any) -> None:
    """A registration that has had its first look."""
    await register(api, **fields)
    await look(stage)
    assert (await shown(api))["last_looked_at"] is not None


# ---------------------------------------------------------------- what is built


async def test_tags_of_which_nobody_told_are_built_once_and_marked(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage, tag_pattern="v*")
    await register(api, tag_pattern="*", image_name="worker")
    await look(stage)
    await github.tag_many(REPO, "v1", "v2", "v3", "w1", annotated=True)
    await look_again(pool, stage)
    await look_again(pool, stage)
    assert await builds(pool) == [
        *(("bre", tag, "reconcile") for tag in ("v1", "v2", "v3")),
        *(("worker", tag, "reconcile") for tag in ("v1", "v2", "v3", "w1")),
    ]
    found = [row for row in await audit_rows(pool) if row["via"] == "reconcile"]
    assert [(row["actor"], row["subject_name"]) for row in found][:1] == [("tagship", f"{REPO}@v1")]
    assert sorted(number for row in found for number in row["details"]["builds"]) == list(range(1, 8))
    image = (await api.get("/images?name=bre&tag=v1")).json()[0]
    assert (await api.get(f"/images/{image['id']}/builds")).json()[0]["source"] == "reconcile"


async def test_what_has_not_changed_is_asked_for_by_its_etag_and_after_a_restart_as_well(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await github.tag(REPO, "v1")
    await watched(pool, api, stage)
    async with opened(pool, github) as restarted:
        await restarted.recover()
        await look(restarted)
    assert github.state.unchanged == [f"/repos/{REPO}/tags"]


async def test_a_registration_does_not_build_its_past(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await github.tag_many(REPO, "v1", "v2", "v3", "v4")
    await watched(pool, api, stage)
    await register(api, image_name="later")
    await look_again(pool, stage)
    await look_again(pool, stage)
    assert await builds(pool) == []
    assert sorted(await seen(pool)) == ["v1", "v2", "v3", "v4"]


@pytest.mark.parametrize("token", [TOKEN, None], ids=["with a token", "without"])
async def test_what_is_younger_than_the_registration_is_not_its_past(
    pool: Pool, api: httpx.AsyncClient, github: LocalGitHub, token: str | None
) -> None:
    """GitHub was away when the repository was registered, and tags were pushed before it was looked at."""
    async with opened(pool, github, token) as stage:
        github.state.token = token
        await github.tag_many(REPO, "old", "v0", annotated=False)
        await register(api)
        github.fail_next(f"/repos/{REPO}/tags", 502)
        await look(stage)
        assert "502" in (await shown(api))["look_error"]
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        await github.tag(REPO, "v1", push=False)
        await github.commit(REPO, {"a": "b"}, at=tomorrow)
        await github.tag(REPO, "v2", push=False)
        await execute(pool, "update repositories set watched_since = now() - interval '1 hour'")
        await github.tag_many(REPO, "v3", annotated=True)
        await github.push(REPO, "--tags")
        await look_again(pool, stage)
    assert await tags_built(pool) == ["v2", "v3"]
    assert (await shown(api))["look_error"] is None


@pytest.mark.parametrize("patched", [False, True])
async def test_a_backfill_builds_every_matching_tag_once(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub, patched: bool
) -> None:
    await github.tag_many(REPO, "v1", "v2", "v3", "w1")
    if patched:
        await watched(pool, api, stage, tag_pattern="v*")
        assert (await api.patch("/repositories/1", json={"backfill": True})).json()["backfill"] is True
        await due(pool)
    else:
        await register(api, tag_pattern="v*", backfill=True)
        assert (await shown(api))["backfill"] is True
    await gathered(stage)  # and the process dies
    assert await builds(pool) == []
    assert (await shown(api))["backfill"] is True
    await expire(pool, "looks", 1)
    await look_again(pool, stage)
    assert (await shown(api))["backfill"] is False
    await look_again(pool, stage)
    assert await tags_built(pool) == ["v1", "v2", "v3"]


async def test_a_backfill_that_is_asked_for_during_a_look_is_another_looks(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await github.tag(REPO, "v1")
    await watched(pool, api, stage)
    await due(pool)
    _, settle = await gathered(stage)
    await api.patch("/repositories/1", json={"backfill": True})
    await settle()
    assert (await shown(api))["backfill"] is True
    await look_again(pool, stage)
    assert await tags_built(pool) == ["v1"]
    assert (await shown(api))["backfill"] is False


async def test_more_tags_than_one_look_may_ask_about_are_asked_about_by_the_next(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.reconcile.pace.MOST_QUESTIONS", 2)
    await github.tag_many(REPO, "v1", "v2", "v3", "v4", "v5")
    await register(api, backfill=True)
    for done in (2, 4, 5):
        await look_again(pool, stage)
        assert len(await builds(pool)) == done
        assert (await shown(api))["backfill"] is (done < 5)


async def test_a_rate_limit_in_the_middle_keeps_what_was_answered(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage)
    await github.tag_many(REPO, "v1", "v2", "v3", "v4", "v5")
    github.rate_limit_next(f"/repos/{REPO}/git/ref/tags/v5", retry_after_s=60)
    await look_again(pool, stage)
    assert await tags_built(pool) == ["v1", "v2", "v3", "v4"]
    assert "rate limit" in (await shown(api))["look_error"]
    await execute(pool, "update looks set run_after = now()")
    assert await stage.claim() is None, "nobody asks while the limit lasts"
    await look_again(pool, stage)
    assert await tags_built(pool) == ["v1", "v2", "v3", "v4", "v5"]


@pytest.mark.parametrize(("policy", "sources"), [("rebuild", ["reconcile", "reconcile"]), ("ignore", ["reconcile"])])
async def test_a_tag_that_was_moved_in_silence_is_built_as_the_registration_says(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub, policy: str, sources: list[str]
) -> None:
    await watched(pool, api, stage, on_moved_tag=policy)
    await github.tag(REPO, "v1")
    await look_again(pool, stage)
    moved = await github.commit(REPO, {"a": "b"})
    await github.tag(REPO, "v1", force=True)
    await look_again(pool, stage)
    await look_again(pool, stage)
    assert [source for _, _, source in await builds(pool)] == sources
    assert (await seen(pool))["v1"][1] == moved


@pytest.mark.parametrize("gone", ["deleted", "being deleted", "removed"])
async def test_an_image_that_was_taken_away_is_not_brought_back(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub, gone: str
) -> None:
    await watched(pool, api, stage)
    await github.tag_many(REPO, "v1", "v2", "v3", "v4")
    answer = await api.post("/images", json={"repo": REPO, "tag": "v1"})
    assert answer.status_code == 201, answer.text
    await execute(pool, "update builds set state = 'success', finished_at = now(), exact_ref = 'x', removed_at = now()")
    if gone == "deleted":
        await execute(pool, "update docker_images set latest_build_id = null")
        await execute(pool, "delete from docker_images")
    elif gone == "being deleted":
        await execute(pool, "update docker_images set deleting_at = now()")
        await execute(pool, "delete from seen_tags")
    await look_again(pool, stage)
    before = [("bre", "v1", "api")] if gone != "deleted" else []
    assert await builds(pool) == [*before, *(("bre", tag, "reconcile") for tag in ("v2", "v3", "v4"))]
    async with transaction(pool) as conn:
        left = await conn.fetchval("select count(*) from docker_images where tag = 'v1' and deleting_at is null")
    assert left == (1 if gone == "removed" else 0)


async def test_a_deleted_tag_changes_nothing(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage)
    await github.tag(REPO, "v1")
    await look_again(pool, stage)
    before = await seen(pool)
    await github.delete_tag(REPO, "v1")
    await look_again(pool, stage)
    assert await seen(pool) == before
    assert await tags_built(pool) == ["v1"]


# ---------------------------------------------------------------- together with deliveries


async def deliver(
    conn: Connection, commit: str, *, tag: str = "v1", guid: str = "g", kind: str = "created"
) -> Accepted | Ignored | Duplicate:
    """Take in the delivery of a push of the tag, in this transaction."""
    zero, other = "0" * 40, "e" * 40
    payload = {
        "ref": f"refs/tags/{tag}",
        "before": zero if kind == "created" else other,
        "after": commit,
        "created": kind == "created",
        "deleted": False,
        "head_commit": {"id": commit},
        "repository": {"full_name": REPO},
    }
    body = json.dumps(payload).encode()
    parsed = parse_event("push", "application/json", body)
    return await take_in(conn, guid=guid, event="push", content_type="application/json", body=body, parsed=parsed)


async def test_a_tag_that_a_delivery_brought_is_not_built_again(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage)
    commit = await github.tag(REPO, "v1", annotated=True)
    async with transaction(pool) as conn:
        assert isinstance(await deliver(conn, commit), Accepted)
    await look_again(pool, stage)
    assert await builds(pool) == [("bre", "v1", "delivery")]


async def test_a_delivery_that_comes_after_the_look_builds_nothing(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage)
    commit = await github.tag(REPO, "v1")
    await look_again(pool, stage)
    async with transaction(pool) as conn:
        assert not isinstance(await deliver(conn, commit), Accepted)
    assert await builds(pool) == [("bre", "v1", "reconcile")]


async def test_a_look_waits_for_a_delivery_of_its_tag_and_leaves_it_alone(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage)
    commit = await github.tag(REPO, "v1")
    await due(pool)
    _, settle = await gathered(stage)
    async with transaction(pool) as conn:
        assert isinstance(await deliver(conn, commit), Accepted)
        settling = asyncio.create_task(_awaited(settle))
        await until(lambda: waits_for_a_lock(pool), "the look waits")
    await settling
    assert await builds(pool) == [("bre", "v1", "delivery")]


async def test_a_delivery_waits_for_a_look_at_its_tag_and_builds_nothing(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage)
    commit = await github.tag(REPO, "v1")
    await due(pool)
    job = await claimed(stage)
    found = await stage._gather(job)

    async def delivered() -> Accepted | Ignored | Duplicate:
        async with transaction(pool) as conn:
            return await deliver(conn, commit)

    async with transaction(pool) as conn:
        assert await stage._write(conn, job, found) == 1
        delivering = asyncio.create_task(delivered())
        await until(lambda: waits_for_a_lock(pool), "the delivery waits")
    assert not isinstance(await delivering, Accepted)
    assert await builds(pool) == [("bre", "v1", "reconcile")]


async def test_a_tag_never_goes_backwards_when_a_delivery_moves_it_during_the_look(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage)
    await github.tag(REPO, "v1")
    await due(pool)
    _, settle = await gathered(stage)
    newer = await github.commit(REPO, {"a": "b"})
    await github.tag(REPO, "v1", force=True)
    async with transaction(pool) as conn:
        assert isinstance(await deliver(conn, newer, kind="moved"), Accepted)
    await settle()
    await look_again(pool, stage)
    async with transaction(pool) as conn:
        assert [row["commit_sha"] for row in await conn.fetch("select commit_sha from builds")] == [newer]
    assert (await seen(pool))["v1"][0] == newer


async def _awaited(settle: Settle) -> None:
    await settle()


# ---------------------------------------------------------------- leases, pace, trouble


@pytest.mark.parametrize(("interval", "looks"), [("0", False), ("300", True)])
async def test_an_interval_of_nothing_means_never(pool: Pool, interval: str, looks: bool) -> None:
    client = GitHubClient.open()
    services = api_services(pool, github=client, TAGSHIP_RECONCILE_INTERVAL_S=interval)
    assert (store.STAGE in {stage.name for _, stage in stages(services, ())}) is looks
    await services.sender.close()
    await client.close()


async def test_several_processes_never_look_at_one_repository_twice(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await register(api)
    async with opened(pool, github) as other:
        await other.recover()
        jobs = await asyncio.gather(stage.claim(), other.claim(), stage.claim(), other.claim())
        [job] = [one for one in jobs if one is not None]
        assert await other.claim() is None, "nor one after the other"
        await expire(pool, "looks", job.lease.row_id)
        assert await other.claim() is not None, "a worker that was lost holds up nothing"


async def test_a_look_whose_lease_was_lost_writes_nothing(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await watched(pool, api, stage)
    await github.tag(REPO, "v1")
    await due(pool)
    job, settle = await gathered(stage)
    await expire(pool, "looks", job.lease.row_id)
    await claimed(stage)
    with pytest.raises(type(job.lease.lost())):
        await settle()
    assert await builds(pool) == []
    assert await seen(pool) == {}


async def test_a_rate_limit_puts_off_all_looks_and_a_pace_only_those_that_nobody_asked_for(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await github.create_repository("acme/other")
    await watched(pool, api, stage)
    await register(api, repo="acme/other", image_name="other")
    github.rate_limit_next(retry_after_s=600)
    await look(stage)
    await execute(pool, "update looks set run_after = now()")
    assert await stage.claim() is None
    await execute(pool, "update look_pace set closed_until = now()")
    job = await claimed(stage)
    assert job.repo == "acme/other", "its first look is still owed"
    assert job.failures == 0
    assert await stage.claim() is None


async def test_a_repository_that_github_does_not_show_is_looked_at_rarely_and_says_why(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await register(api, repo="acme/nothing")
    await look(stage)
    found = await shown(api)
    assert "GitHub does not know repository acme/nothing" in found["look_error"]
    assert found["last_looked_at"] is None
    async with transaction(pool) as conn:
        assert await conn.fetchval("select run_after > now() + interval '50 minutes' from looks")


async def test_forgetting_the_last_registration_forgets_what_was_seen(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    await github.tag(REPO, "v1")
    await watched(pool, api, stage)
    await register(api, image_name="other")
    await api.delete("/repositories/1")
    assert list(await seen(pool)) == ["v1"]
    await due(pool)
    _, settle = await gathered(stage)
    await api.delete("/repositories/2")
    assert await seen(pool) == {}
    with pytest.raises(Exception, match="lease"):
        await settle()


# ---------------------------------------------------------------- deliveries that did not arrive


async def test_a_failed_delivery_is_asked_for_three_times_six_hours_apart(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    github.hooks.url = "http://127.0.0.1:9/webhooks/github"
    await github.tag(REPO, "v1", annotated=True)
    events = len(github.deliveries)
    await register(api)
    for hours, attempts in ((0, 2), (5.9, 2), (0.2, 3), (6.1, 4), (6.1, 4)):
        await execute(pool, "update redeliveries set asked_at = asked_at - make_interval(secs => $1)", hours * 3600)
        await execute(pool, "update looks set hooks_after = now()")
        await look_again(pool, stage)
        await github.hooks.settled()
        assert [len(sent.attempts) for sent in github.deliveries] == [attempts] * events
    assert events == 2


async def test_webhooks_that_are_not_shown_are_left_alone_for_a_day_and_nothing_else_changes(
    pool: Pool, api: httpx.AsyncClient, stage: LookStage, github: LocalGitHub
) -> None:
    github.deny(REPO, "hooks")
    await watched(pool, api, stage)
    await github.tag(REPO, "v1")
    async with opened(pool, github) as restarted:
        await restarted.recover()
        await look_again(pool, restarted)
    assert await tags_built(pool) == ["v1"]
    assert (await shown(api))["look_error"] is None
    assert [seen.path for seen in github.asked()].count(f"/repos/{REPO}/hooks") == 1
    async with transaction(pool) as conn:
        assert await conn.fetchval("select hooks_after > now() + interval '23 hours' from looks")


async def test_a_delivery_is_asked_for_by_one_process(pool: Pool) -> None:
    async def ask() -> bool:
        async with transaction(pool) as conn:
            return await store.note_redelivery(conn, "g", "acme/bre")

    assert sorted(await asyncio.gather(*(ask() for _ in range(4)))) == [False, False, False, True]


# ---------------------------------------------------------------- an existing database


async def test_an_upgrade_does_not_build_the_past(empty_database: str, tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    for file in sorted((sql_folder() / "migrations").glob("*.sql")):
        if file.name < "0007":
            shutil.copy(file, before)
    await migrate(empty_database, before)
    conn = await connect(empty_database)
    try:
        await conn.execute("""
          insert into repositories (repo, image_name) values ('Acme/bre', 'bre'), ('acme/BRE', 'worker'), ('a/b', 'b');
          insert into docker_images (name, tag, github_repo, github_ref) values
            ('bre', 'v1', 'Acme/bre', 'r'), ('worker', 'v1', 'acme/BRE', 'r'), ('x', 'v9', 'x/x', 'r');
          insert into builds (image_id, cause, recipe, commit_sha) values (1, 'delivery', '{}', repeat('a', 40));
          update docker_images set latest_build_id = 1 where id = 1;
          insert into deliveries (guid, event, repo, ref, state, reason, body) values
            ('1', 'push', 'acme/bre', 'refs/tags/v1', 'accepted', null, ''),
            ('2', 'push', 'acme/bre', 'refs/tags/w/1', 'ignored', 'x', ''),
            ('3', 'push', 'acme/bre', 'refs/heads/main', 'ignored', 'x', ''),
            ('4', 'ping', null, null, 'ignored', 'x', '')""")
        assert "0007_reconcile" in await migrate(empty_database)
        rows = await conn.fetch("select repo, tag, commit_sha from seen_tags order by tag")
        assert [tuple(row) for row in rows] == [("acme/bre", "v1", "a" * 40), ("acme/bre", "w/1", None)]
        assert [row["repo"] for row in await conn.fetch("select repo from looks order by repo")] == ["a/b", "acme/bre"]
        assert await conn.fetchval("select source from builds") == "delivery"
        assert await conn.fetchval("select bool_and(watched_since >= created_at) from repositories")
        assert await conn.fetchval("select count(first_look_at) from repositories") == 0
    finally:
        await conn.close(timeout=5)
