"""Which products a built image moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.products.pins import (
    Effect,
    Follower,
    advances,
    effect,
    is_range,
    matches,
    moves,
    newer,
    version_of,
    why_it_stays,
)


@pytest.mark.parametrize(
    ("track", "pinned", "tag", "moved"),
    [
        ("^1", "v1.0.0", "v1.1.0", True),
        ("^1", "1.0.0", "v1.0.1", True),
        ("^1", "v1.9.0", "v1.10.0", True),
        ("^1.2", "v1.2.0", "v1.3.0", True),
        ("~1.4", "v1.4.0", "v1.4.9", True),
        ("~1.4", "v1.4.0", "v1.5.0", False),
        ("1.x", "v1.0.0", "v1.7.0", True),
        ("v2.*", "v2.0.0", "v2.3.1", True),
        ("v2.*", "v2.0.0", "v3.0.0", False),
        ("^1", "v1.1.0", "v1.1.0", False),
        ("^1", "v1.1.0", "v1.0.9", False),
        ("^1", "v1.0.0", "v2.0.0", False),
        ("^1", "v1.0.0", "v1.1.0-rc.1", False),
        ("*", "v1.0.0", "v2.0.0-rc.1", False),
        ("^1.1.0-rc.0", "v1.0.0", "v1.1.0-rc.1", True),
        ("v*-rc*", "v1.0.0", "v1.1.0-rc.1", True),
        ("^1", "v1.0.0", "v1.0.0+rebuilt", False),
        ("^1", "stable", "v1.0.0", True),
        ("^1", "stable", "nightly", False),
    ],
)
def test_a_pin_moves_forward_within_its_rule_and_no_further(track: str, pinned: str, tag: str, moved: bool) -> None:
    assert advances(track, pinned, tag) is moved


@pytest.mark.parametrize(
    ("tag", "version"),
    [("v1.2.3", "1.2.3"), ("1.2", "1.2.0"), ("V1", "1.0.0"), ("v1.0.0-rc.1+a", "1.0.0-rc.1"), ("v01.2.3", "1.2.3")],
)
def test_tags_spell_versions_with_forgiveness(tag: str, version: str) -> None:
    assert version_of(tag) == version


@pytest.mark.parametrize("tag", ["", "v", "stable", "v1.2.3.4", "release/1", "$(id)", "v1\n", "१.२.३", "v1.2.3-"])
def test_other_tags_spell_none(tag: str) -> None:
    assert version_of(tag) is None


PARTS = st.integers(0, 20)
VERSIONS = st.tuples(PARTS, PARTS, PARTS)


@given(VERSIONS, VERSIONS, st.sampled_from(["^1", "~1.4", "1.x", "*", ">=0.5", "v1.*", "^0"]), st.booleans())
def test_no_rule_moves_a_pin_backwards_or_to_a_prerelease(
    pinned: tuple[int, int, int], tag: tuple[int, int, int], track: str, prerelease: bool
) -> None:
    spelled = "v{}.{}.{}".format(*tag) + ("-rc.1" if prerelease else "")
    if advances(track, "v{}.{}.{}".format(*pinned), spelled):
        assert tag > pinned
        assert not prerelease


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_breaks_the_rules(track: str, tag: str) -> None:
    is_range(track)
    matches(track, tag)
    advances(track, tag, tag)


NUMBERED = st.builds("v{}.{}.{}".format, PARTS, PARTS, PARTS)
PRERELEASES = st.builds("{}-{}.{}".format, NUMBERED, st.sampled_from(["alpha", "beta", "rc"]), st.integers(0, 5))
TAGS = st.one_of(NUMBERED, PRERELEASES, st.builds("{}+{}".format, NUMBERED, st.sampled_from(["a", "build.7"])))
RELEASE_RULES = st.one_of(
    st.builds("^{}.{}".format, PARTS, PARTS),
    st.builds("~{}.{}".format, PARTS, PARTS),
    st.builds("{}.x".format, PARTS),
    st.builds(">={}.{} <{}".format, PARTS, PARTS, PARTS),
    st.builds("v{}.*".format, PARTS),
    st.sampled_from(["*", "x", ">=0.5", "v*", "v[0-9]*"]),
)
PRERELEASE_RULES = st.sampled_from(["^1.0.0-rc.0", "~2.1.0-alpha", ">=0.0.0-0", "v*-rc*", "v1.*-*", "v[0-9]*-*"])
RULES = st.one_of(RELEASE_RULES, PRERELEASE_RULES)


def precedence(tag: str) -> tuple[object, ...]:
    """A tag's place in the order of semver.org, item 11, for the tags that are drawn here."""
    numbers, _, pre = tag.removeprefix("v").partition("+")[0].partition("-")
    word, _, number = pre.partition(".")
    return (*map(int, numbers.split(".")), not pre, word, int(number or 0))


@given(RULES, TAGS, st.lists(TAGS, max_size=12))
def test_over_any_order_of_builds_a_pin_only_goes_up_and_ends_at_the_newest_it_may_have(
    track: str, start: str, built: list[str]
) -> None:
    pinned = start
    for number, tag in enumerate(built):
        before = pinned
        if effect(Follower(1, True, -1, pinned, track), number, tag) is Effect.PIN_MOVED:
            pinned = tag
        assert precedence(pinned) >= precedence(before)
    allowed = [precedence(tag) for tag in built if matches(track, tag)]
    assert precedence(pinned) == max([precedence(start), *allowed])


@given(RELEASE_RULES, TAGS, PRERELEASES)
def test_a_rule_that_speaks_of_none_never_moves_a_pin_to_a_prerelease(track: str, pinned: str, tag: str) -> None:
    assert not advances(track, pinned, tag)
    stays = Follower(1, True, 1, pinned, track)
    assert ("is a pre-release" in why_it_stays(stays, tag)) == matches(track, tag.partition("-")[0])


@given(RULES, NUMBERED, st.sampled_from(["+a", "+build.7", ""]), st.sampled_from(["+b", ""]), st.booleans())
def test_build_metadata_makes_nothing_newer(track: str, tag: str, one: str, other: str, later: bool) -> None:
    assert not advances(track, tag + one, tag + other, made_later=later)


@given(TAGS, TAGS)
def test_of_two_versions_one_is_newer_or_they_are_equal(one: str, other: str) -> None:
    later = newer(one, other, made_later=False), newer(other, one, made_later=False)
    assert sum(later) == (precedence(one) != precedence(other))


@given(st.sampled_from(["nightly-*", "rel*", "*"]), st.lists(st.sampled_from(["nightly-a", "rel-b", "stable"])))
def test_a_glob_over_tags_that_are_no_versions_follows_the_order_in_which_images_were_made(
    track: str, built: list[str]
) -> None:
    for number, tag in enumerate(built, 2):
        decided = effect(Follower(1, True, 1, "nightly-0", track), number, tag)
        speaks = track == "*" or tag.startswith(track.removesuffix("*"))
        assert decided is (Effect.PIN_MOVED if speaks and not is_range(track) else Effect.NOTHING)


@given(RULES, TAGS, TAGS, st.integers(0, 3), st.integers(1, 3))
def test_what_a_tag_would_do_is_what_it_does(track: str, pinned: str, tag: str, image_id: int, own: int) -> None:
    one = Follower(1, True, own, pinned, track)
    decided, done = effect(one, image_id, tag), moves([one], image_id, tag)
    assert (decided is Effect.PIN_MOVED) == (done.pins == done.rollouts_for_pin_moved == (1,))
    assert (decided is Effect.IMAGE_BUILT) == (done.rollouts_for_image_built == (1,))
    if decided is Effect.NOTHING:
        assert done == moves([], image_id, tag)
        assert why_it_stays(one, tag)


def follower(product_id: int, *, image_id: int = 1, track: str | None = None, runs: bool = True) -> Follower:
    return Follower(product_id, runs, image_id, "v1.0.0", track)


def test_pinned_products_roll_out_and_trackers_move_first() -> None:
    decided = moves(
        [follower(1, image_id=2), follower(2, track="^1"), follower(3), follower(4, track="^2")], 2, "v1.1.0"
    )
    assert decided.rollouts_for_image_built == (1,)
    assert decided.pins == decided.rollouts_for_pin_moved == (2,)


def test_a_product_that_shall_not_run_moves_its_pin_and_does_not_start() -> None:
    decided = moves([follower(1, track="^1", runs=False), follower(2, image_id=2, runs=False)], 2, "v1.1.0")
    assert decided.pins == (1,)
    assert decided.rollouts_for_pin_moved == decided.rollouts_for_image_built == ()


def test_tags_that_spell_no_versions_are_newer_by_which_image_was_made_later() -> None:
    nightly = Follower(1, True, 5, "nightly-a", "nightly-*")
    assert moves([nightly], 6, "nightly-b").pins == (1,)
    assert moves([nightly], 4, "nightly-c").pins == ()
