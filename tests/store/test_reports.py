"""Reports as rows: what GitHub knows follows what is true, in order, once, and only where it is wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from pydantic import SecretStr

from app.builds import store as builds
from app.builds.model import BuildId, ImageId, Source
from app.github.client import GitHubClient
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.queue.loop import Loop
from app.reports import store
from app.reports.text import payload_of
from app.reports.work import ReportStage
from app.repositories.recipe import Recipe
from app.rollouts.model import RolloutKind
from tests.factories import claim_build, expire, product, queue_rollout, succeed
from tests.fakes.github import LocalGitHub
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Pool
    from app.reports.model import ClaimedReport

REPO: Final = "acme/bre"
CONTEXT: Final = "tagship/bre"
URL: Final = "https://tagship.example"
PATIENCE_S: Final = 30.0


@pytest.fixture(scope="module")
async def local_github(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalGitHub]:
    async with LocalGitHub.start(tmp_path_factory.mktemp("github"), webhook_secret="unused") as github:
        await github.create_repository(REPO)
        yield github


@pytest.fixture
def github(local_github: LocalGitHub) -> LocalGitHub:
    for kept in (
        local_github.state.seen,
        local_github.state.statuses,
        local_github.state.deployments,
        local_github.state.denied,
    ):
        kept.clear()
    local_github.state.faults.pending.clear()
    return local_github


@pytest.fixture
async def commit(github: LocalGitHub) -> str:
    return await github.commit(REPO, {"a": "b"})


@pytest.fixture
async def client(github: LocalGitHub) -> AsyncIterator[GitHubClient]:
    client = GitHubClient.open(api_url=github.url, token=SecretStr("a-token"))
    yield client
    await client.close()


@pytest.fixture
async def loop(pool: Pool, client: GitHubClient) -> Loop[ClaimedReport]:
    """The loop of the stage, for one turn at a time; reports are on."""
    await configure(pool)
    return Loop(stage(pool, client), asyncio.Event())


def stage(pool: Pool, client: GitHubClient) -> ReportStage:
    return ReportStage(pool, client.reporting, worker="tests", public_url=URL)


async def configure(pool: Pool, *, enabled: bool = True) -> None:
    async with transaction(pool) as conn:
        await store.configure(conn, enabled=enabled)


async def build(pool: Pool, commit: str | None, tag: str = "v1.0.0", repo: str = REPO) -> tuple[ImageId, BuildId]:
    async with transaction(pool) as conn:
        image_id, _ = await builds.upsert_image(conn, name="bre", tag=tag, repo=repo, ref=f"refs/tags/{tag}")
        build_id = await builds.enqueue(conn, image_id, source=Source.API, commit=commit, recipe=Recipe())
    return image_id, build_id


async def built(pool: Pool, commit: str, tag: str = "v1.0.0") -> ImageId:
    """An image, whose build GitHub has not been told of yet."""
    image_id, _ = await build(pool, commit, tag)
    await end(pool)
    return image_id


async def end(pool: Pool) -> None:
    """Let the next build succeed."""
    claimed = await claim_build(pool)
    assert claimed is not None
    await succeed(pool, claimed)


async def turn(loop: Loop[Any]) -> None:
    """Turns of the loop until nothing is left to do now."""
    while await loop.turn():
        await asyncio.wait_for(loop.settled(), PATIENCE_S)


async def rows(pool: Pool) -> list[dict[str, Any]]:
    async with transaction(pool) as conn:
        found = await conn.fetch("select *, run_after - now() as wait from reports order by id")
    return [dict(row) for row in found]


async def execute(pool: Pool, statement: str, *arguments: object) -> None:
    async with transaction(pool) as conn:
        await conn.execute(statement, *arguments)


async def rollout_is(pool: Pool, rollout_id: int, state: str) -> None:
    over = state not in {"pending", "applying", "converging"}
    await execute(
        pool,
        "update rollouts set state = $2::text::rollout_state, error = 'exit 1', finished_at = $3::text::timestamptz"
        " where id = $1",
        rollout_id,
        state,
        "2026-11-24T12:00:00Z" if over else None,
    )
    if over:
        await execute(pool, "update rollouts set finished_at = now() where id = $1", rollout_id)


async def on_its_way(github: LocalGitHub) -> bool:
    return bool(asked(github))


def asked(github: LocalGitHub) -> list[str]:
    """What was to be written through the API of the repository, in order."""
    start = f"/repos/{REPO}"
    return [
        seen.path.removeprefix(start)
        for seen in github.asked()
        if seen.method == "POST" and seen.path.startswith(start)
    ]


# ---------------------------------------------------------------- rows


async def test_nothing_is_queued_unless_reporting_is_on(pool: Pool, commit: str) -> None:
    await built(pool, commit)
    await configure(pool)
    await configure(pool, enabled=False)
    await built(pool, commit, "v1.1.0")
    assert await rows(pool) == []
    await configure(pool)
    image_id = await built(pool, commit, "v1.2.0")
    made = await product(pool, image_id)
    rollout_id = await queue_rollout(pool, made)
    assert [(row["build_id"] is not None, row["rollout_id"]) for row in await rows(pool)] == [
        (True, None),
        (False, rollout_id),
    ]


async def test_a_stop_and_an_image_that_we_did_not_build_make_no_deployment(
    pool: Pool, loop: Loop[Any], commit: str
) -> None:
    made = await product(pool, await built(pool, commit))
    await queue_rollout(pool, made, RolloutKind.STOP)
    assert [row["rollout_id"] for row in await rows(pool)] == [None]


# ---------------------------------------------------------------- commit statuses


async def test_a_commit_is_pending_and_then_what_became_of_it(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    image_id, _ = await build(pool, commit)
    await turn(loop)
    claimed = await claim_build(pool)
    assert claimed is not None
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["pending"], "building is no news to GitHub"
    await succeed(pool, claimed)
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["pending", "success"]
    assert github.state.statuses[-1] | {"description": ""} == {
        "repo": REPO,
        "sha": commit,
        "context": CONTEXT,
        "state": "success",
        "description": "",
        "target_url": f"{URL}/api/v1/images/{image_id}",
    }
    await turn(loop)
    assert len(asked(github)) == 2, "the last word is said once"


async def test_a_burst_is_told_as_its_last_state(pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str) -> None:
    await built(pool, commit)
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["success"]


async def test_a_failed_build_says_why(pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str) -> None:
    await build(pool, commit)
    claimed = await claim_build(pool)
    assert claimed is not None
    async with transaction(pool) as conn:
        await builds.fail(conn, claimed.lease, "there is no Dockerfile " + "x" * 200)
    await turn(loop)
    [status] = github.state.statuses
    assert status["state"] == "failure"
    assert status["description"].startswith("failed: there is no Dockerfile")


async def test_a_build_without_a_commit_waits_until_it_is_known(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    await build(pool, None)
    await turn(loop)
    assert asked(github) == []
    await execute(pool, "update builds set commit_sha = $1", commit)
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["pending"]


async def test_a_build_that_ended_without_a_commit_waits_for_nothing(pool: Pool, loop: Loop[Any]) -> None:
    await build(pool, None)
    await execute(pool, "update builds set state = 'cancelled', finished_at = now()")
    await turn(loop)
    assert [row["finished_at"] is not None for row in await rows(pool)] == [True]


async def test_the_newest_build_of_a_commit_speaks_for_it(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    await built(pool, commit)
    await build(pool, commit)
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["pending"], "the success of before would say too much"
    await end(pool)
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["pending", "success"]
    assert all(row["finished_at"] for row in await rows(pool))


async def test_two_reports_about_one_commit_are_never_under_way_together(
    pool: Pool, loop: Loop[Any], client: GitHubClient, commit: str
) -> None:
    await built(pool, commit)
    working = stage(pool, client)
    first = await working.claim()
    assert first is not None
    await build(pool, commit)
    assert await working.claim() is None
    await working.hand_back(first)
    assert await working.claim() is not None


async def test_a_commit_that_the_tag_left_while_it_was_built_does_not_stay_pending(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    await build(pool, commit)
    await turn(loop)
    other = await github.commit(REPO, {"a": "c"})
    await execute(pool, "update builds set commit_sha = $1", other)
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["pending", "error"]
    assert github.statuses_of(other, CONTEXT) == ["pending"]


# ---------------------------------------------------------------- deployments


async def test_a_rollout_is_a_deployment_with_its_statuses(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    rollout_id = await queue_rollout(pool, await product(pool, await built(pool, commit)))
    for state in ("pending", "applying", "converging", "done"):
        await rollout_is(pool, rollout_id, state)
        await turn(loop)
    [deployment] = github.state.deployments
    slug = deployment["environment"]
    assert [status["state"] for status in deployment["statuses"]] == ["queued", "in_progress", "success"]
    assert deployment["sha"] == commit
    link = f"{URL}/api/v1/rollouts/{rollout_id}"
    assert deployment["payload"] == {"tagship": link, "rollout": rollout_id, "image": "bre:v1.0.0"}
    assert deployment["statuses"][-1] == {
        "state": "success",
        "description": f"{slug} runs bre:v1.0.0",
        "log_url": link,
    }


async def test_a_failed_rollout_is_a_failure_and_a_superseded_one_inactive(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    made = await product(pool, await built(pool, commit))
    first = await queue_rollout(pool, made)
    await turn(loop)
    second = await queue_rollout(pool, made)
    await rollout_is(pool, second, "rolled_back")
    await turn(loop)
    states = [[status["state"] for status in one["statuses"]] for one in github.state.deployments]
    assert states == [["queued", "inactive"], ["failure"]]
    assert first < second


async def test_a_late_report_does_not_make_the_newer_rollout_inactive(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    made = await product(pool, await built(pool, commit))
    first = await queue_rollout(pool, made)
    await turn(loop)
    await rollout_is(pool, first, "done")
    second = await queue_rollout(pool, made)
    await rollout_is(pool, second, "done")
    await turn(loop)
    states = [[status["state"] for status in one["statuses"]] for one in github.state.deployments]
    assert states == [["queued", "inactive"], ["success"]]


async def test_a_crash_after_the_deployment_was_made_makes_no_second_one(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, client: GitHubClient, commit: str
) -> None:
    image_id = await built(pool, commit)
    await turn(loop)
    await queue_rollout(pool, await product(pool, image_id))
    lost = await stage(pool, client).claim()
    assert lost is not None
    assert lost.slug is not None
    for url in ("https://another-tagship.example", URL):  # the lost worker did this, and died before it wrote the id
        await client.reporting.create_deployment(
            REPO, commit, environment=lost.slug, description="", payload=payload_of(lost, url)
        )
    await expire(pool, "reports", lost.lease.row_id)
    await turn(loop)
    another, ours = github.deployments_to(lost.slug)
    assert [status["state"] for status in ours["statuses"]] == ["queued"]
    assert another["statuses"] == [], "another Tagship's"
    assert [row["deployment_id"] for row in await rows(pool)] == [None, ours["id"]]


async def test_a_deployment_that_was_deleted_is_left_alone(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    rollout_id = await queue_rollout(pool, await product(pool, await built(pool, commit)))
    await turn(loop)
    github.state.deployments.clear()
    await rollout_is(pool, rollout_id, "done")
    await turn(loop)
    assert (await rows(pool))[-1]["finished_at"] is not None
    async with transaction(pool) as conn:
        assert await store.refusals(conn, 10) == []


# ---------------------------------------------------------------- when it may not


@pytest.mark.parametrize(("status", "message"), [(403, "Resource not accessible"), (404, "Not Found"), (401, "Bad")])
async def test_who_may_not_is_asked_once_a_day_and_the_reason_is_kept(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str, status: int, message: str
) -> None:
    github.deny(REPO, "statuses", status, message)
    image_id = await built(pool, commit)
    await turn(loop)
    await built(pool, await github.commit(REPO, {"a": str(status)}), "v1.1.0")
    await turn(loop)
    assert asked(github) == [f"/statuses/{commit}"], "not for every build"
    await queue_rollout(pool, await product(pool, image_id))
    await turn(loop)
    assert len(github.state.deployments) == 1, "the other kind goes on"
    async with transaction(pool) as conn:
        [refusal] = await store.refusals(conn, 10)
    assert (refusal.repo, str(refusal.kind)) == (REPO, "status")
    assert f"set the status of {commit[:12]}" in refusal.reason
    assert (refusal.retry_at - refusal.refused_at).total_seconds() == 24 * 3600


async def test_a_refusal_ends_after_a_day_or_with_the_start_of_a_process(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    github.deny(REPO, "statuses")
    await built(pool, commit)
    await turn(loop)
    await execute(pool, "update report_refusals set retry_at = now()")
    await turn(loop)
    await turn(loop)
    assert len(asked(github)) == 2, "tried again once, and refused for another day"
    github.allow(REPO, "statuses")
    await turn(loop)
    assert len(asked(github)) == 2
    await configure(pool)
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["success"]
    async with transaction(pool) as conn:
        assert await store.refusals(conn, 10) == []


async def test_a_used_up_context_is_recorded_and_not_tried_again(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    one = {"repo": REPO, "sha": commit, "context": CONTEXT, "state": "pending"}
    github.state.statuses.extend([one] * 1000)
    await built(pool, commit)
    await turn(loop)
    await turn(loop)
    assert len(asked(github)) == 1
    [row] = await rows(pool)
    assert "maximum number of statuses" in row["answer"]
    assert row["finished_at"] is not None


async def test_a_rate_limit_delays_every_report(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, client: GitHubClient, commit: str
) -> None:
    github.rate_limit_next(f"/repos/{REPO}/statuses", retry_after_s=50)
    await built(pool, commit)
    assert await loop.turn() == 1
    await loop.settled()
    await build(pool, await github.commit(REPO, {"a": "limited"}), "v1.1.0")
    await turn(loop)
    assert len(asked(github)) == 1
    assert 40 < (await rows(pool))[0]["wait"].total_seconds() <= 50
    await execute(pool, "update reports set run_after = now()")
    await turn(Loop(stage(pool, client), asyncio.Event()))
    assert github.statuses_of(commit, CONTEXT) == ["success"]


async def test_an_outage_costs_time_and_not_truth(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    github.fail_next(f"/repos/{REPO}/statuses", 502)
    await build(pool, commit)
    await turn(loop)
    assert github.state.statuses == []
    await end(pool)
    await execute(pool, "update reports set run_after = now()")
    await turn(loop)
    assert github.statuses_of(commit, CONTEXT) == ["success"]


async def test_what_ended_more_than_a_day_ago_is_news_no_more(
    pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str
) -> None:
    await built(pool, commit)
    await execute(pool, "update builds set finished_at = now() - interval '25 hours'")
    await turn(loop)
    assert asked(github) == []
    assert [row["answer"] for row in await rows(pool)] == ["there was nobody to tell in time"]


async def test_a_stop_hands_the_report_back(pool: Pool, loop: Loop[Any], github: LocalGitHub, commit: str) -> None:
    github.hang_next(f"/repos/{REPO}/statuses")
    await built(pool, commit)
    running = asyncio.create_task(loop.run())
    await until(lambda: on_its_way(github), "GitHub is asked")
    loop.stop()
    await asyncio.wait_for(running, PATIENCE_S)
    [row] = await rows(pool)
    assert (row["lease_token"], row["finished_at"], row["attempt"]) == (None, None, 1)


async def test_the_claim_uses_its_index(pool: Pool) -> None:
    statement = load_queries("reports")["claim_report"].rstrip(";")
    for number, argument in ((3, "'w'"), (2, "30"), (1, f"'{uuid4()}'::uuid")):
        statement = statement.replace(f"${number}", argument)
    fill = """
      insert into docker_images (name, tag, github_repo, github_ref) select 'i', n::text, 'a/b', 'r'
        from generate_series(1, 3000) n;
      insert into builds (image_id, source, recipe, state, finished_at, error)
        select id, 'api', '{}', 'failed', now(), 'x' from docker_images;
      insert into reports (build_id, finished_at) select id, now() from builds;
      analyze docker_images; analyze builds; analyze reports;"""
    async with transaction(pool) as conn:
        await conn.execute(fill)
        plan = "\n".join(row[0] for row in await conn.fetch(f"explain {statement}"))
    assert "reports_to_claim" in plan, plan
