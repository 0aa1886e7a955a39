"""What is kept and what goes: every reason on its own, and what holds whatever the builds and products are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.shape import ImageInfo
from app.retention.model import BuiltImage, OnEngine, Policy, Use, Why, foreign_names, is_made_by, plan

NOW = datetime(2026, 5, 1, tzinfo=UTC)
POLICY = Policy(keep=2, young=timedelta(days=14), default_image="base:latest")
OLD = NOW - timedelta(days=100)


def built(build_id: int, **fields: Any) -> BuiltImage:
    """What an old build of its own image made."""
    exact = f"sha256:{build_id:064x}"
    values: dict[str, Any] = {
        "build_id": build_id,
        "image_id": 100 + build_id,
        "name": "bre",
        "tag": f"v{build_id}",
        "image_ref": f"bre:v{build_id}",
        "exact_ref": exact,
        "digest": exact,
        "size_bytes": 10,
        "built_at": OLD,
        "live": True,
        "busy": False,
    }
    return BuiltImage(**(values | fields))


NEWER = [built(8), built(9)]  # as many as the policy keeps, so that build 1 has to have a better reason to stay


@pytest.mark.parametrize(
    ("changes", "uses", "here", "reason"),
    [
        ({}, [], None, None),
        ({"live": False}, [], None, None),
        ({"live": False, "busy": True}, [], None, None),
        ({}, [], OnEngine("x", None), None),
        ({}, [Use("allianz", Why.RUNS, 1, "x")], None, "allianz runs it"),
        ({"live": False}, [Use("allianz", Why.RUNS, 1, "x")], None, "allianz runs it"),
        ({}, [Use("axa", Why.ROLLING_OUT, 1, "x")], None, "axa is being rolled out"),
        ({}, [Use("axa", Why.PINNED, 1, None)], None, "axa is pinned"),
        ({}, [Use("axa", Why.PINNED, 2, None)], None, None),
        ({}, [Use("axa", Why.RUNS, None, f"sha256:{1:064x}")], None, "axa runs it"),
        (
            {"exact_ref": "r/bre@sha256:1"},
            [Use("axa", Why.RUNS, None, "sha256:id")],
            OnEngine("sha256:id", None),
            "axa",
        ),
        ({}, [Use("axa", Why.ROLLBACK, 1, None, rank=3)], None, "axa could be rolled back"),
        ({}, [Use("axa", Why.ROLLBACK, 1, None, rank=4)], None, None),
        ({"image_ref": "base:latest"}, [], None, "TAGSHIP_DEFAULT_IMAGE"),
        ({"image_ref": "base:latest", "live": False}, [], None, None),
        ({"busy": True}, [], None, "built anew"),
        ({}, [], OnEngine("x", "their-shell"), "their-shell"),
        ({"name": "other"}, [], None, "newest 2 of other"),
        ({"built_at": NOW - timedelta(days=13)}, [], None, "younger than 14 days"),
        ({"built_at": NOW - timedelta(days=14)}, [], None, None),
    ],
)
def test_a_build_is_kept_for_its_reason_and_goes_without_one(
    changes: dict[str, Any], uses: list[Use], here: OnEngine | None, reason: str | None
) -> None:
    one = replace(built(1), **changes)
    decided = plan([*NEWER, one], uses, {1: here} if here else {}, POLICY, NOW)
    verdicts = {verdict.built.build_id: verdict.reason for verdict in decided.kept}
    assert (1 in verdicts) == (reason is not None)
    assert reason is None or reason in verdicts[1]
    assert {8, 9} <= set(verdicts)


def test_the_weightiest_use_is_the_reason() -> None:
    uses = [Use("a", Why.ROLLBACK, 1, None, 1), Use("b", Why.RUNS, 1, None), Use("c", Why.PINNED, 1, None)]
    decided = plan([built(1), *NEWER], uses, {}, POLICY, NOW)
    assert decided.kept[0].reason == "product b runs it"


def test_keeping_nothing_still_keeps_what_is_needed() -> None:
    policy = Policy(0, timedelta(0), "base:latest")
    uses = [Use("a", Why.RUNS, 2, None), Use("a", Why.ROLLBACK, 2, None, 1), Use("a", Why.ROLLBACK, 1, None, 2)]
    decided = plan([built(1), built(2), built(3)], uses, {}, policy, NOW)
    assert [verdict.built.build_id for verdict in decided.kept] == [2]


BUILDS = st.lists(
    st.builds(
        built,
        st.integers(1, 30),
        name=st.sampled_from(["bre", "shop"]),
        built_at=st.integers(0, 40).map(lambda days: NOW - timedelta(days=days)),
        live=st.booleans(),
        busy=st.booleans(),
    ),
    unique_by=lambda built: built.build_id,
    max_size=30,
)
USES = st.lists(
    st.builds(
        Use,
        st.sampled_from(["allianz", "axa"]),
        st.sampled_from(list(Why)),
        st.none() | st.integers(1, 30),
        st.none() | st.integers(1, 30).map(lambda build: f"sha256:{build:064x}"),
        st.integers(0, 6),
    )
)
HERE = st.dictionaries(st.integers(1, 30), st.builds(OnEngine, st.just("sha256:x"), st.none() | st.just("a-container")))


@given(BUILDS, USES, HERE, st.integers(0, 4), st.integers(0, 20))
def test_what_is_needed_young_or_new_never_goes(
    builds: list[BuiltImage], uses: list[Use], here: dict[int, OnEngine], keep: int, days: int
) -> None:
    decided = plan(builds, uses, here, Policy(keep, timedelta(days=days), "base:latest"), NOW)
    everything = [verdict.built.build_id for verdict in (*decided.kept, *decided.removed)]
    assert sorted(everything) == sorted(built.build_id for built in builds)
    for gone in (verdict.built for verdict in decided.removed):
        users = [use for use in uses if gone.build_id == use.build_id or gone.exact_ref == use.image]
        assert all(use.why is Why.ROLLBACK and use.rank > keep + 1 for use in users)
        assert gone.built_at <= NOW - timedelta(days=days)
        assert not (gone.live and gone.busy)
        assert here.get(gone.build_id, OnEngine("", None)).held_by is None
        newer = [one for one in builds if one.name == gone.name and one.build_id > gone.build_id]
        assert len(newer) >= keep


@given(BUILDS, USES)
def test_keeping_more_never_removes_more(builds: list[BuiltImage], uses: list[Use]) -> None:
    def removed(keep: int, days: int) -> set[int]:
        policy = Policy(keep, timedelta(days=days), "base:latest")
        return {verdict.built.build_id for verdict in plan(builds, uses, {}, policy, NOW).removed}

    assert removed(3, 5) <= removed(2, 5)
    assert removed(2, 10) <= removed(2, 5)


def info(**fields: Any) -> ImageInfo:
    values: dict[str, Any] = {"id": "sha256:a", "tags": (), "repo_digests": (), "labels": {"tagship.build": "7"}}
    return ImageInfo(**(values | {"size": 1, "created": None, "exposed_tcp": ()} | fields))


@pytest.mark.parametrize(
    ("image", "ours"),
    [
        (info(), True),
        (info(id="sha256:b"), False),  # labelled alike by another installation
        (info(labels={}), False),
        (info(labels={"tagship.build": "8"}), False),
        (info(id="sha256:b", repo_digests=("r/bre@sha256:a",)), False),
    ],
)
def test_only_what_is_on_record_and_carries_the_label_is_ours(image: ImageInfo, ours: bool) -> None:
    assert is_made_by(image, 7, "sha256:a", "sha256:a") == ours


def test_an_image_of_a_registry_is_known_by_its_manifest() -> None:
    assert is_made_by(info(id="sha256:b", repo_digests=("r/bre@sha256:a",)), 7, "r/bre@sha256:a", "sha256:a")


def test_names_that_others_gave_are_told_from_ours() -> None:
    image = info(tags=("127.0.0.1:5000/team/bre:v1", "bre:v1", "theirs:latest"))
    assert foreign_names(image, "127.0.0.1:5000/team/bre:v1") == ["bre:v1", "theirs:latest"]
    assert foreign_names(info(tags=("bre:v1",)), "docker.io/library/bre:v1") == []
