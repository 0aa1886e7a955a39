"""What a delivery leads to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.builds.model import Build, BuildState, Outdated, Queue, needs_build
from app.deliveries.model import BuildFor, Ignored, decide
from app.github.payload import NotATagPush, TagChange, TagPush
from app.repositories.model import MovedTagPolicy, Repository, RepositoryId
from tests.factories import build_in

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMMIT = "a" * 40
PUSH = TagPush("acme/bre", "v1.0.0", "refs/tags/v1.0.0", TagChange.CREATED, COMMIT)
REPOSITORY = Repository(
    RepositoryId(1), "acme/bre", "bre", "*", "Dockerfile", ".", None, {}, MovedTagPolicy.REBUILD, NOW, NOW, NOW
)


def test_a_created_tag_of_a_registered_repository_builds() -> None:
    assert decide(PUSH, [REPOSITORY]) == BuildFor(PUSH, (REPOSITORY,))


def test_one_tag_builds_for_every_matching_registration() -> None:
    other, strict = replace(REPOSITORY, image_name="bre-worker"), replace(REPOSITORY, tag_pattern="release-*")
    assert decide(PUSH, [REPOSITORY, other, strict]) == BuildFor(PUSH, (REPOSITORY, other))


@pytest.mark.parametrize(
    ("event", "registrations", "word"),
    [
        (PUSH, [], "not registered"),
        (PUSH, [replace(REPOSITORY, tag_pattern="release-*")], "matches no registered pattern (release-*)"),
        (replace(PUSH, kind=TagChange.DELETED, commit=None), [REPOSITORY], "was deleted"),
        (replace(PUSH, kind=TagChange.MOVED), [replace(REPOSITORY, on_moved_tag=MovedTagPolicy.IGNORE)], "was moved"),
        (NotATagPush("a ping"), [REPOSITORY], "a ping"),
    ],
)
def test_everything_else_is_ignored_with_its_reason(
    event: TagPush | NotATagPush, registrations: list[Repository], word: str
) -> None:
    decision = decide(event, registrations)
    assert isinstance(decision, Ignored)
    assert word in decision.reason


def test_a_moved_tag_builds_unless_told_not_to() -> None:
    moved = replace(PUSH, kind=TagChange.MOVED)
    assert decide(moved, [REPOSITORY]) == BuildFor(moved, (REPOSITORY,))


def build(state: BuildState, commit: str | None = COMMIT) -> Build:
    return build_in(state, commit)


@pytest.mark.parametrize("state", [BuildState.PENDING, BuildState.BUILDING, BuildState.SUCCESS])
def test_the_same_commit_is_not_built_twice(state: BuildState) -> None:
    assert isinstance(needs_build(build(state), COMMIT), Outdated)


@pytest.mark.parametrize("state", [BuildState.FAILED, BuildState.CANCELLED])
def test_a_commit_whose_build_came_to_nothing_is_built_again(state: BuildState) -> None:
    assert needs_build(build(state), COMMIT) == Queue()


@pytest.mark.parametrize("latest", [None, build(BuildState.SUCCESS, "b" * 40), build(BuildState.BUILDING, None)])
def test_another_commit_is_built(latest: Build | None) -> None:
    assert needs_build(latest, COMMIT) == Queue()
