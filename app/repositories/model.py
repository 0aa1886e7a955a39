"""A registered GitHub repository: which of its tags become which image, and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NewType

from app.repositories.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

RepositoryId = NewType("RepositoryId", int)


class MovedTagPolicy(StrEnum):
    """What a tag that moved to another commit does."""

    REBUILD = "rebuild"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Repository:
    """A registration. ``watched_since`` is from when on tags count that its first look at GitHub finds, which may still
    be to come; ``backfill``: every matching tag without an image is owed a build. ``last_looked_at`` and ``look_error``
    are about the GitHub repository: when its tags were listed last, and why that does not work now.
    """

    id: RepositoryId
    repo: str
    image_name: str
    tag_pattern: str
    dockerfile: str
    context: str
    target: str | None
    build_args: Mapping[str, str]
    on_moved_tag: MovedTagPolicy
    created_at: datetime
    updated_at: datetime
    watched_since: datetime
    first_look_at: datetime | None = None
    backfill: bool = False
    last_looked_at: datetime | None = None
    look_error: str | None = None

    def takes(self, tag: str) -> bool:
        """Whether this registration builds that tag; ``*`` in the pattern also matches ``/``."""
        return fnmatchcase(tag, self.tag_pattern)

    def is_of(self, repo: str) -> bool:
        """Whether this is about that GitHub repository, whose name has no case."""
        return self.repo.lower() == repo.lower()

    @property
    def recipe(self) -> Recipe:
        """The part that a build freezes."""
        return Recipe(self.dockerfile, self.context, self.target, self.build_args)
