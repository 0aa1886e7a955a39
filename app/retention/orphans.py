"""What a crash left on the engine: images that no build has on record, services whose product was deleted, containers
of steps whose attempt is over. Pure.

Labels alone prove nothing: whoever builds from an image of ours inherits them all, and a database that was restored
from a backup has never heard of what came after it. So an image goes only when its build is over and made another or
none, and a service only when somebody asked for the removal of its product. The container of a step is nobody's but
its attempt's; the layers below it stay, since any build on the engine may have them from the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from app.engine.shape import LABEL_BUILD, LABEL_CREATED, LABEL_IMAGE
from app.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from app.engine.shape import ImageInfo, Inventory, OwnService, StepContainer

WHOLE_SECOND: Final = timedelta(seconds=1)  # a list of images tells no more of the time


@dataclass(frozen=True, slots=True)
class KnownBuild:
    """What the row of a build says. ``over``: no attempt of it will come any more; ``made`` are the exact names of
    what it has on record, and is empty when it made nothing, or when that was removed. ``at_work`` is the attempt that
    a worker holds.
    """

    over: bool
    succeeded: bool
    made: frozenset[str]
    at_work: int | None = None


@dataclass(frozen=True, slots=True)
class Records:
    """What the database knows, read after the engine was looked at. ``last_build_id`` is the newest that it ever gave
    away; ``claimed_since`` is since when a build has been running; ``gone`` are the slugs of products whose removal
    was asked for and that are no more.
    """

    builds: Mapping[int, KnownBuild]
    last_build_id: int
    claimed_since: datetime | None
    gone: frozenset[str]
    default_image: str


@dataclass(frozen=True, slots=True)
class OrphanImage:
    image: ImageInfo
    reason: str


@dataclass(frozen=True, slots=True)
class Orphans:
    """What has to go."""

    images: tuple[OrphanImage, ...]
    services: tuple[OwnService, ...]
    steps: tuple[StepContainer, ...] = ()


def builds_of(seen: Inventory) -> set[int]:
    """The builds that have something on the engine, as labels and marks say."""
    made = {build for image in seen.images if (build := _build_of(image)) is not None}
    return made | {step.build for step in seen.steps}


def what_to_remove(seen: Inventory, records: Records) -> Orphans:
    """Decide on everything of ours on the engine: images and steps come from builds, services from products."""
    recorded = {_moment(image) for image in seen.images if _is_on_record(image, records)}
    images = (
        OrphanImage(image, reason) for image in seen.images if (reason := _orphaned(image, seen, records, recorded))
    )
    services = (service for service in seen.services if service.product in records.gone)
    return Orphans(tuple(images), tuple(services), tuple(step for step in seen.steps if _is_left(step, records)))


def _is_left(step: StepContainer, records: Records) -> bool:
    """Whether no worker holds the attempt; one that takes it up again makes containers of its own."""
    build = records.builds.get(step.build)
    return step.build <= records.last_build_id and (build is None or build.at_work != step.attempt)


def _orphaned(image: ImageInfo, seen: Inventory, records: Records, recorded: set[tuple[int | None, str]]) -> str | None:
    """Why an image has to go; None when it stays."""
    build_id = _build_of(image)
    if build_id is None or build_id > records.last_build_id or _is_needed(image, seen, records):
        return None
    own_name = image.labels.get(LABEL_IMAGE, "")
    if any(name != own_name for name in image.tags):
        return None  # somebody gave it a name, or built it from ours
    build = records.builds.get(build_id)
    if build is None:
        return f"the record of build {build_id} was deleted" if image.tags else None
    if not build.over or _is_on_record(image, records):
        return None
    return _left_over(image, build_id, build, recorded)


def _left_over(image: ImageInfo, build_id: int, build: KnownBuild, recorded: set[tuple[int | None, str]]) -> str | None:
    """Why an image goes that a build made which is over, and has not on record."""
    if not build.succeeded:
        return f"build {build_id} made it and did not succeed"
    if image.tags:
        return f"build {build_id} has another on record, or none any more"
    # What was built from the one on record, by whomever, has its very labels.
    is_earlier = build_id in {build for build, _ in recorded} and _moment(image) not in recorded
    return f"an earlier attempt of build {build_id} made it" if is_earlier else None


def _is_needed(image: ImageInfo, seen: Inventory, records: Records) -> bool:
    """Whether something may use it: a container, a service, products without an image, a build that borrows from it."""
    default = parse_reference(records.default_image)
    since, created = records.claimed_since, image.created
    young = since is not None and created is not None and created + WHOLE_SECOND > since
    return (
        young
        or not seen.in_use.isdisjoint((image.id, *image.tags, *image.repo_digests))
        or any(parse_reference(name) == default for name in image.tags)
    )


def _is_on_record(image: ImageInfo, records: Records) -> bool:
    build = records.builds.get(_build_of(image) or 0)
    return build is not None and not build.made.isdisjoint((image.id, *image.repo_digests))


def _moment(image: ImageInfo) -> tuple[int | None, str]:
    """What tells the attempts of one build apart: each labels what it makes with the time of its request."""
    return _build_of(image), image.labels.get(LABEL_CREATED, "")


def _build_of(image: ImageInfo) -> int | None:
    text = image.labels.get(LABEL_BUILD, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(2**63)) - 1 else None
