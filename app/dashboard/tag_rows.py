"""Which tags of a repository are images, and which may become one. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.builds.model import default_image_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from app.github.tags import Tag
    from app.repositories.model import Repository

LONGEST_SUBJECT: Final = 120


@dataclass(frozen=True, slots=True)
class Made:
    """An image as far as tags need it."""

    id: int
    name: str
    tag: str
    build_status: str
    commit_sha: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """What an image of one name is to a tag. ``image`` is None as long as there is none; ``moved``: the tag has another
    commit by now than the image was built from; ``by_itself``: the registration takes such tags; ``body`` is what the
    API is asked with to build it.
    """

    name: str
    image: Made | None
    moved: bool
    by_itself: bool
    body: str


@dataclass(frozen=True, slots=True)
class TagRow:
    """One tag, with the first line of its commit's message."""

    name: str
    commit_sha: str
    date: datetime | None
    author: str | None
    subject: str | None
    targets: tuple[Target, ...]


def image_names(repo: str, registrations: Sequence[Repository]) -> list[str]:
    """The names of the images that tags of a repository become."""
    return [registration.image_name for registration in registrations] or [default_image_name(repo)]


def tag_rows(
    tags: Iterable[Tag], repo: str, registrations: Sequence[Repository], images: Iterable[Made]
) -> list[TagRow]:
    """The tags with what became of each, in their order."""
    made = {(image.name, image.tag): image for image in images}
    takes = {registration.image_name: registration.takes for registration in registrations}
    rows = []
    for tag in tags:
        targets = []
        for name in image_names(repo, registrations):
            image = made.get((name, tag.name))
            moved = image is not None and image.commit_sha not in {None, tag.commit.sha}
            body = json.dumps({"repo": repo, "tag": tag.name, "image_name": name})
            targets.append(Target(name, image, moved, name in takes and takes[name](tag.name), body))
        commit = tag.commit
        subject = first_line(commit.message)
        rows.append(TagRow(tag.name, commit.sha, commit.date, commit.author, subject, tuple(targets)))
    return rows


def first_line(message: str | None) -> str | None:
    r"""What a commit's message begins with, cut where it is long.

    >>> first_line("Fix it\n\nBecause."), first_line(""), first_line("x" * 130)[-3:]
    ('Fix it', None, 'xx…')
    """
    line = (message or "").strip().partition("\n")[0].strip()
    return (line if len(line) <= LONGEST_SUBJECT else line[: LONGEST_SUBJECT - 1] + "…") or None
