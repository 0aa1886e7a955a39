"""What people read: one message for each notice, in the words of every kind of receiver."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from app.notices.model import NoticeEvent, Subject, Told
from app.notices.text import UNREADABLE, gathered, greeting, message_of
from app.receivers.message import Bold, Code, Icon, Link, Message, Tone, plain

AT: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUILD: Final[dict[str, Any]] = {
    "name": "bre-payments",
    "tag": "v1.1.0",
    "seconds": 41.4,
    "rollouts": 0,
    "commit_sha": "0123456789abcdef0123456789abcdef01234567",
    "image_id": 5,
    "github_repo": "acme/bre-payments",
    "error": "step RUN false ended with exit code 1",
    "log_tail": ["", "#5 RUN false", "#5 ERROR", ""],
}
ROLLOUT: Final[dict[str, Any]] = {
    "rollout_id": 7,
    "product_id": 3,
    "product": "Allianz",
    "slug": "allianz",
    "kind": "deploy",
    "reason": "start",
    "state": "rolled_back",
    "image": "bre-payments:v1.1.0",
    "port": 8001,
    "replicas": 2,
    "error": "the swarm rolled the service back: update rolled back",
    "task_errors": [{"output": "boom\nbang"}],
}


def follow(number: int, state: str = "done", **more: Any) -> dict[str, Any]:
    return {
        "rollout_id": number,
        "product_id": number,
        "product": f"Customer {number}",
        "slug": f"c{number}",
        "state": state,
        **more,
    }


def told(event: NoticeEvent, facts: dict[str, Any], subject: Subject | None = None) -> Told:
    return Told(1, event, subject or Subject(event.partition("_")[0]), 5, facts, 1, AT)


def message(event: NoticeEvent, facts: dict[str, Any], subject: Subject | None = None) -> Message:
    return message_of(told(event, facts, subject), "https://tagship.example.org")


def shipment(*products: dict[str, Any], removed: int = 0) -> Message:
    facts = BUILD | {"rollouts": len(products) + removed, "removed": removed, "products": list(products)}
    return message(NoticeEvent.ROLLOUT_DONE, facts, Subject.BUILD)


def test_a_build_that_nothing_follows_is_told_with_its_time_and_its_commit() -> None:
    assert message(NoticeEvent.BUILD_SUCCEEDED, BUILD) == Message(
        Icon.PACKAGE,
        Tone.GOOD,
        (Bold("bre-payments:v1.1.0"), " built in 41 s, no product follows it"),
        footer=("acme/bre-payments", " at ", Code("0123456789ab")),
        link=Link("image 5", "https://tagship.example.org/images/5"),
    )


def test_a_build_that_is_told_before_its_rollouts_says_how_many_follow() -> None:
    assert plain(message(NoticeEvent.BUILD_SUCCEEDED, BUILD | {"rollouts": 2})) == (
        "📦 bre-payments:v1.1.0 built in 41 s, 2 products rolling out"
    )


def test_a_failed_build_tells_why_and_the_last_lines_of_its_log() -> None:
    shown = message(NoticeEvent.BUILD_FAILED, BUILD)
    assert plain(shown) == (
        "❌ bre-payments:v1.1.0 could not be built: step RUN false ended with exit code 1\n#5 RUN false\n#5 ERROR"
    )
    assert (shown.tone, shown.link) == (Tone.BAD, Link("image 5", "https://tagship.example.org/images/5"))


def test_a_rollout_that_was_rolled_back_says_that_the_product_goes_on() -> None:
    shown = message(NoticeEvent.ROLLOUT_FAILED, ROLLOUT)
    assert plain(shown) == (
        "⚠️ Allianz could not be brought to bre-payments:v1.1.0 and goes on with what it ran: "
        "the swarm rolled the service back: update rolled back\nboom\nbang"
    )
    assert shown.footer == ("port 8001, 2 replicas",)
    assert shown.link == Link("product 3", "https://tagship.example.org/products/3")


def test_a_rollout_that_is_done_says_what_runs() -> None:
    assert plain(message(NoticeEvent.ROLLOUT_DONE, ROLLOUT)) == "✅ Allianz runs bre-payments:v1.1.0"


def test_a_stop_speaks_of_no_image_and_no_replicas() -> None:
    shown = message(NoticeEvent.ROLLOUT_DONE, ROLLOUT | {"kind": "stop", "replicas": 0})
    assert (plain(shown), shown.footer) == ("✅ Allianz is stopped", ())


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("rolled_back", "Allianz could not be stopped and goes on with what it ran: the task hangs"),
        ("failed", "Allianz could not be stopped: the task hangs"),
    ],
)
def test_a_stop_that_failed_says_that_the_product_could_not_be_stopped(state: str, sentence: str) -> None:
    facts = ROLLOUT | {"kind": "stop", "state": state, "error": "the task hangs", "task_errors": []}
    assert plain(message(NoticeEvent.ROLLOUT_FAILED, facts)) == f"⚠️ {sentence}"


# ---------------------------------------------------------------- a build and what it set going


def test_a_tag_whose_products_all_run_is_one_sentence_and_their_names() -> None:
    shown = shipment(follow(1), follow(2))
    assert plain(shown) == (
        "📦 bre-payments:v1.1.0 built in 41 s → 2 of 2 products running\nRunning: Customer 1, Customer 2"
    )
    assert (shown.tone, shown.link) == (Tone.GOOD, Link("image 5", "https://tagship.example.org/images/5"))


def test_a_tag_that_failed_somewhere_says_where_why_and_what_was_last_written() -> None:
    broken = follow(2, "failed", error="exit 1", task_errors=[{"output": ""}])
    back = follow(3, "rolled_back", error="exit 2", task_errors=[{"output": "no\nlicence"}])
    shown = shipment(follow(1), broken, back)
    assert plain(shown) == (
        "⚠️ bre-payments:v1.1.0 built in 41 s → 1 of 3 products running, 2 failed\n"
        "Customer 2 failed and is not running: exit 1\n"
        "Customer 3 failed and goes on with what it ran: exit 2\n"
        "Running: Customer 1\n"
        "The last output of Customer 3:\n"
        "no\nlicence"
    )
    assert shown.tone is Tone.BAD


def test_a_tag_under_way_says_how_far_it_is() -> None:
    assert plain(shipment(follow(1), follow(2, "converging"), follow(3, "pending"))) == (
        "📦 bre-payments:v1.1.0 built in 41 s → 1 of 3 products running, 2 under way\n"
        "Running: Customer 1\nUnder way: Customer 2, Customer 3"
    )


def test_products_that_were_overtaken_or_removed_are_not_said_to_run() -> None:
    assert plain(shipment(follow(1, "superseded"), removed=1)) == (
        "📦 bre-payments:v1.1.0 built in 41 s → 0 of 2 products running, 1 overtaken by something newer, 1 removed\n"
        "Overtaken by something newer: Customer 1"
    )


def test_of_a_large_fleet_fifty_are_named_and_ten_failures_explained() -> None:
    failed = [follow(1000 + number, "failed", error="no", task_errors=[]) for number in range(12)]
    lines = plain(shipment(*map(follow, range(200)), *failed)).splitlines()
    assert lines[0].endswith("→ 200 of 212 products running, 12 failed")
    assert sum("failed and is not running: no" in line for line in lines) == 10
    assert lines[11] == "Failed too: Customer 1010, Customer 1011"
    assert lines[12].startswith("Running: Customer 0, Customer 1, ")
    assert lines[12].endswith(", Customer 49 and 150 more")


# ---------------------------------------------------------------- several at once


def test_what_waited_together_is_one_message_that_names_each() -> None:
    one = message(NoticeEvent.BUILD_FAILED, BUILD)
    two = shipment(follow(1), follow(2))
    assert plain(gathered([one, two], "https://t")) == (
        "📨 2 things happened\n"
        "❌ bre-payments:v1.1.0 could not be built: step RUN false ended with exit code 1\n"
        "📦 bre-payments:v1.1.0 built in 41 s → 2 of 2 products running\n"
        "· Running: Customer 1, Customer 2"
    )
    assert gathered([one, two], "https://t").tone is Tone.BAD
    assert gathered([two, two], "https://t").tone is Tone.GOOD
    assert gathered([two], "https://t").link == Link("Tagship", "https://t/")


def test_a_test_message_names_the_channel() -> None:
    assert plain(greeting("ops", "https://t")) == "👋 Tagship reaches this channel (ops). This is a test."


# ---------------------------------------------------------------- strangers' words


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("a\x00b\x07c", "a b c"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x\x1b(B", "x"),
        ("\u202egnp.exe\u2066", "gnp.exe"),
        ("\ud800x", "x"),
        ("two\nlines\r\n\tthree", "two lines three"),
        ("a\u2028b", "a b"),
    ],
    ids=["controls", "colours", "title", "direction", "surrogate", "lines", "separator"],
)
def test_nothing_in_an_error_moves_a_cursor_or_turns_the_writing(dirty: str, clean: str) -> None:
    shown = plain(message(NoticeEvent.BUILD_FAILED, BUILD | {"error": dirty, "log_tail": []}))
    assert shown == f"❌ bre-payments:v1.1.0 could not be built: {clean}"


def test_a_log_keeps_its_blanks_and_loses_its_escapes() -> None:
    facts = BUILD | {"log_tail": ["  \x1b[1m#5\x1b[0m RUN\tx", "\x00", "y\u202e"]}
    assert message(NoticeEvent.BUILD_FAILED, facts).log == ("  #5 RUN    x", "", "y")


@pytest.mark.parametrize("facts", [{}, {"name": "x"}, BUILD | {"seconds": "soon"}, BUILD | {"rollouts": None}])
def test_facts_of_another_version_are_refused_and_not_guessed(facts: dict[str, Any]) -> None:
    with pytest.raises(UNREADABLE):
        message(NoticeEvent.BUILD_SUCCEEDED, facts)
