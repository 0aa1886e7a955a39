"""What strangers wrote, on our terminal; and values as people read and write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.stream import Event, events
from app.cli.text import clean, commit, distance, seconds_of, size, table

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NASTY = st.text(
    st.one_of(st.characters(), st.sampled_from("\x1b\x1b[]()\\PX^_;?0123mAHJK\x07\x9b\x9d\x9c\x90\r\n\t")), max_size=60
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a\tb\n", "a\tb\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("up\x1b[1Adown\x1b[2J\x1b[H", "updown"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;aGk=\x1b\\text", "text"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq payload\x1b\\text", "text"),
        ("\x9b2Jtext\x9d0;title\x9cmore", "textmore"),
        ("\x1b(0line\x1b7\x1bc", "line"),
        ("\x1b[31", ""),
        ("\x1b", ""),
        ("\x1b\x1b[2J[2Jtext", "[2Jtext"),
        ("bell\x07 back\x08\x7f nul\x00", "bell back nul"),
        ("10%\r20%\r\n30%\n", "10%\n20%\n30%\n"),
        ("\x1b]0;cut off\nnext line", "\nnext line"),
        ("größer 漢字 ✓", "größer 漢字 ✓"),
    ],
)
def test_nothing_but_text_reaches_a_file(text: str, plain: str) -> None:
    assert clean(text) == plain


@given(NASTY)
def test_no_text_brings_a_control_character_into_a_file(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", clean(text))


@given(NASTY)
def test_no_text_brings_more_than_colours_to_a_terminal(text: str) -> None:
    shown = clean(text, colours=True)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", re.sub(r"\x1b\[[0-9;:]*m", "", shown))
    assert clean(shown) == clean(text)


def test_a_colour_ends_with_its_line() -> None:
    assert clean("\x1b[31mred\nplain\n", colours=True) == "\x1b[31mred\x1b[0m\nplain\n"


def test_a_table_is_aligned_also_under_wide_letters() -> None:
    lines = table(("name", "image"), [("a", None), ("漢字", "x:1"), ("evil\x1b[2J\n", "y:2")])
    assert lines == ["NAME  IMAGE", "a     -", "漢字  x:1", "evil  y:2"]


@pytest.mark.parametrize(
    ("ago_s", "shown"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86_400 * 12, "12d"), (-7200, "2h")],
)
def test_a_time_is_told_by_its_distance(ago_s: int, shown: str) -> None:
    assert distance((NOW - timedelta(seconds=ago_s)).isoformat(), NOW) == shown


@pytest.mark.parametrize("value", [None, "", "yesterday", 5])
def test_what_is_no_time_has_no_distance(value: object) -> None:
    assert distance(value, NOW) is None


def test_sizes_and_commits_are_short() -> None:
    assert [size(value) for value in (0, 999, 4_300_000, 1_500_000_000, None)] == [
        "0 B",
        "999 B",
        "4.3 MB",
        "1.5 GB",
        None,
    ]
    assert commit("0123456789abcdef") == "0123456789"
    assert commit(None) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12H", 43_200), ("90d", 7_776_000), ("4w", 2_419_200)]
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1y", "1.5h", "d", "5 m", "999999999w", "٣d"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="90d"):
        seconds_of(text)


STREAM = (
    b": ping\r\n\r\nid: 7.1\r\nevent: log\r\ndata: one\r\ndata: t\x0cwo \xe2\x80\xa8\r\n\r\n"
    b"id: 7.2\nevent: log\ndata:\n\nretry: 5\n\nevent: end\r\ndata: success\r\n\r\nid: 7.3\r\ndata: cut"
)


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_events_are_read_however_the_bytes_are_cut(step: int) -> None:
    chunks = [STREAM[start : start + step] for start in range(0, len(STREAM), step)]
    assert list(events(chunks)) == [
        Event("7.1", "log", "one\nt\x0cwo \u2028"),
        Event("7.2", "log", ""),
        Event("", "end", "success"),
    ]
