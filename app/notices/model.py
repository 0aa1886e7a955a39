"""What people are told about, whom, and when; and the message that a worker holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NewType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from app.queue.lease import Lease


ChannelId = NewType("ChannelId", int)

FEW: Final = 3
MOST_TOGETHER: Final = 20
FOLLOWING: Final = frozenset({"image_built", "pin_moved"})


class ChannelKind(StrEnum):
    """Whose form of messages a channel takes; ``webhook`` is our own, signed, for programs."""

    SLACK = "slack"
    MATTERMOST = "mattermost"
    DISCORD = "discord"
    TEAMS = "teams"
    WEBHOOK = "webhook"

    @property
    def signs(self) -> bool:
        """Whether its messages are signed with a secret of the channel."""
        return self is ChannelKind.WEBHOOK


class NoticeEvent(StrEnum):
    BUILD_SUCCEEDED = "build_succeeded"
    BUILD_FAILED = "build_failed"
    ROLLOUT_DONE = "rollout_done"
    ROLLOUT_FAILED = "rollout_failed"


class Subject(StrEnum):
    """What a notice is about: a build, with all the rollouts that it set going, or a rollout by itself."""

    BUILD = "build"
    ROLLOUT = "rollout"


class NoticeState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a channel wants to hear of. ``events`` is None for every event there is, ``images`` and ``products`` are
    globs on an image's name and a product's slug; none means all.
    """

    channel_id: ChannelId
    events: tuple[NoticeEvent, ...] | None = None
    images: tuple[str, ...] = ()
    products: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Concern:
    """Whom an event concerns: the image it is about ("" for one that Tagship has no name for) and the slugs of
    products: of a rollout the one, of a build all that are pinned to an image of that name.
    """

    image: str
    slugs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """Where notices go. ``url_sealed`` is None for the channel whose address is in the settings, ``secret_sealed`` for
    kinds that sign nothing; ``events`` is None for every event there is, ``disabled_reason`` for a channel that is on
    or was switched off by a person.
    """

    id: ChannelId
    name: str
    kind: ChannelKind
    enabled: bool
    url_sealed: str | None
    secret_sealed: str | None
    events: tuple[NoticeEvent, ...] | None
    images: tuple[str, ...]
    products: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    disabled_reason: str | None

    @property
    def from_settings(self) -> bool:
        """Whether its address comes from SLACK_WEBHOOK_URL."""
        return self.url_sealed is None


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a message; ``facts`` are what its text is made of."""

    id: int
    event: NoticeEvent
    subject: Subject
    subject_id: int
    facts: Mapping[str, Any]
    attempt: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """One event as it is told to one channel; ``subject_id`` is the build's or the rollout's id. ``message_id`` names
    the message that it went out with, alone or among others, and ``status`` is what the receiver answered last.
    """

    id: int
    channel_id: ChannelId
    channel: str
    event: NoticeEvent
    subject: Subject
    subject_id: int
    facts: Mapping[str, Any]
    state: NoticeState
    attempt: int
    status: int | None
    answer: str | None
    message_id: UUID | None
    run_after: datetime
    created_at: datetime
    finished_at: datetime | None

    @property
    def told(self) -> Told:
        """What a message says of it."""
        return Told(self.id, self.event, self.subject, self.subject_id, self.facts, self.attempt, self.created_at)


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """The notices that this worker holds under one lease and sends as one message. The ``message_id`` stays with them
    whoever sends them, however often.
    """

    lease: Lease
    message_id: UUID
    channel_id: ChannelId
    channel: str
    kind: ChannelKind
    url_sealed: str | None
    secret_sealed: str | None
    told: tuple[Told, ...]

    @property
    def ids(self) -> list[int]:
        return [one.id for one in self.told]

    @property
    def attempt(self) -> int:
        """How often it was tried, this time included."""
        return max(one.attempt for one in self.told)


@dataclass(frozen=True, slots=True)
class Follow:
    """One rollout that a build set going. ``error`` and ``task_errors`` say why it failed."""

    rollout_id: int
    product_id: int
    product: str
    slug: str
    state: str
    error: str | None = None
    task_errors: tuple[Mapping[str, Any], ...] = ()

    @property
    def final(self) -> bool:
        return self.state not in {"pending", "applying", "converging"}

    @property
    def failed(self) -> bool:
        return self.state in {"failed", "rolled_back"}


@dataclass(frozen=True, slots=True)
class Shipment:
    """A build that succeeded, and what became of the rollouts that it set going. Those of products that were deleted
    since are not among them; ``facts`` are the build's, with the number of ``rollouts`` there were.
    """

    build_id: int
    facts: Mapping[str, Any]
    follows: tuple[Follow, ...]
    progress_told: bool = False

    @property
    def final(self) -> bool:
        return all(follow.final for follow in self.follows)


@dataclass(frozen=True, slots=True)
class Telling:
    """One row of the outbox to be written."""

    channel_id: ChannelId
    event: NoticeEvent
    facts: Mapping[str, Any]


def wants(choice: Choice, event: NoticeEvent, concern: Concern) -> bool:
    """Whether a channel that has chosen so is told of an event."""
    return (
        _hears(choice, event) and _watches(choice.images, (concern.image,)) and _watches(choice.products, concern.slugs)
    )


def told_with_its_build(event: NoticeEvent, facts: Mapping[str, Any]) -> bool:
    """Whether a rollout is told in the message of the build that set it going, and not by itself."""
    return event in {NoticeEvent.ROLLOUT_DONE, NoticeEvent.ROLLOUT_FAILED} and facts.get("reason") in FOLLOWING


def told_of_build_at_once(choice: Choice, rollouts: int) -> bool:
    """Whether a channel that wants to hear of a build that succeeded does so at once: where nothing follows from it,
    or where the channel would not be told what does.
    """
    return rollouts == 0 or not _hears(choice, NoticeEvent.ROLLOUT_DONE)


def tellings_of(shipment: Shipment, choices: Sequence[Choice]) -> list[Telling]:
    """What to tell whom of a shipment now: of each channel's products how they ended, where that is known of all of
    them, and how far they are to whoever has heard nothing of the build so far.
    """
    found = []
    for choice in choices:
        if not _watches(choice.images, (str(shipment.facts.get("name", "")),)):
            continue
        follows = [follow for follow in shipment.follows if _watches(choice.products, (follow.slug,))]
        if not follows and (choice.products or not shipment.final):
            continue
        event = _event_of(follows)
        if not _hears(choice, NoticeEvent.ROLLOUT_DONE) and event is NoticeEvent.BUILD_SUCCEEDED:
            continue  # it was told of the build at once
        if _hears(choice, event):
            removed = 0 if choice.products else max(int(shipment.facts.get("rollouts", 0)) - len(follows), 0)
            facts = {**shipment.facts, "removed": removed, "products": [_facts_of(follow) for follow in follows]}
            found.append(Telling(choice.channel_id, event, facts))
    return found


def together(waiting: int) -> int:
    """How many of the notices that wait for a channel go out as one message: all where they are more than a few, so
    that a burst is one message, else one.

    >>> [together(waiting) for waiting in (1, 3, 4, 12, 500)]
    [1, 1, 4, 12, 20]
    """
    return min(waiting, MOST_TOGETHER) if waiting > FEW else 1


def _event_of(follows: Sequence[Follow]) -> NoticeEvent:
    """How rollouts ended as a whole; ``BUILD_SUCCEEDED`` while that is open."""
    if not all(follow.final for follow in follows):
        return NoticeEvent.BUILD_SUCCEEDED
    if any(follow.failed for follow in follows):
        return NoticeEvent.ROLLOUT_FAILED
    return NoticeEvent.ROLLOUT_DONE


def _facts_of(follow: Follow) -> dict[str, Any]:
    facts = {name: getattr(follow, name) for name in ("rollout_id", "product_id", "product", "slug", "state")}
    if follow.failed:
        facts |= {"error": follow.error, "task_errors": [dict(task) for task in follow.task_errors[:1]]}
    return facts


def _hears(choice: Choice, event: NoticeEvent) -> bool:
    return choice.events is None or event in choice.events


def _watches(globs: Sequence[str], names: Sequence[str]) -> bool:
    """Whether one of the names is chosen; no glob chooses all, also where there is no name."""
    return not globs or any(fnmatchcase(name, glob) for glob in globs for name in names)
