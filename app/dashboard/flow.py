"""What the overview says of a tag on its way: pushed, built, running at each product. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.builds.model import BuildState, Source
from app.dashboard.wording import TONES, words
from app.rollouts.model import RolloutState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from app.dashboard.progress import Step

MOST_CELLS: Final = 60
CELL, GAP, PER_ROW = 16, 4, 20

# A product that has such a cell is on its way to what was built.
MOVING: Final = frozenset({RolloutState.PENDING, RolloutState.APPLYING, RolloutState.CONVERGING})
WORDS: Final = {
    "running": "running",
    "failed": "failed",
    "rolled_back": "rolled back",
    "converging": "starting",
    "applying": "being changed",
    "pending": "waiting",
    "stopped": "stopped since",
    "replaced": "on something else since",
    "superseded": "given up for something newer",
    "cancelled": "cancelled",
    "awaiting_image": "waiting for another image",
    "deleting": "being deleted",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """How one product fares with a build; ``state`` is its rollout's, or what became of the product since."""

    product_id: int
    name: str
    state: str
    progress: str | None

    @property
    def tone(self) -> str:
        return TONES.get(self.state, ("idle", ""))[0]

    @property
    def says(self) -> str:
        """The product and how it fares, as one sentence."""
        detail = f" ({self.progress})" if self.progress and self.state in MOVING else ""
        return f"{self.name}: {WORDS.get(self.state, words(self.state))}{detail}"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The products that a build went to: the first of them by name, and how many are in each state."""

    cells: tuple[Cell, ...]
    counts: Mapping[str, int]

    @property
    def of_all(self) -> int:
        return sum(self.counts.values())

    @property
    def moving(self) -> int:
        return sum(number for state, number in self.counts.items() if state in MOVING)

    @property
    def failed(self) -> int:
        return self.counts.get("failed", 0) + self.counts.get("rolled_back", 0)

    @property
    def sentence(self) -> str:
        return fleet_sentence(self.counts)

    @property
    def placed(self) -> list[tuple[int, int, Cell]]:
        """Where each cell is drawn."""
        step = CELL + GAP
        return [(at % PER_ROW * step, at // PER_ROW * step, cell) for at, cell in enumerate(self.cells)]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of all cells."""
        rows = -(-len(self.cells) // PER_ROW)
        return min(len(self.cells), PER_ROW) * (CELL + GAP) - GAP, max(rows * (CELL + GAP) - GAP, 0)


@dataclass(frozen=True, slots=True)
class Flight:
    """One tag on its way. ``elapsed`` is for how long it has been building, ``usual`` how long that usually takes."""

    image_id: int
    name: str
    tag: str
    active: bool
    build_id: int
    state: BuildState
    source: Source
    commit_sha: str | None
    attempt: int
    error: str | None
    created_at: datetime
    seconds: float | None
    elapsed: float | None
    usual: float | None
    delivery_id: int | None
    pushed_at: datetime | None
    actor: str | None
    pinned: int
    tracking: int
    step: Step | None
    fleet: Fleet

    @property
    def outcome(self) -> tuple[str, str]:
        """The state whose colour the row's last cell has, and its words."""
        match self.state:
            case BuildState.PENDING:
                return "pending", "waiting"
            case BuildState.BUILDING:
                return "building", "building"
            case BuildState.FAILED:
                return "failed", "build failed"
            case BuildState.CANCELLED:
                return "cancelled", "cancelled"
            case BuildState.SUCCESS:
                return self._rolling()

    def _rolling(self) -> tuple[str, str]:
        fleet = self.fleet
        if fleet.moving:
            return "deploying", "rolling out"
        if fleet.failed:
            return "failed", f"{fleet.failed} failed"
        return ("running", "running") if fleet.counts.get("running") else ("success", "built")

    @property
    def who(self) -> str:
        """Who or what asked for the build."""
        match self.source:
            case Source.DELIVERY:
                return f"pushed by {self.actor}" if self.actor else "pushed"
            case Source.RECONCILE:
                return "found on GitHub"
            case Source.REBUILD:
                return "rebuilt by hand"
            case Source.API:
                return "asked for by hand"

    @property
    def followers(self) -> str:
        """What happens to products, as long as none has been moved."""
        return followers_sentence(self.state, self.pinned, self.tracking)


def fleet_sentence(counts: Mapping[str, int]) -> str:
    """How many products are how, those that run first.

    >>> fleet_sentence({"pending": 3, "running": 7, "converging": 2}), fleet_sentence({"rolled_back": 1})
    ('7 of 12 running, 2 starting, 3 waiting', '0 of 1 running, 1 rolled back')
    """
    of_all = sum(counts.values())
    rest = [f"{counts[state]} {WORDS[state]}" for state in WORDS if state != "running" and counts.get(state)]
    return ", ".join([f"{counts.get('running', 0)} of {of_all} running", *rest])


def followers_sentence(state: BuildState, pinned: int, tracking: int) -> str:
    """What products have to do with a tag that nothing was rolled out of.

    >>> followers_sentence(BuildState.BUILDING, 1, 3)
    '1 product is pinned to it; 3 follow a rule that may take it'
    >>> followers_sentence(BuildState.FAILED, 2, 0), followers_sentence(BuildState.SUCCESS, 0, 0)
    ('2 products keep what they run', 'no product takes it')
    """
    verb = "is" if pinned == 1 else "are"
    some = f"{pinned} product{'' if pinned == 1 else 's'}"
    if state in {BuildState.FAILED, BuildState.CANCELLED}:
        return (
            f"{some} keep{'s' if pinned == 1 else ''} what {'it runs' if pinned == 1 else 'they run'}" if pinned else ""
        )
    if state is BuildState.SUCCESS:
        return f"{some} {verb} pinned to it and not started" if pinned else "no product takes it"
    said = [f"{some} {verb} pinned to it"] if pinned else []
    if tracking:
        said.append(f"{tracking} follow{'s' if tracking == 1 else ''} a rule that may take it")
    return "; ".join(said) or "no product waits for it"


def fleets_of(rows: Sequence[Mapping[str, Any]]) -> dict[int, Fleet]:
    """The fleet of each build, from rows that name a product, its state and how many share it."""
    cells: dict[int, list[Cell]] = {}
    counts: dict[int, Counter[str]] = {}
    for row in rows:
        build_id, state = row["build_id"], row["state"]
        counts.setdefault(build_id, Counter())[state] = row["of_state"]
        if row["place"] <= MOST_CELLS:
            cells.setdefault(build_id, []).append(Cell(row["product_id"], row["name"], state, row["progress"]))
    return {build_id: Fleet(tuple(cells.get(build_id, ())), dict(counted)) for build_id, counted in counts.items()}


NO_FLEET: Final = Fleet((), {})
