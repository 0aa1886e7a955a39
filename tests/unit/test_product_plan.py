"""What a plan says of a change: the differences, and the consequences in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.engine.shape import Healthcheck, PublishMode, ServiceTarget
from app.engine.spec import service_spec
from app.mask import MASK
from app.products.model import Live, Product, ProductFields, ProductId, ProductStatus
from app.products.plan import (
    ITS_NUMBER,
    Brought,
    PlanAction,
    Watch,
    consequences,
    field_changes,
    planned_rollout,
    spec_changes,
    what_is_kept,
)
from app.rollouts.model import RolloutKind, RolloutReason, service_target

NOW = datetime(2026, 11, 27, tzinfo=UTC)
WATCH = Watch(5, 300)
FIELDS = ProductFields("AXA", 8001, 80, PublishMode.INGRESS, 2, 3, None, {"KEY": "sealed"}, None)
LIVE = Live(11, "sha256:1", "bre:v1", 5, 8001, 80, 2, NOW)
BROUGHT = Brought("sha256:1", 3, "bre", "v1", "acme/bre", 5, "a" * 40, "guid")


def product(status: ProductStatus = ProductStatus.RUNNING, *, wanted: bool = True, live: Live | None = LIVE) -> Product:
    return Product(ProductId(7), "axa", FIELDS, "bre:v1", 5, wanted, status, "service", live, NOW, NOW)


def target(action: PlanAction = PlanAction.CHANGE, brought: Brought = BROUGHT, **fields: Any) -> ServiceTarget:
    after = replace(FIELDS, **fields)
    rollout = planned_rollout(product(), after, brought, action, installation="i", now=NOW)
    return service_target(rollout, dict(after.env), container_port=after.container_port or 80, monitor_s=5)


def applied(**fields: Any) -> dict[str, Any]:
    """The service as rollout 11 made it."""
    spec = service_spec(target(), None)
    spec["Labels"]["tagship.rollout"] = "11"
    return spec | fields


def said(wanted: ServiceTarget, current: dict[str, Any] | None, **more: Any) -> str:
    changes = spec_changes(current, service_spec(wanted, current), replaces=more.pop("replaces", False))
    of = more.pop("of", product())
    return " ".join(consequences(of, wanted, current, changes, WATCH, under_way=more.get("under_way")))


def test_the_planned_rollout_is_the_one_that_would_be_queued() -> None:
    made = planned_rollout(product(), FIELDS, BROUGHT, PlanAction.ROLLBACK, installation="i", now=NOW)
    assert (made.kind, made.reason, made.image, made.build_id) == (
        RolloutKind.DEPLOY, RolloutReason.ROLLBACK, "sha256:1", 5,
    )  # fmt: skip
    stop = planned_rollout(product(), FIELDS, BROUGHT, PlanAction.STOP, installation="i", now=NOW)
    assert (stop.kind, stop.wanted) == (RolloutKind.STOP, 0)


def test_the_same_again_changes_nothing_of_the_service() -> None:
    assert spec_changes(applied(), service_spec(target(), applied())) == []
    assert "The tasks that run are kept" in said(target(), applied())


def test_a_redeploy_replaces_every_task_although_nothing_else_differs() -> None:
    wanted = target(PlanAction.REDEPLOY)
    [found] = spec_changes(applied(), service_spec(wanted, applied()), replaces=True)
    assert (found.path, found.before, found.after) == ("TaskTemplate.ForceUpdate", 0, ITS_NUMBER)
    assert "All 2 tasks are replaced, one at a time: a new one starts before" in said(wanted, applied(), replaces=True)


def test_what_was_changed_by_hand_is_put_right_and_shown() -> None:
    by_hand = applied(Mode={"Replicated": {"Replicas": 5}})
    [found] = spec_changes(by_hand, service_spec(target(), by_hand))
    assert (found.before, found.after) == (5, 2)
    assert "3 tasks stop" in said(target(), by_hand)


def test_a_new_image_shows_the_image_and_the_labels_that_come_with_it() -> None:
    brought = replace(BROUGHT, image="sha256:2", image_tag="v2", build_id=6)
    found = {one.path: one.after for one in spec_changes(applied(), service_spec(target(brought=brought), applied()))}
    assert found["TaskTemplate.ContainerSpec.Image"] == "sha256:2"
    assert found["TaskTemplate.ContainerSpec.Labels.tagship.build"] == "6"
    assert not any(path.endswith("tagship.rollout") for path in found)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (target(replicas=3), "1 task more starts."),
        (target(replicas=1), "1 task stops."),
        (target(env={}), "All 2 tasks are replaced"),
        (target(env={}, replicas=1), "The task is replaced"),
        (target(publish_mode=PublishMode.HOST), "an old one stops before its new one starts"),
        (target(port=8002), "Port 8001 is free for others once that is done; the product then answers on 8002."),
        (target(PlanAction.STOP), "2 tasks stop; replicas, port and variables are remembered"),
        (target(), "what rollout 11 made is put back"),
        (target(), "stayed up for 5 s; if it fails or takes longer than 300 s"),
        (target(), "No other product changes."),
    ],
)
def test_consequences_say_what_becomes_of_the_tasks(wanted: ServiceTarget, sentence: str) -> None:
    assert sentence in said(wanted, applied())


def test_a_first_start_makes_the_service_and_has_nothing_to_go_back_to() -> None:
    first = said(target(PlanAction.START), None, of=product(live=None))
    assert "The service tagship-axa is made, with 2 tasks." in first
    assert "scaled to nothing" in first


def test_what_is_under_way_gives_way() -> None:
    assert "Rollout 12, which is under way, gives way" in said(target(), applied(), under_way=12)
    assert "gives way" not in said(target(), applied())


def test_fields_are_named_as_in_the_api_and_variables_masked() -> None:
    after = replace(
        FIELDS,
        name="Axa AG",
        track="^1",
        port=8002,
        publish_mode=PublishMode.HOST,
        healthcheck=Healthcheck(("CMD", "x")),
    )
    found = field_changes(
        FIELDS, after, env=({"KEY": "one", "OLD": "o"}, {"KEY": "two", "NEW": "n"}), images=("bre:v1", "bre:v2")
    )
    assert {one.path: (one.before, one.after) for one in found} == {
        "image": ("bre:v1", "bre:v2"),
        "name": ("AXA", "Axa AG"),
        "port": (8001, 8002),
        "publish_mode": ("ingress", "host"),
        "track": (None, "^1"),
        "healthcheck": (None, "CMD x"),
        "env_vars.KEY": (MASK, MASK),
        "env_vars.NEW": (None, MASK),
        "env_vars.OLD": (MASK, None),
    }
    assert field_changes(FIELDS, FIELDS, env=({"A": "x"}, {"A": "x"}), images=("a", "a")) == []


@pytest.mark.parametrize(
    ("of", "sentence"),
    [
        (product(ProductStatus.STOPPED, wanted=False), "kept for its next start"),
        (product(ProductStatus.AWAITING_IMAGE, wanted=False), "waits for its image"),
        (product(), "go on running as they are"),
    ],
)
def test_a_change_that_no_rollout_follows_says_why(of: Product, sentence: str) -> None:
    found = field_changes(FIELDS, replace(FIELDS, name="x"), env=({}, {}), images=("a", "a"))
    assert sentence in what_is_kept(of, found)[0]
    assert what_is_kept(of, []) == ["Nothing changes."]
