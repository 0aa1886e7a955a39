"""What this process counts and measures, in a registry of its own.

Every instrument is made here, with the sentence that ``/metrics`` shows for it. Labels are words of a fixed few
(stages, outcomes, events, routes), so that what is exported stays small whatever is built and whoever runs it; nothing
is labelled with a repository, an image or a customer. What is true for all processes together is no business of one
process: ``app.metrics.state`` says that.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LONG: Final = (1, 2.5, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600)
SHORT: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
REQUEST: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LAG: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# Outcomes that are exported from the start, as zeros: a rate that begins with the first failure misses it.
OUTCOMES: Final = {
    "build": ("success", "failed", "cancelled", "retried", "handed_back"),
    "rollout": ("done", "failed", "rolled_back", "removed", "retried", "handed_back"),
    "notice": ("sent", "failed", "retried", "handed_back"),
    "report": ("told", "closed", "refused", "retried", "handed_back"),
    "look": ("done", "incomplete", "failed", "handed_back"),
    "chore": ("done", "retried", "handed_back"),
}
WAITING: Final = ("build", "rollout", "notice")  # the stages whose jobs tell how long they waited
DELIVERY_OUTCOMES: Final = (
    "accepted",
    "ignored",
    "duplicate",
    "unreadable",
    "refused",
    "too_large",
    "abandoned",
    "failed",
)
NOTICE_EVENTS: Final = ("build_succeeded", "build_failed", "rollout_done", "rollout_failed")

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for


class Metrics:
    """The instruments of one process. Counting costs a lock and an addition; nothing here waits or raises."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._of_process()
        self._of_work()
        self._of_deliveries()
        self.requests = Histogram(
            "tagship_http_request_duration_seconds",
            "How long requests took until their answer began; what follows a log or events is not in it.",
            ("method", "route", "status"),
            buckets=REQUEST,
            registry=self.registry,
        )

    def _of_process(self) -> None:
        info = Gauge(
            "tagship_build_info",
            "Always 1; its label tells which version of Tagship answers.",
            ("version",),
            registry=self.registry,
        )
        info.labels(version("tagship")).set(1)
        self.loop_lag = Histogram(
            "tagship_event_loop_lag_seconds",
            "How much later than it should the event loop came to a task, looked at twice a second.",
            buckets=LAG,
            registry=self.registry,
        )
        self._turn_age = Gauge(
            "tagship_loop_turn_age_seconds",
            "How long ago each background loop of this process looked for work; it does every few seconds.",
            ("stage",),
            registry=self.registry,
        )
        self._turn_failures = Counter(
            "tagship_loop_turn_failures_total",
            "How often a background loop could not look for work.",
            ("stage",),
            registry=self.registry,
        )
        self._pool = Gauge(
            "tagship_pool_connections",
            "Connections to PostgreSQL: in use, idle, and requests that wait for one.",
            ("state",),
            registry=self.registry,
        )
        self._pool_limit = Gauge(
            "tagship_pool_connections_limit", "How many connections to PostgreSQL there may be.", registry=self.registry
        )
        self._listening = Gauge(
            "tagship_listener_connected",
            "Whether wake-ups of other processes arrive: 1, or 0 while work is only found by polling.",
            registry=self.registry,
        )

    def _of_work(self) -> None:
        self._attempts = Counter(
            "tagship_attempts_total",
            "Attempts of each stage that ended here, by what came of them.",
            ("stage", "outcome"),
            registry=self.registry,
        )
        self._leases_lost = Counter(
            "tagship_lease_losses_total",
            "Leases that this process lost while it worked; of rollouts also those that a newer one took over from.",
            ("stage",),
            registry=self.registry,
        )
        self._waits = Histogram(
            "tagship_queue_wait_seconds",
            "How long builds, rollouts and notices could have been begun before a worker did.",
            ("stage",),
            buckets=(0.1, 0.25, 0.5, *LONG),
            registry=self.registry,
        )
        self._builds = Histogram(
            "tagship_build_duration_seconds",
            "How long an attempt to build an image took, from its claim to its end.",
            ("outcome",),
            buckets=LONG,
            registry=self.registry,
        )
        self._rollouts = Histogram(
            "tagship_rollout_duration_seconds",
            "How long a worker was busy with a rollout, from its claim to its end.",
            ("outcome",),
            buckets=LONG,
            registry=self.registry,
        )
        self._jobs = Histogram(
            "tagship_job_duration_seconds",
            "How long the other jobs took: notices, reports to GitHub, looks at its tags, chores.",
            ("stage",),
            buckets=SHORT,
            registry=self.registry,
        )
        self._lead_time = Histogram(
            "tagship_lead_time_seconds",
            "How long it took from the delivery that tells of a tag to a product that runs it.",
            buckets=LONG,
            registry=self.registry,
        )
        self._log_bytes = Counter(
            "tagship_build_log_bytes_total", "Bytes of build logs that were stored.", registry=self.registry
        )
        self._log_lines = Counter(
            "tagship_build_log_lines_total", "Lines of build logs that were stored.", registry=self.registry
        )
        self._notices = Counter(
            "tagship_notices_total",
            "Tries to send a notice, by what it tells of and what came of it.",
            ("event", "outcome"),
            registry=self.registry,
        )

    def _of_deliveries(self) -> None:
        counter = Counter(
            "tagship_deliveries_total",
            "Webhook requests, by what came of them; refused are those that our secrets did not sign.",
            ("outcome",),
            registry=self.registry,
        )
        self._deliveries = {outcome: counter.labels(outcome) for outcome in DELIVERY_OUTCOMES}

    # ------------------------------------------------------------ counting

    def delivery(self, outcome: str) -> None:
        """A webhook request was answered; ``outcome`` is one of ``DELIVERY_OUTCOMES``."""
        self._deliveries[outcome].inc()

    def notice(self, event: str, outcome: str) -> None:
        """A try to send a notice is over."""
        self._notices.labels(event, outcome).inc()

    def log_stored(self, piece: str) -> None:
        """So much more of a build log is stored."""
        self._log_bytes.inc(len(piece.encode()))
        self._log_lines.inc(piece.count("\n"))

    def shipped(self, seconds: float) -> None:
        """A product runs what a delivery brought so many seconds ago."""
        self._lead_time.observe(max(0.0, seconds))

    # ------------------------------------------------------------ watching

    def watch(self, stage: str) -> StageWatch:
        """What counts for one stage's loop, its usual outcomes beginning at zero."""
        durations = {"build": self._builds, "rollout": self._rollouts}.get(stage)
        if durations is None:
            seconds = self._jobs.labels(stage)
        if stage == "notice":
            for event, outcome in product(NOTICE_EVENTS, OUTCOMES[stage][:3]):
                self._notices.labels(event, outcome)
        return StageWatch(
            attempts=partial(self._attempts.labels, stage),
            durations=(lambda _: seconds) if durations is None else durations.labels,
            waits=self._waits.labels(stage) if stage in WAITING else None,
            leases_lost=self._leases_lost.labels(stage),
            turn_failures=self._turn_failures.labels(stage),
            outcomes=OUTCOMES[stage],
        )

    def watch_turns(self, stage: str, age_s: Callable[[], float]) -> None:
        """From now on ``age_s`` is asked at each scrape how long ago the stage's loop turned."""
        self._turn_age.labels(stage).set_function(age_s)

    def forget_turns(self, stage: str) -> None:
        """The stage's loop has ended."""
        self._turn_age.remove(stage)

    def watch_pool(self, *, size: Callable[[], int], idle: Callable[[], int], waiting: Callable[[], int]) -> None:
        """From now on the pool is asked at each scrape how many connections it has."""
        self._pool.labels("in_use").set_function(lambda: size() - idle())
        self._pool.labels("idle").set_function(idle)
        self._pool.labels("waiting").set_function(waiting)

    def set_pool_limit(self, connections: int) -> None:
        """How many connections there may be."""
        self._pool_limit.set(connections)

    def watch_listener(self, listening: Callable[[], bool]) -> None:
        """From now on ``listening`` is asked at each scrape."""
        self._listening.set_function(lambda: float(listening()))


class StageWatch:
    """Counts for one stage's loop (``app.queue.watch.Watch``)."""

    def __init__(
        self,
        *,
        attempts: Callable[[str], Counter],
        durations: Callable[[str], Histogram],
        waits: Histogram | None,
        leases_lost: Counter,
        turn_failures: Counter,
        outcomes: Iterable[str],
    ) -> None:
        self._attempts, self._durations, self._waits = attempts, durations, waits
        self._leases_lost, self._turn_failures = leases_lost, turn_failures
        for outcome in outcomes:
            attempts(outcome)
            durations(outcome)

    def begun(self, waited_s: float | None) -> None:
        """A job was claimed, after so long a wait where that is known."""
        if waited_s is not None and self._waits is not None:
            self._waits.observe(max(0.0, waited_s))

    def ended(self, outcome: str, seconds: float) -> None:
        """A job is over."""
        self._attempts(outcome).inc()
        self._durations(outcome).observe(seconds)
        if outcome == "lease_lost":
            self._leases_lost.inc()

    def recovered(self, outcome: str) -> None:
        """What a lost worker had left was settled."""
        self._attempts(outcome).inc()

    def turn_failed(self) -> None:
        """The loop could not look for work."""
        self._turn_failures.inc()
