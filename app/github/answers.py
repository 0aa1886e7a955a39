"""The parts of GitHub's answers that we read. Lenient on purpose: a server may send more, and an old one less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import GitHubUnavailable

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class TagCommit:
    """The commit (40 hexadecimal digits) that a tag leads to, however many tag objects lie between."""

    tag: str
    sha: str


@dataclass(frozen=True, slots=True)
class RepositoryInfo:
    """``full_name`` is ``owner/name`` as GitHub spells it today; ``id`` survives renames."""

    full_name: str
    id: int
    default_branch: str
    private: bool


class Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Object(Answer):
    type: str
    sha: str


class Pointer(Answer):
    """A ref, or an annotated tag: both point to an object."""

    object: Object


class Repository(Answer):
    full_name: str
    id: int
    default_branch: str = "main"
    private: bool = False


class Installation(Answer):
    id: int


class Account(Answer):
    login: str = ""
    slug: str = ""


class Rate(Answer):
    limit: int
    remaining: int


class RateLimits(Answer):
    rate: Rate


AnswerT = TypeVar("AnswerT", bound=BaseModel)


def understood(response: httpx.Response, model: type[AnswerT], action: str) -> AnswerT:
    """The answer as ``model``; raises ``GitHubUnavailable`` when it is none."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError:
        raise GitHubUnavailable(
            f"what answers at GITHUB_API_URL does not speak GitHub's API: it did not {action} in a form we know"
        ) from None
