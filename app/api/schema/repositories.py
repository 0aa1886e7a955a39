"""Repositories, field by field."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.api.fields import BuildArgs, ImageName, Pattern, RelativePath, Repo, Target
from app.api.schema.base import In, Out, PageQuery, Time
from app.repositories.model import MovedTagPolicy, Repository


class RepositoryIn(In):
    repo: Repo
    image_name: ImageName | None = None
    tag_pattern: Pattern = "*"
    dockerfile: RelativePath = "Dockerfile"
    context: RelativePath = "."
    target: Target | None = None
    build_args: BuildArgs = Field(default_factory=dict)
    on_moved_tag: Annotated[MovedTagPolicy, Field(strict=False)] = MovedTagPolicy.REBUILD
    backfill: bool = False


class RepositoryPatch(In):
    """Only what is given changes; ``null`` is a value where the field may be empty."""

    image_name: ImageName = ""
    tag_pattern: Pattern = "*"
    dockerfile: RelativePath = "Dockerfile"
    context: RelativePath = "."
    target: Target | None = None
    build_args: BuildArgs = Field(default_factory=dict)
    on_moved_tag: Annotated[MovedTagPolicy, Field(strict=False)] = MovedTagPolicy.REBUILD
    backfill: bool = False


class RepositoryQuery(PageQuery):
    repo: Repo | None = None


class RepositoryOut(Out):
    """``backfill``: builds of the tags that were there before are still owed. ``last_looked_at`` is when the tags were
    listed on GitHub last, ``look_error`` why that did not work since.
    """

    id: int
    repo: str
    image_name: str
    tag_pattern: str
    dockerfile: str
    context: str
    target: str | None
    build_args: dict[str, str]
    on_moved_tag: MovedTagPolicy
    backfill: bool
    last_looked_at: Time | None
    look_error: str | None
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, repository: Repository) -> RepositoryOut:
        return cls.model_validate(repository)
