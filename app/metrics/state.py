"""What is true for all processes of an installation together, as metrics.

Every process exports the same of it, so it is read with ``max``, not ``sum``, where several are scraped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily

from app.builds.model import BuildState
from app.products.model import ProductStatus
from app.reports.model import ReportKind
from app.rollouts.model import RolloutState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from app.github.rate import Rate

QUEUE_STATES: Final = ("waiting", "delayed", "running", "abandoned")

# What is counted, the name and the sentence of its metric, its label, and every value that the label may have.
STATES: Final[Mapping[str, tuple[str, str, str, Sequence[str]]]] = {
    "builds": (
        "tagship_builds",
        "Builds that are not over, by state.",
        "state",
        (BuildState.PENDING, BuildState.BUILDING),
    ),
    "rollouts": (
        "tagship_rollouts",
        "Rollouts that are not over, by state.",
        "state",
        (RolloutState.PENDING, RolloutState.APPLYING, RolloutState.CONVERGING),
    ),
    "products": ("tagship_products", "Products, by what their services are now.", "status", tuple(ProductStatus)),
    "channels": (
        "tagship_channels",
        "Channels that notices go to; switched_off are those whose receiver refused for good.",
        "state",
        ("on", "off", "switched_off"),
    ),
    "looks": (
        "tagship_watched_repositories",
        "GitHub repositories whose tags are looked at, by whether the last look went well.",
        "state",
        ("ok", "failing"),
    ),
    "refusals": (
        "tagship_report_refusals",
        "GitHub repositories that do not let our credentials report what became of a tag, by kind of report.",
        "kind",
        tuple(ReportKind),
    ),
}


@dataclass(frozen=True, slots=True)
class Queue:
    """One stage's queue: how many jobs wait for a worker, are put off, are worked on, or were left by a worker that is
    gone; ``oldest_s`` is how long the first of those has waited that could be begun.
    """

    waiting: int = 0
    delayed: int = 0
    running: int = 0
    abandoned: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """What the database says at one moment: each stage's queue, and of what how many are in which state (of chores, how
    many seconds ago they were done). What is in neither is none.
    """

    queues: Mapping[str, Queue]
    numbers: Mapping[tuple[str, str], float]


def families(state: State | None, *, stages: Sequence[str], engine_up: bool, rate: Rate | None) -> Iterator[Metric]:
    """The metrics of what was found. ``state`` is None when the database did not answer: then nothing is said of what
    only it knows. ``stages`` are those whose queues somebody works on. ``rate`` is None when GitHub has told none yet.
    """
    yield GaugeMetricFamily("tagship_database_up", "Whether PostgreSQL answers: 1 or 0.", state is not None)
    yield GaugeMetricFamily("tagship_engine_up", "Whether the Docker engine answers: 1 or 0.", engine_up)
    if rate is not None:
        yield GaugeMetricFamily(
            "tagship_github_rate_limit_remaining",
            "Requests that GitHub still takes from us this hour, as its last answer said.",
            rate.remaining,
        )
        yield GaugeMetricFamily(
            "tagship_github_rate_limit", "Requests that GitHub takes from us in an hour.", rate.limit
        )
    if state is not None:
        yield from _queues(state, stages)
        yield from _counts(state)
        yield _chores(state)


def _queues(state: State, stages: Sequence[str]) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "tagship_queue_jobs",
        "Jobs of each stage: waiting for a worker, delayed on purpose, running, abandoned by a worker that is gone.",
        labels=("stage", "state"),
    )
    oldest = GaugeMetricFamily(
        "tagship_queue_oldest_age_seconds",
        "How long the oldest job of each stage that could be begun has been waiting; 0 when none does.",
        labels=("stage",),
    )
    for stage in stages:
        queue = state.queues.get(stage, Queue())
        for one in QUEUE_STATES:
            jobs.add_metric((stage, one), getattr(queue, one))
        oldest.add_metric((stage,), queue.oldest_s)
    yield jobs
    yield oldest


def _counts(state: State) -> Iterator[Metric]:
    for what, (name, sentence, label, values) in STATES.items():
        family = GaugeMetricFamily(name, sentence, labels=(label,))
        for value in values:
            family.add_metric((str(value),), state.numbers.get((what, str(value)), 0))
        yield family


def _chores(state: State) -> Metric:
    family = GaugeMetricFamily(
        "tagship_chore_age_seconds",
        "How long ago each chore was done last; one that never was is left out.",
        labels=("chore",),
    )
    for (what, name), seconds in sorted(state.numbers.items()):
        if what == "chores":
            family.add_metric((name,), seconds)
    return family
