"""What a look at a repository's tags leads to, and which deliveries are asked for again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.builds.model import Build, BuildState
from app.github.answers import Hook, HookConfig, HookDelivery
from app.reconcile.hooks import EVERY_S, Asked, failed, our_hook, to_send_again
from app.reconcile.model import Findings, FoundTag, Seen, is_behind, needs_dates, registrations_for, sort_out
from app.repositories.model import MovedTagPolicy, Repository, RepositoryId
from tests.factories import build_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
LATER: Final = NOW + timedelta(minutes=1)
EARLIER: Final = NOW - timedelta(minutes=1)
A, B, OBJECT = "a" * 40, "b" * 40, "f" * 40
WATCHED: Final = Repository(
    RepositoryId(1), "acme/bre", "bre", "v*", "Dockerfile", ".", None, {}, MovedTagPolicy.REBUILD, NOW, NOW, NOW, NOW
)
NEW: Final = replace(WATCHED, first_look_at=None)
OWED: Final = replace(NEW, backfill=True)
IGNORING: Final = replace(WATCHED, on_moved_tag=MovedTagPolicy.IGNORE)


def findings(
    *registrations: Repository,
    seen: Mapping[str, Seen] | None = None,
    images: Collection[str] = (),
    dates: Mapping[str, datetime] | None = None,
) -> Findings:
    return Findings(seen or {}, registrations, {one.id: frozenset(images) for one in registrations}, dates or {})


def built(found: Findings, commit: str = A, listed: str = A, tag: str = "v1") -> list[Repository]:
    """The registrations that build the tag, asked about or not."""
    questions = sort_out({tag: listed}, found).questions
    return [one for question in questions for one in registrations_for(replace(question, commit=commit), found)]


@pytest.mark.parametrize(
    ("found", "builds"),
    [
        pytest.param(findings(WATCHED), True, id="a tag that nobody has seen"),
        pytest.param(findings(WATCHED, seen={"v1": Seen(A, None)}), False, id="a tag that a delivery brought"),
        pytest.param(findings(WATCHED, seen={"v1": Seen(None, A)}), False, id="a tag of a listing"),
        pytest.param(findings(WATCHED, seen={"v1": Seen(B, None)}), True, id="moved since a delivery"),
        pytest.param(findings(WATCHED, seen={"v1": Seen(None, B)}), True, id="moved since a listing"),
        pytest.param(findings(IGNORING, seen={"v1": Seen(B, B)}), False, id="moved, and moved tags are ignored"),
        pytest.param(findings(IGNORING), True, id="new, and moved tags are ignored"),
        pytest.param(findings(WATCHED, seen={"v1": Seen(None, None)}), False, id="seen, at nobody knows what commit"),
        pytest.param(findings(replace(WATCHED, tag_pattern="w*")), False, id="no pattern takes it"),
        pytest.param(findings(), False, id="nobody is registered any more"),
        pytest.param(findings(NEW), False, id="the past of a new registration"),
        pytest.param(findings(NEW, dates={"v1": EARLIER}), False, id="older than the registration"),
        pytest.param(findings(NEW, dates={"v1": LATER}), True, id="younger than the registration"),
        pytest.param(findings(NEW, seen={"v1": Seen(B, B)}), False, id="moved before the registration"),
        pytest.param(findings(NEW, seen={"v1": Seen(B, B)}, dates={"v1": LATER}), True, id="moved after it"),
        pytest.param(findings(OWED), True, id="the past that is owed"),
        pytest.param(findings(OWED, seen={"v1": Seen(A, A)}), True, id="the past that is owed, seen before"),
        pytest.param(findings(replace(WATCHED, backfill=True), seen={"v1": Seen(A, A)}), True, id="owed later"),
        pytest.param(findings(OWED, seen={"v1": Seen(A, A)}, images=["v1"]), False, id="owed, and there is an image"),
        pytest.param(findings(replace(OWED, tag_pattern="w*")), False, id="owed, and no pattern takes it"),
    ],
)
def test_a_tag_is_built_when_it_was_missed_and_not_when_it_is_the_past(found: Findings, builds: bool) -> None:
    assert bool(built(found)) is builds


def test_a_tag_object_in_the_listing_is_asked_about_and_moves_nothing() -> None:
    found = findings(WATCHED, seen={"v1": Seen(A, None)})
    assert sort_out({"v1": OBJECT}, found).questions == (FoundTag("v1", OBJECT),)
    assert built(found, commit=A, listed=OBJECT) == []
    assert built(found, commit=B, listed=OBJECT) == [WATCHED]
    told = findings(WATCHED, seen={"v1": Seen(A, OBJECT)})
    assert sort_out({"v1": OBJECT}, told) == sort_out({}, told), "next time it is known"


def test_the_past_of_one_registration_is_not_that_of_another() -> None:
    other = replace(NEW, id=RepositoryId(2), image_name="worker")
    assert built(findings(WATCHED, other)) == [WATCHED]
    assert needs_dates({"v1": A, "w1": A}, findings(WATCHED, other)) == ["v1"]
    assert needs_dates({"v1": A}, findings(WATCHED, replace(other, backfill=True))) == []


SHAS: Final = st.sampled_from([A, B, OBJECT])
SEEN: Final = st.dictionaries(
    st.sampled_from(["v1", "v2", "w1"]), st.builds(Seen, st.none() | SHAS, st.none() | SHAS), max_size=3
)
REGISTRATIONS: Final = st.lists(st.sampled_from([WATCHED, NEW, OWED, IGNORING]), max_size=3)


@given(tags=st.dictionaries(st.sampled_from(["v1", "v2", "w1"]), SHAS), seen=SEEN, registrations=REGISTRATIONS)
def test_every_tag_that_tells_something_new_is_written_down_and_then_tells_nothing(
    tags: dict[str, str], seen: dict[str, Seen], registrations: list[Repository]
) -> None:
    before = findings(*registrations, seen=seen)
    outcome = sort_out(tags, before)
    handled = {tag.name for tag in (*outcome.questions, *outcome.known)}
    assert handled >= {name for name, sha in tags.items() if name not in seen or not seen[name].shows(sha)}
    after = {tag.name: Seen(A, tag.listed_sha) for tag in (*outcome.questions, *outcome.known)}
    settled = [replace(one, first_look_at=NOW, backfill=False) for one in registrations]
    again = sort_out(tags, findings(*settled, seen=seen | after))
    assert again == sort_out({}, before), "a second look at the same finds nothing to do"


def build(state: BuildState, commit: str | None) -> Build:
    return build_in(state, commit, removed_at=NOW if state is BuildState.SUCCESS else None)


@pytest.mark.parametrize("state", list(BuildState))
def test_a_look_never_repeats_a_commit_whatever_became_of_it(state: BuildState) -> None:
    assert not is_behind(build(state, A), A)
    assert is_behind(build(state, B), A)


@pytest.mark.parametrize(
    ("latest", "behind"),
    [
        (None, True),
        (build(BuildState.PENDING, None), False),
        (build(BuildState.BUILDING, None), False),
        (build(BuildState.FAILED, None), True),
    ],
)
def test_a_build_without_a_commit_finds_it_out_by_itself_while_it_may(latest: Build | None, behind: bool) -> None:
    assert is_behind(latest, A) is behind


# ---------------------------------------------------------------- webhooks


def hook(number: int, url: str) -> Hook:
    return Hook(id=number, config=HookConfig(url=url))


def test_the_webhook_of_this_tagship_goes_before_that_of_another() -> None:
    slack, other = hook(1, "https://hooks.example/x"), hook(2, "https://other.example/webhooks/github")
    ours = hook(3, "https://tagship.example/webhooks/github")
    assert our_hook([slack, other, ours], "https://tagship.example") == ours
    assert our_hook([slack, other], "https://tagship.example") == other
    assert our_hook([slack], "https://tagship.example") is None
    assert our_hook([hook(4, "https://tagship.example.evil/webhooks/github"), ours], "https://tagship.example") == ours


def attempt(number: int, guid: str, status: int | None) -> HookDelivery:
    return HookDelivery(id=number, guid=guid, delivered_at=NOW + timedelta(seconds=number), status_code=status)


def test_only_what_failed_at_last_and_did_not_arrive_is_asked_for_again() -> None:
    deliveries = [
        attempt(9, "healed", 202),
        attempt(8, "broke", 502),
        attempt(7, "silent", 0),
        attempt(6, "pending", None),
        attempt(5, "arrived", 503),
        attempt(4, "healed", 500),
        attempt(3, "broke", 200),
    ]
    missed = failed(deliveries)
    assert [one.guid for one in missed] == ["arrived", "pending", "silent", "broke"]
    assert [one.id for one in to_send_again(missed, {"arrived"}, {})] == [6, 7, 8]


@pytest.mark.parametrize(
    ("asked", "again"),
    [(Asked(1, EVERY_S + 1), True), (Asked(2, EVERY_S - 1), False), (Asked(3, 10 * EVERY_S), False)],
)
def test_a_delivery_is_asked_for_every_six_hours_and_three_times(asked: Asked, again: bool) -> None:
    missed = [attempt(1, "g", 502)]
    assert to_send_again(missed, set(), {"g": asked}) == (missed if again else [])
