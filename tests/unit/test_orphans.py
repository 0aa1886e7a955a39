"""What a crash left goes, and nothing else: every reason to stay on its own, and what holds whatever there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.shape import ImageInfo, Inventory, OwnService, StepContainer
from app.retention.orphans import KnownBuild, Records, builds_of, what_to_remove

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NAME = "bre:v1"
FAILED = KnownBuild(over=True, succeeded=False, made=frozenset())
RUNNING = KnownBuild(over=False, succeeded=False, made=frozenset())
RECORDS = Records(
    builds={5: FAILED}, last_build_id=9, claimed_since=None, gone=frozenset(), default_image="base:latest"
)


def image(word: str = "a", build: int = 5, moment: str = "12:00", **fields: Any) -> ImageInfo:
    values: dict[str, Any] = {
        "id": f"sha256:{word}",
        "tags": (NAME,),
        "repo_digests": (),
        "size": 1,
        "created": NOW,
        "exposed_tcp": (),
        "labels": {
            "tagship.build": str(build),
            "tagship.image": NAME,
            "org.opencontainers.image.created": moment,
        },
    }
    return ImageInfo(**(values | fields))


def seen(*images: ImageInfo, services: tuple[OwnService, ...] = (), in_use: frozenset[str] = frozenset()) -> Inventory:
    return Inventory(images, services, in_use)


def removed(inventory: Inventory, **changes: Any) -> list[str]:
    """The ids of the images that go, without their ``sha256:``."""
    orphans = what_to_remove(inventory, replace(RECORDS, **changes))
    return [orphan.image.id.removeprefix("sha256:") for orphan in orphans.images]


def succeeded(*made: str) -> dict[int, KnownBuild]:
    return {5: KnownBuild(over=True, succeeded=True, made=frozenset(made))}


@pytest.mark.parametrize("tags", [(), (NAME,)])
def test_what_a_build_made_that_did_not_succeed_goes(tags: tuple[str, ...]) -> None:
    assert removed(seen(image(tags=tags))) == ["a"]


@pytest.mark.parametrize(
    ("changes", "records"),
    [
        ({}, {"builds": {5: RUNNING}}),
        ({}, {"builds": succeeded("sha256:a")}),
        ({"repo_digests": ("r/bre@sha256:d",)}, {"builds": succeeded("r/bre@sha256:d", "sha256:d")}),
        ({"tags": (NAME, "mine:latest")}, {}),
        ({"tags": ("mine:latest",)}, {}),
        ({"tags": ("mine:latest",)}, {"builds": {}}),
        ({"tags": ()}, {"builds": {}}),
        ({}, {"last_build_id": 4}),
        ({}, {"default_image": NAME}),
        ({}, {"claimed_since": NOW - timedelta(minutes=1)}),
        ({"created": NOW}, {"claimed_since": NOW + timedelta(milliseconds=900)}),
        ({"labels": {"tagship.image": NAME}}, {}),
        ({"labels": {"tagship.image": NAME, "tagship.build": "5; drop"}}, {}),
        ({"labels": {"tagship.image": NAME, "tagship.build": "9" * 30}}, {}),
    ],
    ids=[
        "its build still runs",
        "it is on record",
        "its digest is on record",
        "somebody gave it a second name",
        "somebody built from ours",
        "somebody built from what is no longer on record",
        "nameless and of no record: it may be built from ours",
        "a build that this database never had",
        "products without an image run it",
        "a build that runs may borrow from it",
        "made in the second in which a build was claimed",
        "no build",
        "a build that is no number",
        "a build that is no id",
    ],
)
def test_it_stays(changes: dict[str, Any], records: dict[str, Any]) -> None:
    assert removed(seen(image(**changes)), **records) == []


@pytest.mark.parametrize("named", ["sha256:a", NAME, "r/bre@sha256:d"])
def test_what_a_container_or_service_uses_stays(named: str) -> None:
    orphan = image(repo_digests=("r/bre@sha256:d",))
    assert removed(seen(orphan, in_use=frozenset({named}))) == []
    assert removed(seen(orphan, in_use=frozenset({"sha256:other"}))) == ["a"]


def test_an_older_image_goes_although_a_build_runs() -> None:
    assert removed(seen(image()), claimed_since=NOW + timedelta(seconds=2)) == ["a"]


def test_of_a_build_that_succeeded_only_what_earlier_attempts_made_goes() -> None:
    record = image("record", moment="12:07", tags=())
    earlier, derived = image("earlier", moment="12:01", tags=()), image("derived", moment="12:07", tags=())
    assert removed(seen(record, earlier, derived), builds=succeeded("sha256:record")) == ["earlier"]
    assert removed(seen(earlier, derived), builds=succeeded("sha256:record")) == []


def test_an_attempt_that_took_the_name_after_another_was_recorded_goes() -> None:
    late = image("late", moment="12:01")
    assert removed(seen(late, image("record", tags=(), moment="12:07")), builds=succeeded("sha256:record")) == ["late"]


def test_what_was_taken_off_the_record_goes_only_while_it_has_our_name() -> None:
    assert removed(seen(image()), builds=succeeded()) == ["a"]
    assert removed(seen(image(tags=())), builds=succeeded()) == []
    assert removed(seen(image()), builds={}) == ["a"]


def test_only_services_of_products_that_are_gone_go() -> None:
    services = (OwnService("1", "tagship-a", "a"), OwnService("2", "tagship-b", "b"))
    orphans = what_to_remove(seen(services=services), replace(RECORDS, gone=frozenset({"b"})))
    assert orphans.services == services[1:]


@pytest.mark.parametrize(
    ("build", "goes"),
    [
        (FAILED, True),
        (RUNNING, True),
        (replace(RUNNING, at_work=3), True),
        (replace(RUNNING, at_work=2), False),
        (None, True),
    ],
    ids=["over", "waits", "another attempt runs", "its attempt runs", "deleted"],
)
def test_the_container_of_a_step_goes_when_nobody_holds_its_attempt(build: KnownBuild | None, goes: bool) -> None:
    step = StepContainer("c", build=5, attempt=2)
    records = replace(RECORDS, builds={5: build} if build else {})
    assert what_to_remove(Inventory((), (), frozenset(), (step,)), records).steps == ((step,) if goes else ())


def test_the_container_of_a_build_that_this_database_never_had_stays() -> None:
    newest, newer = StepContainer("c", build=9, attempt=1), StepContainer("d", build=10, attempt=1)
    assert what_to_remove(Inventory((), (), frozenset(), (newest, newer)), RECORDS).steps == (newest,)


def test_the_builds_of_what_is_seen_are_asked_for() -> None:
    assert builds_of(seen(image(), image(build=7), image(labels={}))) == {5, 7}
    assert builds_of(Inventory((), (), frozenset(), (StepContainer("c", build=8, attempt=1),))) == {8}


IMAGES = st.builds(
    image,
    word=st.sampled_from("abcd"),
    build=st.integers(1, 12),
    moment=st.sampled_from(["12:00", "12:01"]),
    tags=st.sets(st.sampled_from([NAME, "mine:1", "base:latest"])).map(tuple),
)
BUILDS = st.dictionaries(
    st.integers(1, 12),
    st.builds(
        KnownBuild,
        over=st.booleans(),
        succeeded=st.booleans(),
        made=st.sets(st.sampled_from(["sha256:a", "sha256:b"])).map(frozenset),
    ),
)


@given(st.lists(IMAGES, max_size=6), BUILDS, st.sets(st.sampled_from(["sha256:a", NAME])).map(frozenset))
def test_nothing_goes_that_is_used_recorded_awaited_or_otherwise_named(
    images: list[ImageInfo], builds: dict[int, KnownBuild], in_use: frozenset[str]
) -> None:
    orphans = what_to_remove(seen(*images, in_use=in_use), replace(RECORDS, builds=builds))
    for orphan in orphans.images:
        one = orphan.image
        build = builds.get(int(one.labels["tagship.build"]))
        assert in_use.isdisjoint({one.id, *one.tags})
        assert set(one.tags) <= {NAME}
        assert build is None or (build.over and one.id not in build.made)
        assert int(one.labels["tagship.build"]) <= RECORDS.last_build_id


@given(
    st.lists(st.builds(StepContainer, st.text("ab", max_size=3), st.integers(1, 12), st.integers(1, 3)), max_size=6),
    st.dictionaries(
        st.integers(1, 12), st.builds(replace, st.just(RUNNING), at_work=st.none() | st.integers(1, 3)), max_size=6
    ),
)
def test_exactly_the_containers_of_attempts_at_work_or_of_a_later_database_stay(
    steps: list[StepContainer], builds: dict[int, KnownBuild]
) -> None:
    going = what_to_remove(Inventory((), (), frozenset(), tuple(steps)), replace(RECORDS, builds=builds)).steps
    at_work = {(build, known.at_work) for build, known in builds.items()}
    staying = [step for step in steps if (step.build, step.attempt) in at_work or step.build > RECORDS.last_build_id]
    assert sorted(map(repr, (*going, *staying))) == sorted(map(repr, steps))
