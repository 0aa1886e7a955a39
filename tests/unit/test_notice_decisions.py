"""Who is told of what, when, and what goes out together."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notices.model import (
    FEW,
    MOST_TOGETHER,
    ChannelId,
    Choice,
    Concern,
    Follow,
    NoticeEvent,
    Shipment,
    tellings_of,
    together,
    told_of_build_at_once,
    told_with_its_build,
    wants,
)

FAILURES: Final = (NoticeEvent.BUILD_FAILED, NoticeEvent.ROLLOUT_FAILED)
BUILDS: Final = (NoticeEvent.BUILD_SUCCEEDED, NoticeEvent.BUILD_FAILED)
CONCERN: Final = Concern("bre-payments", ("allianz", "axa"))
STATES: Final = ("pending", "applying", "converging", "done", "failed", "rolled_back", "superseded", "cancelled")


def choice(channel_id: int = 1, **fields: Any) -> Choice:
    return Choice(ChannelId(channel_id), **fields)


def shipment(*states: str, removed: int = 0, progress_told: bool = False) -> Shipment:
    follows = tuple(
        Follow(at, at, f"P{at}", f"p{at}", state, error="why", task_errors=({"output": "a"}, {"output": "b"}))
        for at, state in enumerate(states, 1)
    )
    facts = {"name": "bre-payments", "tag": "v1", "rollouts": len(states) + removed}
    return Shipment(5, facts, follows, progress_told)


def events(shipped: Shipment, one: Choice) -> list[NoticeEvent]:
    return [telling.event for telling in tellings_of(shipped, [one])]


# ---------------------------------------------------------------- choosing


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, True),
        ({"events": FAILURES}, True),
        ({"events": BUILDS[:1]}, False),
        ({"images": ("bre-*",)}, True),
        ({"images": ("bre",)}, False),
        ({"images": ("x", "bre-payments")}, True),
        ({"images": ("BRE-*",)}, False),
        ({"products": ("al*",)}, True),
        ({"products": ("ax?",)}, True),
        ({"products": ("zurich",)}, False),
        ({"images": ("bre-*",), "products": ("zurich",)}, False),
        ({"images": ("x",), "products": ("axa",)}, False),
    ],
)
def test_a_channel_is_told_what_it_chose_by_event_image_and_product(fields: dict[str, Any], wanted: bool) -> None:
    assert wants(choice(**fields), NoticeEvent.BUILD_FAILED, CONCERN) is wanted


def test_what_concerns_no_product_is_told_only_where_no_product_was_chosen() -> None:
    nobody = Concern("bre-payments", ())
    assert wants(choice(), NoticeEvent.BUILD_FAILED, nobody)
    assert not wants(choice(products=("*",)), NoticeEvent.BUILD_FAILED, nobody)


@pytest.mark.parametrize(
    ("event", "reason", "together_with_build"),
    [
        (NoticeEvent.ROLLOUT_DONE, "image_built", True),
        (NoticeEvent.ROLLOUT_FAILED, "pin_moved", True),
        (NoticeEvent.ROLLOUT_DONE, "start", False),
        (NoticeEvent.ROLLOUT_FAILED, "rollback", False),
        (NoticeEvent.ROLLOUT_DONE, None, False),
        (NoticeEvent.BUILD_FAILED, "image_built", False),
    ],
)
def test_rollouts_that_a_build_set_going_are_told_with_it(
    event: NoticeEvent, reason: str | None, together_with_build: bool
) -> None:
    assert told_with_its_build(event, {"reason": reason}) is together_with_build


@pytest.mark.parametrize(
    ("chosen", "rollouts", "at_once"),
    [
        (None, 0, True),
        (None, 3, False),
        (BUILDS, 3, True),
        (BUILDS, 0, True),
        ((NoticeEvent.BUILD_SUCCEEDED, NoticeEvent.ROLLOUT_FAILED), 3, True),
        ((NoticeEvent.BUILD_SUCCEEDED, NoticeEvent.ROLLOUT_DONE), 3, False),
    ],
)
def test_a_build_waits_for_its_rollouts_where_these_will_be_told(
    chosen: tuple[NoticeEvent, ...] | None, rollouts: int, at_once: bool
) -> None:
    assert told_of_build_at_once(choice(events=chosen), rollouts) is at_once


# ---------------------------------------------------------------- a build and its rollouts


@pytest.mark.parametrize(
    ("states", "event"),
    [
        (("done", "done"), NoticeEvent.ROLLOUT_DONE),
        (("done", "failed"), NoticeEvent.ROLLOUT_FAILED),
        (("rolled_back",), NoticeEvent.ROLLOUT_FAILED),
        (("done", "superseded"), NoticeEvent.ROLLOUT_DONE),
        (("done", "converging"), NoticeEvent.BUILD_SUCCEEDED),
        (("failed", "pending"), NoticeEvent.BUILD_SUCCEEDED),
        ((), NoticeEvent.ROLLOUT_DONE),
    ],
)
def test_a_build_is_told_by_how_its_rollouts_are(states: tuple[str, ...], event: NoticeEvent) -> None:
    assert events(shipment(*states), choice()) == [event]


def test_each_channel_hears_of_its_own_products_only() -> None:
    shipped = shipment("done", "failed", "pending")
    [first, second] = tellings_of(
        shipped, [choice(1, products=("p1",)), choice(2, products=("p2",)), choice(3, products=("p9",))]
    )
    assert (first.channel_id, first.event, [one["slug"] for one in first.facts["products"]]) == (
        1,
        NoticeEvent.ROLLOUT_DONE,
        ["p1"],
    )
    assert (second.channel_id, second.event, [one["slug"] for one in second.facts["products"]]) == (
        2,
        NoticeEvent.ROLLOUT_FAILED,
        ["p2"],
    )


def test_a_channel_of_another_image_hears_nothing() -> None:
    assert events(shipment("done"), choice(images=("other",))) == []


def test_failures_alone_are_told_at_the_end_and_only_then() -> None:
    assert events(shipment("failed", "pending"), choice(events=FAILURES)) == []
    assert events(shipment("failed", "done"), choice(events=FAILURES)) == [NoticeEvent.ROLLOUT_FAILED]
    assert events(shipment("done", "done"), choice(events=FAILURES)) == []


def test_who_was_told_of_the_build_at_once_is_not_told_how_far_it_is() -> None:
    assert events(shipment("pending"), choice(events=BUILDS)) == []


def test_failures_bring_their_reason_and_one_output() -> None:
    [telling] = tellings_of(shipment("done", "failed"), [choice()])
    assert telling.facts["products"] == [
        {"rollout_id": 1, "product_id": 1, "product": "P1", "slug": "p1", "state": "done"},
        {"rollout_id": 2, "product_id": 2, "product": "P2", "slug": "p2", "state": "failed", "error": "why",
         "task_errors": [{"output": "a"}]},
    ]  # fmt: skip


def test_products_that_were_removed_meanwhile_are_counted() -> None:
    [telling] = tellings_of(shipment("done", removed=2), [choice()])
    assert telling.facts["removed"] == 2
    [telling] = tellings_of(shipment(removed=2), [choice()])
    assert (telling.event, telling.facts["removed"]) == (NoticeEvent.ROLLOUT_DONE, 2)


@given(
    states=st.lists(st.sampled_from(STATES), max_size=6),
    chosen=st.none() | st.sets(st.sampled_from(NoticeEvent), min_size=1),
    products=st.lists(st.sampled_from(["p1", "p[23]", "*", "zurich"]), max_size=2),
)
def test_everybody_hears_the_end_of_what_they_chose_once_and_no_other(
    states: list[str], chosen: set[NoticeEvent] | None, products: list[str]
) -> None:
    """Whatever it looks like on the way: the last word is what is true at the end, and told to whoever chose it."""
    one = choice(events=None if chosen is None else tuple(chosen), products=tuple(products))
    at_end = ["done" if state in STATES[:3] else state for state in states]
    on_the_way = tellings_of(shipment(*states), [one])
    [*ending] = tellings_of(shipment(*at_end), [one])
    told = dict.fromkeys(telling.event for telling in [*on_the_way, *ending])
    assert all(chosen is None or event in chosen for event in told)
    assert len(told) <= 2
    assert len(ending) <= 1
    if [*told] and [*told][-1] is not NoticeEvent.BUILD_SUCCEEDED:
        failed = any(one["state"] in {"failed", "rolled_back"} for one in (ending or on_the_way)[-1].facts["products"])
        assert [*told][-1] is (NoticeEvent.ROLLOUT_FAILED if failed else NoticeEvent.ROLLOUT_DONE)
    wants_ends = chosen is None or {NoticeEvent.ROLLOUT_DONE, NoticeEvent.ROLLOUT_FAILED} <= chosen
    if wants_ends and states and not products:
        assert len(ending) == 1


# ---------------------------------------------------------------- bursts


@given(waiting=st.integers(1, 10_000))
def test_a_few_go_out_one_by_one_and_more_go_out_together(waiting: int) -> None:
    count = together(waiting)
    assert 1 <= count <= min(waiting, MOST_TOGETHER)
    assert (count == 1) == (waiting <= FEW)
