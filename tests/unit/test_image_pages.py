"""What the pages of images decide before they are rendered."""

from __future__ import annotations

import doctest
import json
from datetime import UTC, datetime
from typing import Any

import pytest

import app.dashboard.asking
import app.dashboard.image
import app.dashboard.tag_rows
from app.api.schema.impact import ImpactOut, MoveOut
from app.builds.model import BuildId, BuildState, Image, ImageId, Source
from app.dashboard.image import BuildRow, Shown, what_deleting_does, what_rebuilding_does, why
from app.dashboard.tag_rows import Made, tag_rows
from app.github.tags import Commit, Tag
from app.products.pins import Effect
from app.repositories.model import MovedTagPolicy, Repository, RepositoryId

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def image_in(state: BuildState) -> Image:
    return Image(
        ImageId(5), "bre", "v1.2.0", "acme/bre", "refs/tags/v1.2.0", "a" * 40, state, None, 1, BuildId(7), None, None,
        None, None, None, None, NOW, None,
    )  # fmt: skip


def build(source: Source = Source.API, actor: str | None = None, via: str | None = None) -> BuildRow:
    return BuildRow(
        7, "pending", source, "a" * 40, 1, None, None, None, None, NOW, None, None, None, {}, False, None, None, None,
        None, actor, via,
    )  # fmt: skip


def move(name: str, *, runs: bool) -> MoveOut:
    return MoveOut(
        id=1, slug="s", name=name, from_tag="v1.0.0", to="v1.2.0", track=None, effect=Effect.IMAGE_BUILT, runs=runs
    )


def shown(state: BuildState, *moves: MoveOut) -> Shown:
    impact = ImpactOut(image="bre", tag="v1.2.0", moves=list(moves), stays=[])
    return Shown(image_in(state), build(), build(), [], None, [], 0, impact)


@pytest.mark.parametrize("module", [app.dashboard.asking, app.dashboard.image, app.dashboard.tag_rows], ids=str)
def test_examples_in_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


def test_a_rebuild_says_which_running_products_follow() -> None:
    asked = what_rebuilding_does(shown(BuildState.SUCCESS, move("Allianz", runs=True), move("Stopped", runs=False)))
    assert "Allianz will be rolled out again" in asked
    assert "Stopped" not in asked
    assert "No product that runs will change" in what_rebuilding_does(shown(BuildState.SUCCESS))


def test_a_rebuild_says_what_becomes_of_a_build_under_way() -> None:
    assert "Build 7, which is not over, is given up" in what_rebuilding_does(shown(BuildState.BUILDING))
    assert "given up" not in what_rebuilding_does(shown(BuildState.FAILED))


def test_a_deletion_says_that_there_is_no_way_back() -> None:
    asked = what_deleting_does(image_in(BuildState.SUCCESS))
    assert "bre:v1.2.0" in asked
    assert "rolled back" in asked


@pytest.mark.parametrize(
    ("source", "actor", "via", "says"),
    [
        (Source.DELIVERY, "ada", "webhook", "ada pushed the tag"),
        (Source.DELIVERY, None, None, "the tag was pushed"),
        (Source.DELIVERY, "ops", "api", "ops had the delivery decided anew"),
        (Source.API, "ops", "dashboard", "ops asked for it (dashboard)"),
        (Source.API, None, None, "asked for by hand"),
        (Source.REBUILD, "ops", "cli", "ops had it rebuilt (cli)"),
        (Source.REBUILD, None, None, "rebuilt by hand"),
        (Source.RECONCILE, None, None, "Tagship found the tag on GitHub"),
    ],
)
def test_a_build_says_who_asked_for_it(source: Source, actor: str | None, via: str | None, says: str) -> None:
    assert why(build(source, actor, via)) == says


# ---------------------------------------------------------------- tags


def registration(name: str, pattern: str = "*") -> Repository:
    fields: dict[str, Any] = dict.fromkeys(Repository.__slots__)
    given = {"id": RepositoryId(1), "repo": "acme/bre", "image_name": name, "tag_pattern": pattern}
    return Repository(**fields | given | {"on_moved_tag": MovedTagPolicy.REBUILD})


def tag(name: str, sha: str = "a" * 40, message: str | None = "Fix it\n\nBecause.") -> Tag:
    return Tag(name, Commit(sha, NOW, "ada", message), "https://example/tarball")


def test_each_tag_shows_what_became_of_it_for_each_registration() -> None:
    images = [Made(5, "bre", "v1", "success", "a" * 40), Made(6, "worker", "v2", "failed", "b" * 40)]
    rows = tag_rows([tag("v1"), tag("v2")], "acme/bre", [registration("bre"), registration("worker", "v1*")], images)
    assert [
        [(one.name, one.image and one.image.id, one.moved, one.by_itself) for one in row.targets] for row in rows
    ] == [
        [("bre", 5, False, True), ("worker", None, False, True)],
        [("bre", None, False, True), ("worker", 6, True, False)],
    ]


def test_a_repository_that_is_no_longer_registered_makes_an_image_of_its_own_name() -> None:
    [row] = tag_rows([tag("v1")], "acme/Big_Shop", [], [])
    assert [(one.name, one.by_itself) for one in row.targets] == [("big_shop", False)]


def test_building_a_tag_asks_for_exactly_that_tag_whatever_it_is_called() -> None:
    strange = "v1\"><script>&'"
    [row] = tag_rows([tag(strange)], "acme/bre", [registration("bre")], [])
    assert json.loads(row.targets[0].body) == {"repo": "acme/bre", "tag": strange, "image_name": "bre"}


def test_an_image_whose_commit_is_not_known_yet_has_not_moved() -> None:
    [row] = tag_rows([tag("v1")], "acme/bre", [registration("bre")], [Made(5, "bre", "v1", "pending", None)])
    assert not row.targets[0].moved
