"""Who watches a loop: how its jobs begin and end, for whoever counts. Nothing here may raise or wait."""

from __future__ import annotations

from typing import Final, Protocol

RETRIED: Final = "retried"
HANDED_BACK: Final = "handed_back"
CANCELLED: Final = "cancelled"
LEASE_LOST: Final = "lease_lost"
UNSETTLED: Final = "unsettled"
ENDED: Final = "ended"


def uncounted(*_what: object) -> None:
    """Nobody counts."""


class Watch(Protocol):
    """Is told of one stage's loop. An outcome is a word of a fixed few: a state of the stage, or one of the above."""

    def begun(self, waited_s: float | None) -> None:
        """A job was claimed, so many seconds after it could have been first; None: nobody knows, or it was before."""

    def ended(self, outcome: str, seconds: float) -> None:
        """A job that was begun here is over, so many seconds later."""

    def recovered(self, outcome: str) -> None:
        """What a lost worker had left was settled here."""

    def turn_failed(self) -> None:
        """The loop could not look for work."""


class Unwatched:
    """Nobody counts."""

    def begun(self, waited_s: float | None) -> None: ...
    def ended(self, outcome: str, seconds: float) -> None: ...
    def recovered(self, outcome: str) -> None: ...
    def turn_failed(self) -> None: ...
