"""The tags of a repository with their commits, newest first: one GraphQL query per hundred tags.

REST lists tags without date or author and in no useful order, so it is only the way for those without credentials, whom
GitHub's GraphQL does not answer. There the order is by version, highest first, and dates are unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pydantic import AliasPath, AwareDatetime, BaseModel, ConfigDict, Field, RootModel

from app.github.payload import Sha

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

PAGE: Final = 100
TAGS_QUERY: Final = """
query($owner: String!, $name: String!, $after: String) {
  repository(owner: $owner, name: $name) {
    refs(refPrefix: "refs/tags/", first: 100, after: $after, orderBy: {field: TAG_COMMIT_DATE, direction: DESC}) {
      pageInfo { hasNextPage endCursor }
      nodes { name target { __typename oid ...C ... on Tag { tagger { date } target { __typename oid ...C } } } }
    }
  }
}
fragment C on Commit { committedDate message author { name user { login } } }
"""
DIGITS: Final = re.compile(r"(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Commit:
    """What a tag leads to; the last three are unknown when the tags were listed without credentials."""

    sha: str
    date: datetime | None = None
    author: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Tag:
    """``tagged_at`` is what an annotated tag says of itself; no other has a date of its own."""

    name: str
    commit: Commit
    tarball_url: str
    tagged_at: datetime | None = None

    @property
    def not_older_than(self) -> datetime | None:
        """The tag came into being at this time or later, as far as dates can be trusted; None: nothing is known."""
        return max((date for date in (self.tagged_at, self.commit.date) if date), default=None)


@dataclass(frozen=True, slots=True)
class NestedTag:
    """A tag of a tag: GraphQL tells the inner tag object and no more, REST has to be asked where that leads."""

    name: str
    object_sha: str


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Author(_Lenient):
    name: str | None = None
    login: str | None = Field(default=None, validation_alias=AliasPath("user", "login"))


class _Target(_Lenient):
    kind: str = Field(alias="__typename")
    oid: str
    committed: AwareDatetime | None = Field(default=None, alias="committedDate")
    message: str | None = None
    author: _Author | None = None
    tagged: AwareDatetime | None = Field(default=None, validation_alias=AliasPath("tagger", "date"))
    target: _Target | None = None


class _Node(_Lenient):
    name: str
    target: _Target


class TagPage(_Lenient):
    """One answer to ``TAGS_QUERY``: at most a hundred tags and where the next page begins."""

    nodes: list[_Node]
    more: bool = Field(validation_alias=AliasPath("pageInfo", "hasNextPage"))
    cursor: str | None = Field(default=None, validation_alias=AliasPath("pageInfo", "endCursor"))

    def tags(self, repository_url: str) -> Iterable[Tag | NestedTag]:
        """The tags of the page, without those of what is no commit: from them nothing can be built."""
        for node in self.nodes:
            found = node.target.target if node.target.kind == "Tag" and node.target.target else node.target
            if found.kind == "Tag":
                yield NestedTag(node.name, found.oid)
            elif found.kind == "Commit":
                author = found.author or _Author()
                commit = Commit(found.oid, found.committed, author.login or author.name, found.message)
                yield Tag(node.name, commit, tarball_url(repository_url, node.name), node.target.tagged)


def tarball_url(repository_url: str, tag: str) -> str:
    return f"{repository_url}/tarball/refs/tags/{quote(tag)}"


def newest_first(tags: Iterable[Tag]) -> list[Tag]:
    """By the date of the commit; tags of one date, and those without one at the end, stay in the order they had."""
    return sorted(tags, key=lambda tag: tag.commit.date or datetime.min.replace(tzinfo=UTC), reverse=True)


class _ListedCommit(_Lenient):
    sha: Sha


class ListedTag(_Lenient):
    """A tag as REST lists it."""

    name: str
    commit: _ListedCommit
    tarball_url: str


class TagList(RootModel[list[ListedTag]]):
    """One page of REST's list of tags. It may be shorter than asked for and not be the last one."""

    def repeats(self, before: Container[str]) -> bool:
        """Whether it has nothing but tags of pages before it: a server that does so never comes to an end."""
        return bool(self.root) and all(tag.name in before for tag in self.root)


def listed(entries: Iterable[ListedTag]) -> list[Tag]:
    """Tags that REST lists, highest version first."""
    tags = [Tag(entry.name, Commit(entry.commit.sha), entry.tarball_url) for entry in entries]
    return sorted(tags, key=lambda tag: version_key(tag.name), reverse=True)


def version_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts numbers inside names as numbers: v1.10 after v1.9, and v1.0-rc1 before v1.0.

    >>> sorted(["v1.10", "v1.9", "v1.10-rc1"], key=version_key)
    ['v1.9', 'v1.10-rc1', 'v1.10']
    """
    parts = (part for part in DIGITS.split(name) if part)
    keys = [
        (2, int(part), "") if part.isascii() and part.isdigit() else (0 if part[0] == "-" else 2, -1, part)
        for part in parts
    ]
    return (*keys, (1, 0, ""))
