"""Whether a service still is what its rollout made it, or somebody changed it by hand: pure.

Only what Tagship writes is compared, and only while nothing is under way: a rollout is judged by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from app.engine.compare import CONTAINER_LABELS, FORCE_UPDATE, LABELS, REPLICAS, ROLLOUT, differences
from app.rollouts.model import SERVICE_PREFIX, RolloutKind, RolloutState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.engine.compare import Difference

# Tasks that somebody had replaced are the same tasks; how long a change is watched is a setting of today, and labels
# of provenance name what may be forgotten by now.
NOT_COMPARED: Final = (FORCE_UPDATE, "UpdateConfig.Monitor", "RollbackConfig.Monitor", CONTAINER_LABELS, LABELS)

NAMED: Final = 3


class DriftState(StrEnum):
    """How a product's service stands to what Tagship last made it."""

    IN_STEP = "in_step"
    DRIFTED = "drifted"
    MISSING = "missing"
    FOREIGN = "foreign"
    ROLLING_OUT = "rolling_out"
    FAILED = "failed"
    NOT_STARTED = "not_started"
    UNREADABLE = "unreadable"

    @property
    def is_wrong(self) -> bool:
        """Whether a person should look."""
        return self in {DriftState.DRIFTED, DriftState.MISSING, DriftState.FOREIGN}


SENTENCES: Final = {
    DriftState.IN_STEP: "The service is what its last rollout made it.",
    DriftState.ROLLING_OUT: "A rollout is under way; compare again when it is over.",
    DriftState.FAILED: "The last rollout failed, so that there is nothing to compare with; redeploy or roll back.",
    DriftState.NOT_STARTED: "The product was never started, so that there is no service yet.",
    DriftState.UNREADABLE: "What the last rollout asked for cannot be read, so that there is nothing to compare with.",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A product by its rollouts: the one that describes what runs, and the newest there is."""

    product_id: int
    slug: str
    name: str
    live_id: int | None
    newest_id: int | None
    newest_kind: RolloutKind | None
    newest_state: RolloutState | None


@dataclass(frozen=True, slots=True)
class Described:
    """The rollout that says what the service shall be; ``runs`` is False when it was scaled to nothing and left its
    port to others.
    """

    rollout_id: int
    runs: bool


def described_by(standing: Standing) -> Described | DriftState:
    """What to compare a product's service with, or why there is nothing to compare it with now. A rollout that failed
    leaves what it could: the product says so itself.
    """
    if standing.newest_id is None or standing.newest_state is None:
        return DriftState.NOT_STARTED
    if not standing.newest_state.final:
        return DriftState.ROLLING_OUT
    if standing.newest_state not in {RolloutState.DONE, RolloutState.ROLLED_BACK}:
        return DriftState.FAILED
    if standing.newest_kind is RolloutKind.STOP:
        return Described(standing.newest_id, runs=False)
    return Described(standing.live_id, runs=True) if standing.live_id is not None else DriftState.FAILED


def drift(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> list[Difference]:
    """What differs between the spec that a rollout describes and the one on the engine, what matters most first.

    ``before`` is what the rollout made, ``after`` what is there. Of what Tagship does not write (resources, placement,
    networks, mounts, other people's labels) nothing is said.
    """
    return [one for one in differences(wanted, actual) if _is_compared(one.path)]


def _is_compared(path: str) -> bool:
    return path == ROLLOUT or not path.startswith(NOT_COMPARED)


def sentence(state: DriftState, found: Sequence[Difference], slug: str, *, runs: bool) -> str:
    """What people are told; ``runs`` says whether the product shall run.

    >>> sentence(DriftState.MISSING, [], "axa", runs=True)
    'The swarm has no service tagship-axa any more: somebody removed it. Redeploy the product to have it made again.'
    """
    match state:
        case DriftState.DRIFTED:
            mend = "Redeploy the product" if runs else "Stop the product once more"
            return f"The service was changed outside Tagship: {_in_words(found)}. {mend} to put that right."
        case DriftState.MISSING:
            gone = f"The swarm has no service {SERVICE_PREFIX}{slug} any more: somebody removed it."
            return f"{gone} Redeploy the product to have it made again."
        case DriftState.FOREIGN:
            return (
                f"The swarm's service {SERVICE_PREFIX}{slug} does not carry this product's label, and Tagship leaves it"
                " alone. Remove the service, or give it its label back, then redeploy the product."
            )
        case _:
            return SENTENCES[state]


def _in_words(found: Sequence[Difference]) -> str:
    """The first few differences, briefly."""
    named = [
        f"replicas {one.before} → {one.after}"
        if one.path == REPLICAS
        else one.path.removeprefix("TaskTemplate.").removeprefix("ContainerSpec.")
        for one in found[:NAMED]
    ]
    return ", ".join(named) + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")
