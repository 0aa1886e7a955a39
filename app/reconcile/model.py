"""What a look at a repository's tags leads to: which tags have to be asked about, and which of them are built. Pure.

The rules are those of a delivery (``app.deliveries.model``), seen from the other side: a tag that is not known is one
that was pushed, and one that leads to another commit than it is known for was moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.builds.model import BuildState
from app.deliveries.model import BuildFor, decide
from app.github.payload import TagChange, TagPush

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from app.builds.model import Build
    from app.repositories.model import Repository, RepositoryId


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a tag: the commit, if anybody had to know, and the SHA by which the list of tags names it, which
    may be that of a tag object.
    """

    commit_sha: str | None
    listed_sha: str | None

    def shows(self, listed_sha: str) -> bool:
        """Whether a listing that says this tells nothing new."""
        return listed_sha in {self.commit_sha, self.listed_sha}


@dataclass(frozen=True, slots=True)
class FoundTag:
    """A tag as GitHub has it now. ``commit`` is None where nobody had to ask."""

    name: str
    listed_sha: str
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known when a look decides: ``images`` are the tags that have an image by registration, ``dates`` how old
    tags are at most (without an entry nothing is known of it).
    """

    seen: Mapping[str, Seen]
    registrations: Sequence[Repository]
    images: Mapping[RepositoryId, Collection[str]]
    dates: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class Sorted:
    """``questions`` are tags whose commit has to be asked for, since they may have to be built; ``known`` those that
    are only written down.
    """

    questions: tuple[FoundTag, ...]
    known: tuple[FoundTag, ...]


def needs_dates(tags: Mapping[str, str], findings: Findings) -> list[str]:
    """The tags whose age decides whether they are built: of what a first look finds, only what came since then is."""
    first = [one for one in findings.registrations if one.first_look_at is None and not one.backfill]
    return [
        name
        for name, sha in tags.items()
        if not _is_known(findings, name, sha) and any(registration.takes(name) for registration in first)
    ]


def sort_out(tags: Mapping[str, str], findings: Findings) -> Sorted:
    """Tell the tags (name and listed SHA) that may have to be built from those that are only written down; what is
    known as it is listed is neither.
    """
    questions, known = [], []
    for name, sha in sorted(tags.items()):
        is_known = _is_known(findings, name, sha)
        if any(_may_lead(name, findings, registration, is_known=is_known) for registration in findings.registrations):
            questions.append(FoundTag(name, sha))
        elif not is_known:
            known.append(FoundTag(name, sha))
    return Sorted(tuple(questions), tuple(known))


def registrations_for(tag: FoundTag, findings: Findings) -> list[Repository]:
    """The registrations that shall have a build of this tag, whose commit was asked for."""
    seen = findings.seen.get(tag.name)
    is_known = _is_known(findings, tag.name, tag.listed_sha)
    may = [one for one in findings.registrations if _may_lead(tag.name, findings, one, is_known=is_known)]
    found = []
    for registration in may:
        if _is_owed(tag.name, findings, registration) or seen is None:
            kind = TagChange.CREATED
        elif _was_moved(seen, tag):
            kind = TagChange.MOVED
        else:
            continue
        push = TagPush(registration.repo, tag.name, f"refs/tags/{tag.name}", kind, tag.commit)
        if isinstance(decide(push, [registration]), BuildFor):
            found.append(registration)
    return found


def is_behind(latest: Build | None, commit: str) -> bool:
    """Whether an image whose latest build this is has to be built from ``commit``. Unlike a delivery, a look never
    repeats a commit: not if its build failed or was cancelled, and not if what it made was removed. A build that was
    queued without a commit will find out by itself.
    """
    if latest is None:
        return True
    if latest.commit_sha is None:
        return latest.state not in {BuildState.PENDING, BuildState.BUILDING}
    return latest.commit_sha != commit


def _is_known(findings: Findings, name: str, listed_sha: str) -> bool:
    seen = findings.seen.get(name)
    return seen is not None and seen.shows(listed_sha)


def _is_owed(name: str, findings: Findings, registration: Repository) -> bool:
    """Whether the backfill of a registration is still to build this tag."""
    return registration.backfill and name not in findings.images.get(registration.id, ())


def _may_lead(name: str, findings: Findings, registration: Repository, *, is_known: bool) -> bool:
    is_owed = _is_owed(name, findings, registration)
    if (is_known and not is_owed) or not registration.takes(name):  # the pattern last: it is what takes time
        return False
    if is_owed or registration.first_look_at is not None:
        return True
    date = findings.dates.get(name)
    return date is not None and date > registration.watched_since


def _was_moved(seen: Seen, tag: FoundTag) -> bool:
    """Where the commit was never asked for, the listing must have changed; where nothing at all is known of a tag but
    that there was one, whoever saw it took care of it.
    """
    if seen.commit_sha is not None:
        return seen.commit_sha != tag.commit
    return seen.listed_sha is not None and seen.listed_sha != tag.listed_sha
