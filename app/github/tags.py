"""The tags of a repository with their commits, newest first: one GraphQL query per hundred tags.

REST lists tags without date or author and in no useful order, so it is only the way for those without credentials:
GitHub's GraphQL answers nobody else. There the order is by version, then by name, and dates are unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Commit:
    """What a tag leads to; the last three are unknown when the tags were listed without credentials."""

    sha: str
    date: datetime | None
    author: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Tag:
    name: str
    commit: Commit
    tarball_url: str
