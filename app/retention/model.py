"""What is kept and what goes: one pure decision over everything that Tagship has built and everything that needs it.

A build's image is kept for the first of these reasons that holds: a product runs it, is being rolled out to it, or is
pinned to it; it is the default image; its image is being built anew; a container on the engine uses it; a product
could be rolled back to it; it is one of the newest of its name; it is young. Whatever no build of ours has on record is
not even looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from app.engine.shape import LABEL_BUILD
from app.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from app.engine.shape import ImageInfo
    from app.reference import Reference


class Chore(StrEnum):
    """What is done from time to time: finish removals that were begun, decide on new ones, remove what a crash left."""

    PURGE = "purge"
    RETENTION = "retention"
    ORPHANS = "orphans"


@dataclass(frozen=True, slots=True)
class Policy:
    """``keep`` is how many builds stay for rolling back, for each product and for each image name; ``young`` is how
    long a build stays in any case.
    """

    keep: int
    young: timedelta
    default_image: str


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """What one successful build made, as its row says. ``live``: it is its image's newest; ``busy``: its image is
    being built anew.
    """

    build_id: int
    image_id: int
    name: str
    tag: str
    image_ref: str
    exact_ref: str
    digest: str
    size_bytes: int
    built_at: datetime
    live: bool
    busy: bool


class Why(StrEnum):
    """How a product needs an image."""

    RUNS = "runs"
    ROLLING_OUT = "rolling_out"
    PINNED = "pinned"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Use:
    """One product's need of one image, by its build or, of products without a pin, by its exact name. ``rank`` counts
    what the product ran from the newest, which is 1.
    """

    product: str
    why: Why
    build_id: int | None
    image: str | None
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A build's image and why it stays or goes."""

    built: BuiltImage
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Every built image exactly once, oldest build first."""

    kept: tuple[Verdict, ...]
    removed: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class OnEngine:
    """An image of ours as the engine has it, and the container that uses it, if one does."""

    image_id: str
    held_by: str | None


def plan(
    builds: Sequence[BuiltImage],
    uses: Iterable[Use],
    on_engine: dict[int, OnEngine],
    policy: Policy,
    now: datetime,
) -> Plan:
    """Decide on every built image; ``on_engine`` is by build id, and lacks those that the engine does not have."""
    needed = _needed(uses, policy)
    ranks = _ranks(builds)
    default = parse_reference(policy.default_image)
    kept: list[Verdict] = []
    removed: list[Verdict] = []
    for built in sorted(builds, key=lambda built: built.build_id):
        here = on_engine.get(built.build_id)
        reason = (
            _needed_by(built, here, needed)
            or _held(built, here, default)
            or _worth_keeping(built, _uses_of(built, here, needed), ranks[built.build_id], policy, now)
        )
        (kept if reason else removed).append(Verdict(built, reason or _why_it_goes(policy)))
    return Plan(tuple(kept), tuple(removed))


def is_made_by(image: ImageInfo, build_id: int, exact_ref: str, digest: str) -> bool:
    """Whether an image on the engine is what this build made: the row has it on record, and it carries the build's
    label.
    """
    on_record = image.id in {exact_ref, digest} or exact_ref in image.repo_digests
    return on_record and image.labels.get(LABEL_BUILD) == str(build_id)


def foreign_names(image: ImageInfo, image_ref: str) -> list[str]:
    """The names of an image on the engine that are not the one its build gave it."""
    own = parse_reference(image_ref)
    return [name for name in image.tags if parse_reference(name) != own]


def _needed(uses: Iterable[Use], policy: Policy) -> dict[int | str, Use]:
    """The weightiest use of each build and of each exact image; too old ones to roll back to are none."""
    order = list(Why)
    found: dict[int | str, Use] = {}
    for use in uses:
        if use.why is Why.ROLLBACK and use.rank > policy.keep + 1:  # the newest is what it runs, or ran last
            continue
        for key in (use.build_id, use.image):
            if key is not None and (key not in found or order.index(use.why) < order.index(found[key].why)):
                found[key] = use
    return found


def _uses_of(built: BuiltImage, here: OnEngine | None, needed: dict[int | str, Use]) -> list[Use]:
    keys: tuple[int | str, ...] = (built.build_id, built.exact_ref, *([here.image_id] if here else []))
    return [needed[key] for key in keys if key in needed]


def _needed_by(built: BuiltImage, here: OnEngine | None, needed: dict[int | str, Use]) -> str | None:
    for use in _uses_of(built, here, needed):
        match use.why:
            case Why.RUNS:
                return f"product {use.product} runs it"
            case Why.ROLLING_OUT:
                return f"product {use.product} is being rolled out"
            case Why.PINNED:
                return f"product {use.product} is pinned to it"
            case Why.ROLLBACK:
                pass
    return None


def _held(built: BuiltImage, here: OnEngine | None, default: Reference) -> str | None:
    if built.live and parse_reference(built.image_ref) == default:
        return "products without an image run it (TAGSHIP_DEFAULT_IMAGE)"
    if built.live and built.busy:
        return "its image is being built anew"
    if here is not None and here.held_by is not None:
        return f"the container {here.held_by} on the engine uses it"
    return None


def _worth_keeping(built: BuiltImage, uses: Sequence[Use], rank: int, policy: Policy, now: datetime) -> str | None:
    if uses:
        return f"product {uses[0].product} could be rolled back to it"
    if rank <= policy.keep:
        return f"one of the newest {policy.keep} of {built.name}"
    if now - built.built_at < policy.young:
        return f"younger than {policy.young.days} days"
    return None


def _ranks(builds: Sequence[BuiltImage]) -> dict[int, int]:
    """How new each build is among those of its image name; the newest is 1."""
    ranks: dict[int, int] = {}
    counts: dict[str, int] = {}
    for built in sorted(builds, key=lambda built: built.build_id, reverse=True):
        counts[built.name] = ranks[built.build_id] = counts.get(built.name, 0) + 1
    return ranks


def _why_it_goes(policy: Policy) -> str:
    return f"nothing needs it, {policy.keep} newer ones are kept, and it is older than {policy.young.days} days"
