"""Which products a built image moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.products.pins import Follower, advances, is_range, matches, moves, version_of


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
