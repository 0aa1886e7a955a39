"""Images, their builds, and the tags on GitHub that they come from, field by field."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from app.api.fields import CommitSha, GitTag, ImageName, Repo, RowId, SearchText
from app.api.schema.base import In, Out, Time
from app.builds.model import Build, BuildState, Image, Source

if TYPE_CHECKING:
    from app.engine.shape import ImageInfo
    from app.github.tags import Tag


class ImageIn(In):
    repo: Repo
    tag: GitTag
    commit_sha: CommitSha | None = None
    image_name: ImageName | None = None


class ImageOut(Out):
    id: int
    name: str
    tag: str
    github_repo: str
    github_ref: str
    commit_sha: str | None
    build_status: BuildState
    build_error: str | None
    image_ref: str | None
    digest: str | None
    size_bytes: int | None
    attempt: int
    built_at: Time | None
    created_at: Time
    removed_at: Time | None

    @classmethod
    def of(cls, image: Image) -> ImageOut:
        return cls.model_validate(image)


class ImageWithLogOut(ImageOut):
    build_log: str = ""


class ImageQuery(In):
    name: SearchText | None = None
    tag: SearchText | None = None
    repo: SearchText | None = None
    status: BuildState | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: RowId | None = None


class LogFormat(StrEnum):
    """How a build log is sent: as plain text as far as it is stored, as events of lines, or as events whose data is
    JSON (``LogPieceOut``), which keep carriage returns and say when a piece was written.
    """

    TEXT = "text"
    EVENTS = "events"
    JSON = "json"


class BuildLogQuery(In):
    build: RowId | None = None
    format: LogFormat | None = None


class LogPieceOut(Out):
    """The data of an event of ``format=json``."""

    at: Time
    text: str


class ImageDetailQuery(In):
    log: bool = True


class BuildOut(Out):
    id: int
    commit_sha: str | None
    state: BuildState
    attempt: int
    source: Source
    delivery: str | None
    image_ref: str | None
    digest: str | None
    size_bytes: int | None
    error: str | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    removed_at: Time | None

    @classmethod
    def of(cls, build: Build, delivery: str | None) -> BuildOut:
        return cls.model_validate({name: getattr(build, name) for name in Build.__slots__} | {"delivery": delivery})


class TagQuery(In):
    repo: Repo


class CommitOut(Out):
    sha: str
    date: Time | None
    author: str | None
    message: str | None


class TagOut(Out):
    name: str
    commit: CommitOut
    tarball_url: str

    @classmethod
    def of(cls, tag: Tag) -> TagOut:
        return cls.model_validate(tag)


class TagsOut(Out):
    tags: list[TagOut]


class LocalImageOut(Out):
    """An image as the engine has it; ``image_id`` is the image of ours whose build made it."""

    id: str
    tags: list[str]
    digests: list[str]
    size_bytes: int
    created_at: Time | None
    labels: dict[str, str]
    ours: bool
    image_id: int | None

    @classmethod
    def of(cls, image: ImageInfo, image_id: int | None) -> LocalImageOut:
        return cls(
            id=image.id,
            tags=list(image.tags),
            digests=list(image.repo_digests),
            size_bytes=image.size,
            created_at=image.created,
            labels=dict(image.labels),
            ours=image_id is not None,
            image_id=image_id,
        )


class UnfinishedOut(Out):
    """What was deleted, and what of it follows later."""

    detail: str
