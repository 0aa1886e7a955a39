"""Images and builds: their states, their names on the engine, and what a build decides. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NewType

from app.engine.mark import build_name
from app.engine.shape import LABEL_BUILD, LABEL_CREATED, LABEL_DELIVERY, LABEL_IMAGE, LABEL_INSTALLATION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from app.queue.lease import Lease
    from app.repositories.recipe import Recipe

ImageId = NewType("ImageId", int)
BuildId = NewType("BuildId", int)

MOST_ATTEMPTS: Final = 3


class BuildState(StrEnum):
    """The states of a build; an image's ``build_status`` is the state of its latest build."""

    PENDING = "pending"
    BUILDING = "building"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Source(StrEnum):
    """Why a build was queued."""

    DELIVERY = "delivery"
    API = "api"
    REBUILD = "rebuild"
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class Image:
    """One ``name:tag``. The ``build_*`` fields and ``commit_sha`` speak of the latest attempt; ``image_ref``,
    ``digest``, ``size_bytes`` and ``built_at`` of the last attempt that made an image, which is what products run.
    ``removed_at`` is when that was taken off the engine and the registry; None while there is one, or never was.
    """

    id: ImageId
    name: str
    tag: str
    github_repo: str
    github_ref: str
    commit_sha: str | None
    build_status: BuildState
    build_error: str | None
    attempt: int
    latest_build_id: BuildId
    live_build_id: BuildId | None
    image_ref: str | None
    exact_ref: str | None
    digest: str | None
    size_bytes: int | None
    built_at: datetime | None
    created_at: datetime
    removed_at: datetime | None

    @property
    def not_runnable(self) -> str | None:
        """Why no product can run it now, as a sentence; None when it can."""
        if self.live_build_id is not None:
            return None
        if self.removed_at is not None:
            return (
                f"image {self.name}:{self.tag} is no longer on the engine (removed by retention on "
                f"{self.removed_at:%Y-%m-%d}); rebuild it with POST /api/v1/images/{self.id}/rebuild"
            )
        return f"image {self.name}:{self.tag} has not been built ({self.build_status})"


@dataclass(frozen=True, slots=True)
class Build:
    """One attempt to make an image from one commit."""

    id: BuildId
    image_id: ImageId
    source: Source
    commit_sha: str | None
    recipe: Recipe
    state: BuildState
    attempt: int
    image_ref: str | None
    digest: str | None
    size_bytes: int | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimedBuild:
    """A build that this worker holds the lease of.

    ``last_seq`` is the last piece of log that earlier attempts wrote. ``tag_moved``: a delivery asked for it, and the
    image has been built from another commit, so only GitHub knows which is newer: deliveries may overtake each other.
    """

    lease: Lease
    image_id: ImageId
    name: str
    tag: str
    repo: str
    commit_sha: str | None
    recipe: Recipe
    attempt: int
    delivery_guid: str | None
    last_seq: int
    tag_moved: bool
    installation: str

    @property
    def id(self) -> BuildId:
        return BuildId(self.lease.row_id)

    @property
    def begun_before(self) -> bool:
        """Whether a worker has begun it before and did not bring it to an end."""
        return self.attempt > 1 or self.last_seq > 0

    def name_on_engine(self, attempt: int) -> str:
        """What an attempt is called on an engine, which may build for other installations too."""
        return build_name(self.installation, self.id, attempt)


def default_image_name(repo: str) -> str:
    """The image name of a repository that names none: its own name in lower case, made fit for Docker."""
    name = re.sub(r"[^a-z0-9._-]+", "-", repo.rpartition("/")[2].lower())
    return re.sub(r"[._-]{2,}", "-", name).strip("._-") or "image"


DOCKER_TAG: Final = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
HASH_CHARACTERS: Final = 8


def docker_tag(git_tag: str) -> str:
    """The Docker tag of a Git tag: itself where Docker allows it, else a readable form with a hash that keeps two
    apart.

    Git allows nearly anything in a tag, Docker ``[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`` (distribution/reference).

    >>> docker_tag("v1.2.3"), docker_tag("v1.0+a"), docker_tag("rel/1")
    ('v1.2.3', 'v1.0-a-f0711a5a', 'rel-1-13a1d4ac')
    """
    if DOCKER_TAG.fullmatch(git_tag):
        return git_tag
    readable = re.sub(r"[^\w.-]", "-", git_tag, flags=re.ASCII).lstrip(".-")[: 128 - 1 - HASH_CHARACTERS] or "tag"
    digest = hashlib.sha256(git_tag.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]
    return f"{readable}-{digest}"


def image_reference(name: str, git_tag: str) -> str:
    """The reference under which the engine keeps the image."""
    return f"{name}:{docker_tag(git_tag)}"


def image_labels(build: ClaimedBuild, commit: str, created: datetime, web_url: str, name: str) -> Mapping[str, str]:
    """Where an image comes from, as OCI annotations (opencontainers/image-spec, annotations.md) and our own; ``name``
    is the one that it gets on the engine.
    """
    labels = {
        "org.opencontainers.image.source": f"{web_url}/{build.repo}",
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.version": build.tag,
        LABEL_CREATED: created.isoformat(timespec="seconds").replace("+00:00", "Z"),
        LABEL_BUILD: str(build.id),
        LABEL_IMAGE: name,
        LABEL_INSTALLATION: build.installation,
    }
    if build.delivery_guid:
        labels[LABEL_DELIVERY] = build.delivery_guid
    return labels


def web_url(api_url: str) -> str:
    """The address where people read repositories, from the address of the API (github.com, GHES, anything else)."""
    if api_url == "https://api.github.com":
        return "https://github.com"
    return api_url.removesuffix("/api/v3")


@dataclass(frozen=True, slots=True)
class Outdated:
    """The image already has, or is getting, what this would build; ``reason`` is a sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A new build is needed."""


def needs_build(latest: Build | None, commit: str | None) -> Queue | Outdated:
    """Decide whether a tag that points at ``commit`` needs a build, given the image's latest one: the same commit never
    builds twice, unless its last attempt failed or was cancelled, or what it made has been removed.
    """
    if latest is None or commit is None or latest.commit_sha != commit:
        return Queue()
    if latest.state in {BuildState.FAILED, BuildState.CANCELLED} or latest.removed_at is not None:
        return Queue()
    word = "has been built" if latest.state is BuildState.SUCCESS else "is being built"
    return Outdated(f"this commit {word} already (build {latest.id})")
