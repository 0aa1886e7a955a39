"""What the overview, the charts, the inbox and the audit trail say, decided before they are rendered."""

from __future__ import annotations

import doctest
import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

import app.dashboard.deeds
import app.dashboard.drawing
import app.dashboard.flow
import app.dashboard.needs
import app.dashboard.payloads
import app.dashboard.progress
from app.access.model import Via
from app.api.operations import OPERATIONS
from app.builds.model import BuildState, Source
from app.dashboard import needs, payloads
from app.dashboard.deeds import DEEDS, DOORS, details_of
from app.dashboard.drawing import Series, bar_chart, line_chart
from app.dashboard.figures import days_up_to, duration_of, figures_of
from app.dashboard.fleet import MOST_SEGMENTS, names_of
from app.dashboard.flow import MOST_CELLS, NO_FLEET, WORDS, Cell, Fleet, Flight, fleets_of
from app.dashboard.progress import Step, fraction, step_of
from app.products.model import ProductStatus
from app.rollouts.model import RolloutState

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAYS = days_up_to(date(2026, 11, 27), 3)
HOSTILE = '"><script>alert(1)</script>'
PURE = [
    app.dashboard.deeds,
    app.dashboard.drawing,
    app.dashboard.flow,
    app.dashboard.needs,
    app.dashboard.payloads,
    app.dashboard.progress,
]


@pytest.mark.parametrize("module", PURE, ids=str)
def test_examples_in_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


# ---------------------------------------------------------------- tags in flight


def flight(state: BuildState, fleet: Fleet = NO_FLEET, **other: Any) -> Flight:
    fields: dict[str, Any] = {
        "image_id": 1, "name": "bre", "tag": "v1", "active": True, "build_id": 7, "state": state,
        "source": Source.DELIVERY, "commit_sha": None, "attempt": 1, "error": None, "created_at": NOW, "seconds": None,
        "elapsed": None, "usual": None, "delivery_id": 3, "pushed_at": NOW, "actor": "ci-bot", "pinned": 0,
        "tracking": 0, "step": None, "fleet": fleet,
    }  # fmt: skip
    return Flight(**fields | other)


def fleet(**counts: int) -> Fleet:
    return Fleet((), counts)


@pytest.mark.parametrize(
    ("shown", "outcome"),
    [
        (flight(BuildState.PENDING), ("pending", "waiting")),
        (flight(BuildState.BUILDING), ("building", "building")),
        (flight(BuildState.FAILED), ("failed", "build failed")),
        (flight(BuildState.CANCELLED), ("cancelled", "cancelled")),
        (flight(BuildState.SUCCESS), ("success", "built")),
        (flight(BuildState.SUCCESS, fleet(running=3)), ("running", "running")),
        (flight(BuildState.SUCCESS, fleet(running=3, replaced=1)), ("running", "running")),
        (flight(BuildState.SUCCESS, fleet(replaced=2)), ("success", "built")),
        (flight(BuildState.SUCCESS, fleet(running=3, pending=1, failed=1)), ("deploying", "rolling out")),
        (flight(BuildState.SUCCESS, fleet(running=3, failed=1, rolled_back=1)), ("failed", "2 failed")),
    ],
    ids=lambda value: value.state if isinstance(value, Flight) else None,
)
def test_a_flight_ends_where_its_build_and_its_products_are(shown: Flight, outcome: tuple[str, str]) -> None:
    assert shown.outcome == outcome


@pytest.mark.parametrize(
    ("source", "actor", "who"),
    [
        (Source.DELIVERY, "ci-bot", "pushed by ci-bot"),
        (Source.DELIVERY, None, "pushed"),
        (Source.RECONCILE, "tagship", "found on GitHub"),
        (Source.REBUILD, None, "rebuilt by hand"),
        (Source.API, None, "asked for by hand"),
    ],
)
def test_a_flight_says_who_sent_it_off(source: Source, actor: str | None, who: str) -> None:
    assert flight(BuildState.PENDING, source=source, actor=actor).who == who


def cell_row(product: int, state: str, of_state: int, place: int, build: int = 7) -> dict[str, Any]:
    return {
        "build_id": build, "product_id": product, "name": f"P{product}", "progress": "0 of 1 running",
        "state": state, "of_state": of_state, "place": place,
    }  # fmt: skip


def test_a_fleet_counts_all_and_draws_the_first() -> None:
    rows = [cell_row(1, "running", 300, 1), cell_row(2, "pending", 5, 2), cell_row(9, "failed", 1, MOST_CELLS + 40)]
    found = fleets_of([*rows, cell_row(3, "running", 1, 1, build=8)])
    assert [cell.product_id for cell in found[7].cells] == [1, 2]
    assert found[7].of_all == 306
    assert found[7].sentence == "300 of 306 running, 1 failed, 5 waiting"
    assert (found[7].moving, found[7].failed, found[8].of_all) == (5, 1, 1)


def test_cells_stand_in_rows_inside_of_their_picture() -> None:
    drawn = Fleet(tuple(Cell(at, "x", "running", None) for at in range(45)), {"running": 45})
    width, height = drawn.size
    places = [(x, y) for x, y, _ in drawn.placed]
    assert len(set(places)) == 45
    assert all(x + 16 <= width and y + 16 <= height for x, y in places)


def test_a_cell_says_its_progress_only_while_it_moves() -> None:
    assert Cell(1, "AXA", "converging", "0 of 2 running").says == "AXA: starting (0 of 2 running)"
    assert Cell(1, "AXA", "running", "2 of 2 running").says == "AXA: running"


def test_every_state_that_a_cell_may_have_has_words() -> None:
    done = {str(state) for state in RolloutState if state is not RolloutState.DONE}
    assert done | {str(status) for status in ProductStatus if status is not ProductStatus.DEPLOYING} <= set(WORDS)


# ---------------------------------------------------------------- how far a build is


@pytest.mark.parametrize(
    ("log", "step"),
    [
        ("", None),
        ("Step 2/9 : RUN a\nStep 3/9 : RUN b\n", Step(3, 9, "RUN b")),
        ("#1 [internal] load build definition\n#5 [1/4] FROM debian\n", Step(1, 4, "FROM debian")),
        ("#8 [stage-1 2/4] COPY --from=build /a /b\n#9 extracting\n", Step(2, 4, "COPY --from=build /a /b")),
        ("Step 9/3 : RUN nonsense\n", None),
        ("Step 0/0 : RUN nonsense\n", None),
        ("hello Step 1/2 : not at the beginning\n", None),
        ("Step 1/2 : RUN \x1b[31mred\x1b[0m\x07\n", Step(1, 2, "RUN red")),
        (f"Step 1/2 : {'x' * 300}\n", Step(1, 2, "x" * 79 + "…")),
    ],
)
def test_the_step_is_the_last_that_the_log_names(log: str, step: Step | None) -> None:
    assert step_of(log) == step


def test_a_build_that_takes_longer_than_usual_is_never_shown_as_done() -> None:
    assert fraction(Step(9, 9, ""), 1e9, 10.0) < 1  # type: ignore[operator]
    assert fraction(Step(9, 9, ""), 1e9, None) < 1  # type: ignore[operator]


# ---------------------------------------------------------------- the fleet by version


def runs(name: str, tag: str | None, products: int, *, is_failed: bool = False) -> dict[str, Any]:
    return {"name": name, "tag": tag, "image_id": products, "products": products, "is_failed": is_failed}


def test_many_tags_become_one_segment_and_what_does_not_run_is_last() -> None:
    rows = [runs("bre", f"v{number}", 10) for number in range(9, 0, -1)]
    [name] = names_of([*rows, runs("bre", None, 2, is_failed=True)])
    assert len(name.segments) == MOST_SEGMENTS + 1
    assert [part.label for part in name.segments[-2:]] == ["4 older tags", "not running"]
    assert (name.segments[-2].products, name.products) == (40, 92)
    ends = [(part.start, part.start + part.share) for part in name.segments]
    assert ends[0][0] == 0
    assert ends[-1][1] == pytest.approx(100, abs=0.05)
    assert all(end == pytest.approx(start, abs=0.02) for (_, end), (start, _) in pairwise(ends))
    assert name.sentence.startswith("bre: 10 v9, 10 v8")


def test_names_stay_apart() -> None:
    assert [one.name for one in names_of([runs("a", "v1", 2), runs("b", "v1", 1)])] == ["a", "b"]
    assert names_of([]) == []


# ---------------------------------------------------------------- what needs a person

BUILD = {"image_id": 4, "name": "bre", "tag": "v2", "build_id": 9, "error": "exit 1\nmore", "finished_at": NOW,
         "was_built": True, "pinned": 0}  # fmt: skip
PRODUCT = {
    "id": 5, "name": "AXA", "status": "running", "rollout_state": "rolled_back", "error": "crashed",
    "image_name": "bre", "image_tag": "v2", "finished_at": NOW, "live_name": "bre", "live_tag": "v1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "happened"),
    [
        (BUILD, "its build failed"),
        (BUILD | {"pinned": 1}, "its build failed; 1 product pinned to it keeps what was built before"),
        (BUILD | {"pinned": 3}, "its build failed; 3 products pinned to it keep what was built before"),
        (BUILD | {"pinned": 3, "was_built": False}, "its build failed; 3 products pinned to it wait for it"),
    ],
)
def test_a_failed_build_says_what_it_means_for_products(row: dict[str, Any], happened: str) -> None:
    need = needs.failed_build(row)
    assert (need.subject, need.happened, need.reason, need.link) == ("bre:v2", happened, "exit 1 more", "/images/4#log")


@pytest.mark.parametrize(
    ("row", "state", "happened"),
    [
        (PRODUCT, "rolled_back", "the rollout of bre:v2 failed, and it runs bre:v1 again"),
        (PRODUCT | {"live_name": None}, "rolled_back", "the rollout of bre:v2 failed, and it runs what it ran again"),
        (
            PRODUCT | {"rollout_state": "failed", "status": "failed"},
            "failed",
            "the rollout of bre:v2 failed, and nothing earlier could be kept running",
        ),
        (
            PRODUCT | {"rollout_state": "done", "status": "failed", "error": None},
            "failed",
            "it should run and does not",
        ),
    ],
)
def test_a_failed_product_says_what_it_runs(row: dict[str, Any], state: str, happened: str) -> None:
    need = needs.failed_product(row)
    assert (need.state, need.happened, need.link) == (state, happened, "/products/5")


def test_what_is_broken_comes_before_what_deserves_a_look_and_the_latest_first() -> None:
    old, new = NOW - timedelta(hours=1), NOW
    found = needs.in_order(
        [
            needs.failed_product(PRODUCT | {"finished_at": new}),
            needs.failed_build(BUILD | {"finished_at": old}),
            needs.failed_build(BUILD | {"finished_at": new}),
            needs.failed_product(PRODUCT | {"finished_at": None, "rollout_state": None, "status": "failed"}),
        ]
    )
    assert [(need.state, need.since) for need in found] == [
        ("failed", new),
        ("failed", old),
        ("failed", None),
        ("rolled_back", new),
    ]


# ---------------------------------------------------------------- charts


def test_bars_stand_on_each_other_and_never_leave_the_picture() -> None:
    chart = bar_chart("a", "A", DAYS, [Series("ok", "good", (3, None, 10)), Series("bad", "wrong", (1, None, 5))])
    assert chart.top == 15
    assert [(bar.look, bar.y + bar.height) for bar in chart.bars] == [
        ("good", 100), ("wrong", pytest.approx(80, abs=0.01)), ("good", 100), ("wrong", pytest.approx(33.33, abs=0.02)),
    ]  # fmt: skip
    assert all(bar.y >= 0 and bar.x + bar.width <= len(DAYS) for bar in chart.bars)
    assert (chart.lines, chart.dots) == ([], [])


def test_a_line_has_a_gap_where_nothing_happened_and_a_point_for_every_value() -> None:
    chart = line_chart("a", "A", DAYS, [Series("median", "middle", (30.0, None, 60.0))])
    assert chart.lines == [("M0.5 50M2.5 0", "middle")]
    assert chart.dots == [("M0.5 50h0M2.5 0h0", "middle")]
    assert (chart.top_label, chart.bars) == ("1 min", [])
    assert chart.rows[0] == (DAYS[2], ["1 min 0 s".removesuffix(" 0 s")])


def test_a_chart_of_nothing_is_empty_and_can_still_be_drawn() -> None:
    chart = line_chart("a", "A", DAYS, [Series("median", "middle", (None, None, None))])
    assert chart.empty
    assert bar_chart("a", "A", DAYS, [Series("x", "good", (None, 0, None))]).empty
    assert chart.lines == [("", "middle")]


def test_figures_of_no_days_say_so_instead_of_numbers() -> None:
    figures = figures_of(DAYS, {}, {})
    assert (figures.lead_total.figure, figures.lead_total.detail) == ("—", "no deploy yet")
    assert (figures.success_total.figure, figures.success_total.detail) == ("—", "0 built, 0 failed")
    assert (figures.deploys_total.figure, figures.wait_total.figure) == ("0.0 a day", "—")


def test_figures_sum_up_what_the_days_show() -> None:
    builds: dict[date | None, dict[str, Any]] = {
        DAYS[2]: {"succeeded": 3, "failed": 1, "waited": 2.0, "waited_most": 4.0},
        None: {"succeeded": 3, "failed": 1, "waited": 2.0, "waited_most": 4.0},
    }
    deploys: dict[date | None, dict[str, Any]] = {
        None: {"done": 6, "failed": 2, "lead": 98.0, "lead_most": 200.0, "leads": 5}
    }
    figures = figures_of(DAYS, builds, deploys)
    assert (figures.success_total.figure, figures.wait_total.figure) == ("75 %", "2.0 s")
    assert (figures.deploys_total.figure, figures.deploys_total.detail) == ("2.0 a day", "6 came to run, 2 failed")
    assert (figures.lead_total.figure, figures.lead_total.detail) == (
        "1 min 38 s",
        "9 of 10 within 3 min 20 s; 5 deploys",
    )
    assert figures.success.rows[0] == (DAYS[2], ["3", "1"])
    assert figures.success.rows[1] == (DAYS[1], ["0", "0"])
    assert figures.wait.rows[1] == (DAYS[1], ["—", "—"])


def test_a_chart_of_durations_has_a_line_for_the_slow_ones_too() -> None:
    row = {"took": 40.0, "took_most": 70.0, "builds": 3}
    chart, total = duration_of(0, "bre", DAYS, {DAYS[0]: row, None: row})
    assert [one.look for one in chart.series] == ["middle", "slowest"]
    assert (chart.title, total.figure, total.detail) == ("bre", "40 s", "9 of 10 within 1 min 10 s; 3 builds")


# ---------------------------------------------------------------- the audit trail


def test_every_change_that_the_api_knows_is_called_by_its_words() -> None:
    changing = {operation.id for operation in OPERATIONS if operation.method != "GET"} - READING
    assert changing <= set(DEEDS)


READING = {"plan_product", "check_repository"}  # they say what would happen, or what is


def test_every_door_has_words() -> None:
    assert {str(via) for via in Via} == set(DOORS)


def test_details_are_bounded() -> None:
    said = details_of({f"n{number}": ["x" * 500] * 500 for number in range(100)})
    assert len(said) == 12
    assert all(len(value) <= 200 for _, value in said)


# ---------------------------------------------------------------- payloads


def test_a_small_payload_is_indented_and_keeps_its_letters() -> None:
    shown = payloads.shown("application/json", '{"ä":"</pre>"}'.encode(), 15)
    assert (shown.text, shown.cut, shown.problem) == ('{\n  "ä": "</pre>"\n}', False, None)


def test_a_form_shows_the_json_in_it() -> None:
    body = b"payload=%7B%22a%22%3A1%7D"
    assert payloads.shown("application/x-www-form-urlencoded", body, len(body)).text == '{\n  "a": 1\n}'


def test_of_a_large_payload_only_the_beginning_is_shown_and_nothing_is_parsed() -> None:
    beginning = b"[" * payloads.PRETTY_BYTES
    shown = payloads.shown("application/json", beginning, 25 * 1024 * 1024)
    assert shown.cut
    assert shown.text == "[" * payloads.PLAIN_BYTES


@pytest.mark.parametrize("body", [b"\xff\xfe\x00\x1b[31mred", b"{", b"[1]", b"[" * 60_000, b"", b'{"a":' * 9000])
def test_what_is_no_payload_is_shown_as_text_with_the_reason(body: bytes) -> None:
    shown = payloads.shown("application/json", body, len(body))
    assert shown.problem
    assert "\x1b" not in shown.text
    assert "\0" not in shown.text
    assert len(shown.text) <= payloads.PLAIN_BYTES


def test_deep_nesting_does_not_make_a_page_of_many_megabytes() -> None:
    deep = "[" * 400 + ",".join(["1"] * 20_000) + "]" * 400
    body = json.dumps({"a": json.loads(deep)}, separators=(",", ":")).encode()
    assert len(body) < payloads.PRETTY_BYTES
    shown = payloads.shown("application/json", body, len(body))
    assert shown.cut
    assert len(shown.text) <= payloads.MOST_CHARACTERS
