"""Everything that can go wrong on purpose: one tree, mapped once, in the adapters.

Each error answers two questions for whoever catches it: can a later attempt succeed without anybody changing anything
(``retryable``), and what is the sentence for people (``str(error)``): what happened, to what, and what to do.
An exception that is not an ``AppError`` is a bug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class AppError(Exception):
    """A failure we know; ``str()`` is its sentence, fit to be shown to users: it never holds a secret."""

    retryable: ClassVar[bool] = False


def sentence_of(error: Exception) -> str:
    """What people are told of a job that ended with this; a bug's own words are for the log alone, they may hold
    anything.
    """
    if isinstance(error, AppError):
        return str(error)
    return f"an internal error ({type(error).__name__}); Tagship's log says more (job_crashed)"


class SettingsInvalid(AppError):
    """The environment does not make valid settings; lists every problem, not only the first."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


class AddressUnusable(AppError):
    """The address to listen on is taken, or not one of this machine."""


class DatabaseUnavailable(AppError):
    """PostgreSQL cannot be reached, started or migrated."""

    retryable = True


class LeaseLost(AppError):
    """Another worker holds this row now: whatever we still do must have no effect."""

    def __init__(self, stage: str, row_id: int) -> None:
        self.stage, self.row_id = stage, row_id
        super().__init__(f"the lease of {stage} {row_id} was lost; another worker goes on with it")


class EngineUnavailable(AppError):
    """The Docker engine does not answer (stopped, wrong DOCKER_HOST, connection cut)."""

    retryable = True


class EngineRefused(AppError):
    """The Docker engine answered, and refused; the world is as it was."""

    def __init__(self, action: str, status: int, message: str) -> None:
        self.action, self.status, self.message = action, status, message
        super().__init__(f"the Docker engine refused to {action}: {message} (HTTP {status})")


class SwarmUnavailable(AppError):
    """The engine is not a manager of an active swarm, or the swarm cannot run what was asked for."""


class ImageUnreachable(AppError):
    """The exact image cannot run where it should: other nodes cannot get it, or it is gone."""


class ServiceNotOurs(AppError):
    """A Swarm service of that name exists and does not carry our product label; it is left alone."""


class RolloutOvertaken(AppError):
    """The service already carries a newer rollout; ours must not be applied over it."""


class BuildFailed(AppError):
    """The build ended without an image for a reason that lies in the repository or its recipe."""


class SourceInvalid(AppError):
    """The source archive is not what was asked for: wrong commit, unsafe entry, over a limit, no Dockerfile."""


class BadSignature(AppError):
    """A webhook request is not signed with any of our secrets; the sentence says which check failed, never a secret."""


class PayloadInvalid(AppError):
    """A signed delivery is not what GitHub sends: not JSON, the wrong shape, or text that no store can hold."""


class DiskUnavailable(AppError):
    """This host's disk does not take what has to be written (full, read-only, quota)."""

    retryable = True


class GitHubUnavailable(AppError):
    """GitHub does not answer, answers 5xx, or cut the connection."""

    retryable = True


class GitHubRateLimited(AppError):
    """GitHub's rate limit is used up; ``retry_after_s`` says for how long."""

    retryable = True

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"GitHub's rate limit is used up; it lifts in {retry_after_s:.0f} s")


class GitHubNotFound(AppError):
    """GitHub does not know it, or does not show it to our credentials."""


class GitHubRefused(AppError):
    """GitHub refused our credentials or our request (401, 403, 422)."""

    def __init__(self, sentence: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(sentence)


class RegistryUnavailable(AppError):
    """The container registry does not answer, answers 5xx or asks for a pause, or the connection to it broke."""

    retryable = True


class RegistryRefused(AppError):
    """The container registry answered, and refused: our credentials, our request, or what we asked for."""

    def __init__(self, sentence: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(sentence)


class NoticeNotSent(AppError):
    """The receiver did not take the notice; ``permanent`` when trying again cannot help (gone, forbidden,
    malformed).
    """

    def __init__(
        self, sentence: str, *, permanent: bool, status: int | None, retry_after_s: float | None = None
    ) -> None:
        self.permanent, self.status, self.retry_after_s = permanent, status, retry_after_s
        super().__init__(sentence)
