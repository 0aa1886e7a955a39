"""Which products a built image moves, or would: the one place where that is decided, purely.

A product is pinned to an image. With ``track``, a semver range or a glob, its pin moves to newer tags of the same
image name; a pin never moves backwards, nor to a pre-release unless the rule itself speaks of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from nodesemver import gt, make_range, satisfies

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_TRACK: Final = 200
SET_OF_CHARACTERS: Final = re.compile(r"\[[^\]]*\]")  # the hyphen of [0-9] speaks of no pre-release
VERSION: Final = re.compile(
    r"[vV]?(?P<major>\d{1,15})(?:\.(?P<minor>\d{1,15}))?(?:\.(?P<patch>\d{1,15}))?"
    r"(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Follower:
    """A product that might move: pinned to the image itself, or tracking its name; ``pinned_tag`` is today's.

    ``runs`` says whether it shall run, or waits for its image in order to. ``image_id`` grows with the order in which
    images were made.
    """

    product_id: int
    runs: bool
    image_id: int
    pinned_tag: str
    track: str | None


@dataclass(frozen=True, slots=True)
class Moves:
    """What one built image changes, as product ids: pins that move to it, and rollouts, by their reason."""

    pins: tuple[int, ...]
    rollouts_for_pin_moved: tuple[int, ...]
    rollouts_for_image_built: tuple[int, ...]


class Effect(StrEnum):
    """What a built image means for one product."""

    PIN_MOVED = "pin_moved"
    IMAGE_BUILT = "image_built"
    NOTHING = "nothing"


def moves(followers: Iterable[Follower], image_id: int, tag: str) -> Moves:
    """Decide for every follower of an image that has just been built. A stopped product's pin may move; it does not
    start.
    """
    pins, moved, built = [], [], []
    for follower in followers:
        match effect(follower, image_id, tag):
            case Effect.IMAGE_BUILT:
                built += [follower.product_id] * follower.runs
            case Effect.PIN_MOVED:
                pins.append(follower.product_id)
                moved += [follower.product_id] * follower.runs
            case Effect.NOTHING:
                pass
    return Moves(tuple(pins), tuple(moved), tuple(built))


def effect(follower: Follower, image_id: int | None, tag: str) -> Effect:
    """Decide for one product; ``image_id`` None is an image that is still to be made, later than all there are."""
    if follower.image_id == image_id:
        return Effect.IMAGE_BUILT
    made_later = image_id is None or image_id > follower.image_id
    if follower.track is None or not advances(follower.track, follower.pinned_tag, tag, made_later=made_later):
        return Effect.NOTHING
    return Effect.PIN_MOVED


def why_it_stays(follower: Follower, tag: str) -> str:
    """The sentence for a product that a tag has no effect on."""
    if follower.track is None:
        return f"it is pinned to {follower.pinned_tag} and tracks nothing"
    if matches(follower.track, tag):
        return f"{tag} is not newer than {follower.pinned_tag}, which it is pinned to"
    version = version_of(tag)
    if version is not None and "-" in version and matches(follower.track, tag.partition("-")[0]):
        return f"{tag} is a pre-release, and its rule {follower.track} does not ask for those"
    return f"its rule {follower.track} does not speak of {tag}"


def advances(track: str, pinned_tag: str, tag: str, *, made_later: bool = True) -> bool:
    """Whether the rule ``track`` moves a pin from ``pinned_tag`` to ``tag``; ``made_later`` decides between tags that
    are not both versions.

    >>> advances("^1.2", "v1.2.0", "v1.3.0"), advances("^1.2", "v1.3.0", "v1.2.9"), advances("^1", "v1.0.0",
    "v1.1.0-rc.1") (True, False, False)
    """
    return matches(track, tag) and newer(tag, pinned_tag, made_later=made_later)


def matches(track: str, tag: str) -> bool:
    """Whether ``tag`` is one that the rule ``track`` speaks of."""
    version = version_of(tag)
    if is_range(track):
        return version is not None and bool(satisfies(version, track, loose=True))
    prerelease = version is not None and "-" in version
    return fnmatchcase(tag, track) and (not prerelease or "-" in SET_OF_CHARACTERS.sub("", track))


def newer(tag: str, than: str, *, made_later: bool) -> bool:
    """Whether a tag is newer than another: by version where both spell one, else by which image was made later."""
    version, other = version_of(tag), version_of(than)
    if version is None or other is None:
        return made_later
    return bool(gt(version, other, loose=True))


def version_of(tag: str) -> str | None:
    """The semantic version that a tag spells, without build metadata, which has no precedence (semver.org, item 10);
    None when it spells none. A leading ``v`` and missing minor and patch numbers are forgiven.

    >>> version_of("v1.2"), version_of("v1.0.0-rc.1+a"), version_of("stable")
    ('1.2.0', '1.0.0-rc.1', None)
    """
    found = VERSION.fullmatch(tag)
    if found is None:
        return None
    numbers = [str(int(found[name] or 0)) for name in ("major", "minor", "patch")]
    return ".".join(numbers) + (f"-{found['pre']}" if found["pre"] else "")


def is_range(track: str) -> bool:
    """Whether a rule is a semver range; everything else is a glob."""
    try:
        make_range(track, loose=True)
    except ValueError:
        return False
    return True
