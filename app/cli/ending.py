"""How a command ends: its exit code, and the sentence for people when it is not 0."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final

from app.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    WRONG = 2
    REFUSED = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


MEANINGS: Final[dict[int, str]] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "it failed: no image was built, or the rollout is not done",
    ExitCode.WRONG: "wrong arguments or settings",
    ExitCode.REFUSED: "refused by the server, or there is no such thing",
    ExitCode.UNREACHABLE: "the server cannot be reached, or cannot answer",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}


class Ended(AppError):
    """A command that ends with another exit code than 0."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def lines(self) -> list[str]:
        """What people are told, a line each."""
        return [str(self)]


class NotDone(Ended):
    """What was asked for was begun, and did not come to a good end."""


class WrongUse(Ended):
    """The environment or the arguments cannot be used."""

    exit_code = ExitCode.WRONG


class Refused(Ended):
    """The server said no (4xx); ``problem`` is its RFC 9457 document, ``{}`` when it sent none."""

    exit_code = ExitCode.REFUSED

    def __init__(self, status: int, problem: Mapping[str, Any], advice: str = "") -> None:
        self.status, self.problem = status, problem
        detail = str(problem.get("detail") or problem.get("title") or "the server gave no reason")
        super().__init__(f"refused ({status}): {detail}{advice}")

    def lines(self) -> list[str]:
        """The problem's detail, then every field that is wrong."""
        return [str(self), *(f"  {field}" for field in wrong_fields(self.problem.get("errors")))]


class Missing(Ended):
    """There is no such product, image or token."""

    exit_code = ExitCode.REFUSED


class Unreachable(Ended):
    """The server does not answer, or answers nothing that Tagship would."""

    exit_code = ExitCode.UNREACHABLE
    retryable = True


class Interrupted(Ended):
    """Ctrl-C; what the server was asked to do goes on."""

    exit_code = ExitCode.INTERRUPTED


def wrong_fields(errors: object) -> list[str]:
    """``field: message`` of each entry of a problem's ``errors``."""
    entries: Sequence[object] = errors if isinstance(errors, list) else ()
    found = []
    for entry in entries:
        if isinstance(entry, dict):
            loc = entry.get("loc")
            place = ".".join(str(part) for part in loc) if isinstance(loc, list) else str(loc or "")
            found.append(f"{place or 'body'}: {entry.get('msg', '')}")
    return found
