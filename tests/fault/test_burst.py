"""A burst of deliveries beside running builds: none is lost, none doubled, and the process does not grow."""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.fault.process import Tagship
from tests.load import Burst, Kind, send
from tests.memory import MEGABYTE, watched_memory
from tests.postgres import execute
from tests.world import DOCKERFILE, SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from tests.fault.scene import Scene
    from tests.load import Answer, Request

DELIVERIES: Final = 2000
CONNECTIONS: Final = 64
MOST_GROWTH: Final = 64 * MEGABYTE
# Of processor time: what the clock says counts the work of others on this machine too.
MOST_HELD_MS: Final = 50
TAGS: Final = ("v1.0.0", "v1.1.0", "v1.2.0")
CHATTY: Final = {
    "Dockerfile": DOCKERFILE.replace(
        "EXPOSE", "RUN for i in $(seq 600); do echo line $i of @RUN@; usleep 8000; done\nEXPOSE"
    )
}
STORED: Final = """
select d.guid, d.state, array(select i.name || ' ' || i.tag || ' ' || b.commit_sha from builds b
                              join docker_images i on i.id = b.image_id where b.delivery_id = d.id) as builds
  from deliveries d"""


@asynccontextmanager
async def busy(scene: Scene) -> AsyncIterator[tuple[Tagship, list[str]]]:
    """A process that builds some tags, with repositories registered whose builds wait until the test is over."""
    repos = [f"acme/load-{scene.run}-{number}" for number in range(6)]
    environment = scene.environment | {"TAGSHIP_RECONCILE_INTERVAL_S": "0", "TAGSHIP_LEASE_S": "10"}
    async with Tagship.start(scene.log, environment, module="tests.fault.probed") as tagship:
        scene.listen(tagship)
        for repo in [*repos, scene.repo]:
            await tagship.post("/repositories", {"repo": repo, "tag_pattern": "v*"})
        for tag in TAGS:
            await scene.release(tag, CHATTY)
            await scene.image_of(tagship, tag)
        database = environment["DATABASE_URL"]
        await execute(database, "alter table builds alter column run_after set default now() + interval '1 day'")
        tagship.process.send_signal(signal.SIGUSR1)
        yield tagship, repos


def outcomes(answers: Iterable[Answer]) -> dict[str, Counter[str]]:
    """How often each GUID was answered in which way; a refusal is its status."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        found[answer.request.guid][answer.body.get("outcome", str(answer.status))] += 1
    return found


def subject_of(request: Request) -> list[str]:
    """The builds that an accepted delivery has led to."""
    return [request.subject.partition("/")[2]]


def expected(request: Request) -> tuple[Counter[str], str | None, list[str]]:
    """How the delivery was answered, what it is stored as, and its builds."""
    match request.kind:
        case Kind.FORGED:
            return Counter({"401": 1}), None, []
        case Kind.MALFORMED:
            return Counter({"400": 1}), "failed", []
        case Kind.ACCEPTED:
            return Counter(accepted=1), "accepted", subject_of(request)
        case _:
            return Counter(ignored=1), "ignored", []


def check(requests: Sequence[Request], answers: Iterable[Answer], stored: Mapping[str, Any]) -> None:
    """Every delivery was answered and is stored as what it is, once; ``stored`` are the rows by GUID."""
    seen, times = outcomes(answers), Counter(request.guid for request in requests)
    twins: dict[str, Counter[str]] = defaultdict(Counter)
    for request in {request.guid: request for request in requests}.values():
        first, row = seen[request.guid] - Counter(duplicate=times[request.guid] - 1), stored.get(request.guid)
        state, builds = (row["state"], row["builds"]) if row else (None, [])
        wanted = expected(request)
        if request.kind is Kind.TWIN:
            twins[request.subject][str(state)] += 1
            wanted = (Counter({str(state): 1}), state, subject_of(request) if state == "accepted" else [])
        assert (first, state, builds) == wanted, request.subject
    assert all(twin == Counter(accepted=1, ignored=1) for twin in twins.values()), twins
    built = Counter(build for row in stored.values() for build in row["builds"])
    assert max(built.values()) == 1, "one build for each image and commit"


@pytest.mark.timeout(400)
async def test_burst_loses_and_doubles_nothing_while_builds_run(
    scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    async with busy(scene) as (tagship, repos):
        requests = Burst(SECRET, repos).mixed(DELIVERIES)
        async with watched_memory(tagship.process.pid) as memory:
            answers, figures = await send(tagship.url, requests, CONNECTIONS)
        for tag in TAGS:
            image = await scene.image_of(tagship, tag)
            await tagship.becomes(f"/images/{image['id']}", "build_status", "success")
            await scene.told()
        stored = await scene.rows(STORED)
        await tagship.terminate()
    held = tagship.events("loop_held")[-1]
    record_property("figures", f"{figures}; {memory}; longest step {held['processor_ms']:.1f} ms of processor time")

    assert tagship.events("worker_lost") == [], "the burst left the heartbeats their connections"
    assert len(answers) == DELIVERIES
    assert {answer.status for answer in answers} == {200, 202, 400, 401}
    check(requests, answers, {row["guid"]: row for row in stored})
    assert memory.growth < MOST_GROWTH
    assert held["processor_ms"] < MOST_HELD_MS, held
