"""What this process counts: by which names, from which values on, and that it counts what happens."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from app.builds.model import BuildState
from app.builds.store import STAGE as BUILD
from app.dashboard.prefix import PathPrefix
from app.errors import EngineUnavailable, LeaseLost
from app.github.rate import Rate
from app.metrics.instruments import NOTICE_EVENTS, OUTCOMES, Metrics
from app.metrics.lag import watch_lag
from app.metrics.requests import MeasuredRequests
from app.metrics.state import Queue, State, families
from app.notices.model import NoticeEvent, NoticeState
from app.notices.store import STAGE as NOTICE
from app.products.model import ProductStatus
from app.queue.lease import Beat, Lease
from app.queue.loop import Loop
from app.reconcile.store import STAGE as LOOK
from app.reports.store import STAGE as REPORT
from app.retention.store import STAGE as CHORE
from app.rollouts.model import RolloutState
from app.rollouts.store import STAGE as ROLLOUT
from tests.unit.test_loop import NEVER_S, PATIENCE_S, Bench, Task, endless, failing

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.core import Metric
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

STATE: Final = State({"build": Queue(waiting=3, running=2, oldest_s=7.5)}, {("products", "running"): 4})
SENTENCE: Final = re.compile(r"[A-Z].*\.")
UNITS: Final = {"duration": "seconds", "age": "seconds", "wait": "seconds", "time": "seconds", "lag": "seconds"}


def exported(metrics: Metrics, state: State | None = None) -> list[Metric]:
    """All that a process exports, whose every stage is watched."""
    for stage in OUTCOMES:
        metrics.watch(stage)
    rate = Rate(limit=5000, remaining=4999, reset_s=60.0)
    return [*metrics.registry.collect(), *families(state, stages=["build", "look"], engine_up=True, rate=rate)]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("family", exported(Metrics(), STATE), ids=lambda family: family.name)
def test_every_metric_has_a_name_by_prometheus_conventions_and_a_sentence(family: Metric) -> None:
    assert SENTENCE.fullmatch(family.documentation), family.documentation
    if family.name.startswith("process_"):
        return
    assert re.fullmatch(r"tagship(_[a-z]+)+", family.name)
    if family.type == "histogram":
        assert family.name.endswith("_seconds")
    if family.type == "counter":
        assert all(sample.name.endswith("_total") for sample in family.samples)
    for word, unit in UNITS.items():
        assert word not in family.name.split("_") or family.name.endswith(f"_{unit}"), family.name


def test_no_name_is_exported_twice() -> None:
    names = [family.name for family in exported(Metrics(), STATE)]
    assert len(names) == len(set(names))


def test_no_label_can_take_more_than_a_few_values() -> None:
    labels = {name for family in exported(Metrics(), STATE) for one in family.samples for name in one.labels}
    assert labels == {"version", "stage", "outcome", "event", "state", "status", "kind", "le"}


def test_the_words_of_outcomes_are_those_of_the_stages() -> None:
    assert set(OUTCOMES) == {BUILD, ROLLOUT, NOTICE, REPORT, LOOK, CHORE}
    assert {BuildState.SUCCESS, BuildState.FAILED, BuildState.CANCELLED} < set(OUTCOMES[BUILD])
    assert {RolloutState.DONE, RolloutState.FAILED, RolloutState.ROLLED_BACK} < set(OUTCOMES[ROLLOUT])
    assert {NoticeState.SENT, NoticeState.FAILED} < set(OUTCOMES[NOTICE])
    assert set(NOTICE_EVENTS) == set(NoticeEvent)


# ---------------------------------------------------------------- what is there from the start


def test_what_has_never_happened_is_a_zero_and_not_left_out() -> None:
    metrics = Metrics()
    exported(metrics)
    assert value(metrics, "tagship_attempts_total", stage="build", outcome="failed") == 0
    assert value(metrics, "tagship_build_duration_seconds_count", outcome="success") == 0
    assert value(metrics, "tagship_lease_losses_total", stage="rollout") == 0
    assert value(metrics, "tagship_notices_total", event="build_failed", outcome="failed") == 0
    assert value(metrics, "tagship_deliveries_total", outcome="failed") == 0


def test_a_process_counts_only_the_stages_that_it_works_on() -> None:
    metrics = Metrics()
    metrics.watch(BUILD)
    assert value(metrics, "tagship_attempts_total", stage="build", outcome="failed") == 0
    assert value(metrics, "tagship_attempts_total", stage="rollout", outcome="failed") is None


def test_two_processes_do_not_count_together() -> None:
    one, other = Metrics(), Metrics()
    one.delivery("accepted")
    assert value(one, "tagship_deliveries_total", outcome="accepted") == 1
    assert value(other, "tagship_deliveries_total", outcome="accepted") == 0


# ---------------------------------------------------------------- what the database says


def samples(state: State | None, stages: list[str], rate: Rate | None = None) -> dict[tuple[str, ...], float]:
    found = families(state, stages=stages, engine_up=False, rate=rate)
    return {(one.name, *one.labels.values()): one.value for family in found for one in family.samples}


def test_every_state_is_exported_also_those_that_nothing_is_in() -> None:
    shown = samples(STATE, ["build", "rollout"])
    assert shown["tagship_queue_jobs", "build", "waiting"] == 3
    assert shown["tagship_queue_jobs", "build", "running"] == 2
    assert shown["tagship_queue_jobs", "rollout", "waiting"] == 0
    assert shown["tagship_queue_oldest_age_seconds", "build"] == 7.5
    assert [shown["tagship_products", str(status)] for status in ProductStatus] == [0, 0, 0, 4, 0, 0]
    assert not [name for name in shown if "look" in name], "nobody works on that queue, so it is not late"


def test_of_a_database_that_is_away_nothing_is_said_but_that() -> None:
    assert samples(None, ["build"]) == {("tagship_database_up",): 0, ("tagship_engine_up",): 0}


# ---------------------------------------------------------------- a stage at work


async def attempts(stage: Bench) -> Metrics:
    """What was counted of one turn and all that its jobs led to."""
    metrics = Metrics()
    loop = Loop(stage, asyncio.Event(), poll_s=NEVER_S, beat_s=0.01, watch=metrics.watch(BUILD))
    await loop.turn()
    await asyncio.wait_for(loop.settled(), PATIENCE_S)
    return metrics


def outcomes(metrics: Metrics) -> dict[str, float]:
    """How often each outcome was counted, those of nothing left out; and as many durations."""
    [family] = [one for one in metrics.registry.collect() if one.name == "tagship_attempts"]
    found = {one.labels["outcome"]: one.value for one in family.samples if one.value}
    for outcome, count in found.items():
        assert value(metrics, "tagship_build_duration_seconds_count", outcome=outcome) == count
    return found


def ending(outcome: str | None) -> Callable[[], Any]:
    async def settle() -> str | None:
        return outcome

    async def work() -> Any:
        return settle

    return work


@pytest.mark.parametrize(("said", "counted"), [("success", "success"), ("failed", "failed"), (None, "ended")])
async def test_an_attempt_counts_as_what_its_ending_says(said: str | None, counted: str) -> None:
    assert outcomes(await attempts(Bench(2, ending(said), concurrency=2))) == {counted: 2}


async def test_a_crash_counts_as_another_try_unless_it_says_more() -> None:
    class Last(Bench):
        async def crash(self, job: Task, error: Exception) -> str:  # type: ignore[override]
            return "failed"

    assert outcomes(await attempts(Bench(1, failing(EngineUnavailable("away"))))) == {"retried": 1}
    assert outcomes(await attempts(Last(1, failing(EngineUnavailable("away"))))) == {"failed": 1}


async def test_a_cancelled_attempt_counts_as_cancelled() -> None:
    stage = Bench(1, endless)
    stage.renewal = Beat.CANCEL
    assert outcomes(await attempts(stage)) == {"cancelled": 1}


@pytest.mark.parametrize("found_by", ["beat", "work"])
async def test_a_lost_lease_is_counted_as_one(found_by: str) -> None:
    stage = Bench(1, endless if found_by == "beat" else failing(LeaseLost("bench", 0)))
    stage.renewal = Beat.LOST if found_by == "beat" else Beat.HELD
    metrics = await attempts(stage)
    assert outcomes(metrics) == {"lease_lost": 1}
    assert value(metrics, "tagship_lease_losses_total", stage="build") == 1


async def test_what_a_lost_worker_left_is_counted_where_it_is_settled() -> None:
    class Heir(Bench):
        async def recover(self) -> list[str]:  # type: ignore[override]
            return ["retried", "failed", "failed"]

    metrics = await attempts(Heir(0, endless))
    assert value(metrics, "tagship_attempts_total", stage="build", outcome="failed") == 2
    assert value(metrics, "tagship_attempts_total", stage="build", outcome="retried") == 1
    assert value(metrics, "tagship_build_duration_seconds_count", outcome="failed") == 0, "nobody knows how long"


async def test_a_turn_that_fails_is_counted() -> None:
    stage = Bench(0, endless)
    stage.recovery = EngineUnavailable("away")
    metrics = await attempts(stage)
    assert value(metrics, "tagship_loop_turn_failures_total", stage="build") == 1


async def test_a_job_counts_how_long_it_waited_where_that_is_known() -> None:
    stage = Bench(1, ending("success"))
    stage.waiting.append(Task(Lease("bench", 9, stage.waiting[0].lease.token, 30, 12.5)))
    stage.concurrency = 2
    metrics = await attempts(stage)
    assert value(metrics, "tagship_queue_wait_seconds_count", stage="build") == 1
    assert value(metrics, "tagship_queue_wait_seconds_sum", stage="build") == 12.5


# ---------------------------------------------------------------- requests


class Refusing:
    """Middleware that lets nobody through to the routes behind it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 401)(scope, receive, send)


async def answer(_request: Request) -> Response:
    return PlainTextResponse("yes", 202)


async def crash(_request: Request) -> Response:
    raise KeyError("a bug")


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/images/7", ("GET", "/images/{id}", "2xx")),
        ("GET", "/api/v1/images/7", ("GET", "/api/v1/images/{id}", "2xx")),
        ("PATCH", "/images/7", ("PATCH", "/images/{id}", "4xx")),
        ("BREW", "/images/7", ("other", "/images/{id}", "4xx")),
        ("GET", "/api/v1/nothing/7", ("GET", "/api/v1", "4xx")),
        ("GET", "/closed/things/7", ("GET", "/closed", "4xx")),
        ("GET", "/nothing/7", ("GET", "none", "4xx")),
        ("GET", "/crash", ("GET", "/crash", "5xx")),
    ],
)
@pytest.mark.parametrize("public_url", ["https://ops.example", "https://ops.example/tagship"])
async def test_a_request_is_counted_by_the_template_of_its_route(
    public_url: str, method: str, path: str, labels: tuple[str, ...]
) -> None:
    metrics = Metrics()
    image = Route("/images/{id}", answer)
    routes = [image, Mount("/api/v1", routes=[image]), Route("/crash", crash)]
    routes.append(Mount("/closed", routes=[image], middleware=[Middleware(Refusing)]))
    app = PathPrefix(MeasuredRequests(Starlette(routes=routes), metrics.requests), public_url)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tagship") as client:
        await client.request(method, path)
    names = dict(zip(("method", "route", "status"), labels, strict=True))
    assert value(metrics, "tagship_http_request_duration_seconds_count", **names) == 1


# ---------------------------------------------------------------- the event loop


async def test_a_hold_of_the_event_loop_is_seen_as_long_as_it_is() -> None:
    seen = asyncio.Event()

    def observe(seconds: float) -> None:
        if seconds > 0.05:
            seen.set()

    sampling = asyncio.create_task(watch_lag(observe, sample_s=0.001))
    await asyncio.sleep(0)
    time.sleep(0.1)
    await asyncio.wait_for(seen.wait(), PATIENCE_S)
    sampling.cancel()
