"""The parts of GitHub's answers that we read. Lenient on purpose: a server may send more, and an old one less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import AliasPath, AwareDatetime, BaseModel, ConfigDict, Field, RootModel, ValidationError

from app.errors import GitHubUnavailable
from app.github.payload import Sha


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
    sha: Sha


class Pointer(Answer):
    """A ref, or an annotated tag: both point to an object, and the latter says since when."""

    object: Object
    tagged: AwareDatetime | None = Field(default=None, validation_alias=AliasPath("tagger", "date"))


class Repository(Answer):
    full_name: str
    id: int
    default_branch: str = "main"
    private: bool = False


class CommitDetails(Answer):
    """A commit as REST shows it; ``login`` is the author's, when GitHub knows whose address it is."""

    sha: str
    date: AwareDatetime | None = Field(default=None, validation_alias=AliasPath("commit", "committer", "date"))
    message: str | None = Field(default=None, validation_alias=AliasPath("commit", "message"))
    name: str | None = Field(default=None, validation_alias=AliasPath("commit", "author", "name"))
    login: str | None = Field(default=None, validation_alias=AliasPath("author", "login"))


class Made(Answer):
    """Whatever a POST made."""

    id: int


class Deployment(Answer):
    """``payload`` is an object, or the text of one: GitHub sends either."""

    id: int
    payload: dict[str, Any] | str | None = None


class DeploymentList(RootModel[list[Deployment]]):
    """One page of REST's list of deployments, newest first."""


class HookConfig(Answer):
    url: str = ""


class HookResponse(Answer):
    """How the receiver answered last; ``code`` is None for a webhook that has delivered nothing yet."""

    code: int | None = None
    message: str | None = None


class Hook(Answer):
    """A webhook of a repository."""

    id: int
    active: bool = True
    events: list[str] = []
    config: HookConfig = HookConfig()
    last_response: HookResponse | None = None  # null when nothing was delivered within 30 days (GitHub's REST docs)


class HookList(RootModel[list[Hook]]):
    """The webhooks of a repository: twenty at most, so that they fit on a page."""


class HookDelivery(Answer):
    """One attempt to deliver an event. Every attempt has an ``id``, and all attempts at one event share the ``guid``;
    ``status_code`` is what the receiver answered, 0 or None when it did not.
    """

    id: int
    guid: str
    delivered_at: AwareDatetime
    status_code: int | None = 0


class HookDeliveryList(RootModel[list[HookDelivery]]):
    """One page of a webhook's deliveries, newest first."""


class GraphError(Answer):
    type: str | None = None
    message: str = "no reason given"


class GraphAnswer(Answer):
    data: dict[str, Any] | None = None
    errors: list[GraphError] | None = None


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


def understood(body: bytes, model: type[AnswerT], action: str) -> AnswerT:
    """The body of an answer as ``model``; raises ``GitHubUnavailable`` when it is none."""
    try:
        return model.model_validate_json(body)
    except ValidationError:
        raise GitHubUnavailable(
            f"what answers at GITHUB_API_URL does not speak GitHub's API: it did not {action} in a form we know"
        ) from None
