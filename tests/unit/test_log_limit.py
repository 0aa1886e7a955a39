"""What is kept of a log that is too long."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from app.builds.journal import LAST_CHARACTERS, Limit


def through(texts: list[str], most: int) -> str:
    limit = Limit(most)
    return "".join([*map(limit.let_through, texts), limit.ending()])


def test_a_log_within_the_limit_is_not_touched() -> None:
    assert through(["one\n", "", "two"], 7) == "one\ntwo"


def test_what_is_a_little_too_long_loses_nothing() -> None:
    kept = through(["one\n", "two\n"], 5)
    before, after = re.split(r"\n… the log is cut here: one attempt may print 5 characters;[^\n]*\n", kept)
    assert before + after == "one\ntwo\n"


def test_the_end_begins_with_a_whole_line_and_the_missing_characters_are_counted() -> None:
    lines = [f"line {number:06}\n" for number in range(20_000)]
    kept = through(lines, 120)
    said = re.search(r"\n… ([\d,]+) characters are missing here; the log ends with: …\n(.*)", kept, re.DOTALL)
    assert said is not None
    end = said[2]
    assert end.startswith("line ")
    assert end.endswith("line 019999\n")
    assert LAST_CHARACTERS - 12 <= len(end) <= LAST_CHARACTERS
    assert int(said[1].replace(",", "")) == 12 * 20_000 - 120 - len(end)


def test_the_ending_is_given_once() -> None:
    limit = Limit(1)
    limit.let_through("abc")
    assert limit.ending() == "bc"
    assert limit.ending() == ""


@given(st.lists(st.text(max_size=200), max_size=50), st.integers(0, 500))
def test_nothing_gets_lost_that_fits_into_the_end(texts: list[str], most: int) -> None:
    kept = through(texts, most)
    whole = "".join(texts)
    assert kept.startswith(whole[:most])
    assert kept.endswith(whole[most:])
