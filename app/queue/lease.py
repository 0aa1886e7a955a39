"""What a worker holds while it works on one row: the row's id and the token that fences every write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from app.errors import LeaseLost

if TYPE_CHECKING:
    from uuid import UUID

Settle: TypeAlias = Callable[[], Awaitable[str | None]]
"""The last step of a job, which writes down how it ended, and says so in a word; it is not torn in the middle."""


@dataclass(frozen=True, slots=True)
class Lease:
    """``stage`` names the table for logs; ``seconds`` is how long the lease lasts without a renewal, ``waited_s`` how
    long the row could have been claimed before; None where nobody asks.
    """

    stage: str
    row_id: int
    token: UUID
    seconds: float
    waited_s: float | None = None

    def lost(self) -> LeaseLost:
        """What to raise when a write found that the lease does not hold any more."""
        return LeaseLost(self.stage, self.row_id)


class Beat(StrEnum):
    """What a renewal told: the lease holds, it is another's now, or somebody wants this work cancelled."""

    HELD = "held"
    LOST = "lost"
    CANCEL = "cancel"


class Job(Protocol):
    """Anything a stage hands to the loop."""

    @property
    def lease(self) -> Lease: ...


JobT = TypeVar("JobT", bound=Job)


class Stage(Protocol[JobT]):
    """What the loop needs of a stage; every method opens its own transaction, and all but ``run`` return quickly.

    ``run`` performs the job, may be cancelled at any point, and returns how to settle the row. The loop then calls
    what it returned, and lets it end: a finished job is not repeated because the process stops in that moment. The
    three endings below are for a job that does not get there: the process stops (``hand_back``), a person cancels
    (``cancel``), or it raised what it should not have (``crash``); a lost lease needs nothing, the row is another
    worker's. What an ending says of its outcome, and ``recover`` of each job that it settled, is a word for those who
    count (``app.queue.watch``); None is as good.
    """

    name: str
    concurrency: int

    async def recover(self) -> Sequence[str] | None: ...
    async def claim(self) -> JobT | None: ...
    async def run(self, job: JobT) -> Settle: ...
    async def renew(self, job: JobT) -> Beat: ...
    async def hand_back(self, job: JobT) -> str | None: ...
    async def cancel(self, job: JobT) -> str | None: ...
    async def crash(self, job: JobT, error: Exception) -> str | None: ...
