"""Secrets in a build log: masked however the text was cut, and text of any making is redacted in linear time."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.frame import storable
from app.log import LONGEST_MATCH, StreamRedactor, redact
from app.mask import MASK

TOKEN: Final = "ghs_" + "T0ken" * 8
PASSWORD: Final = "pass word/of+the=registry"
SECRETS: Final = (TOKEN, PASSWORD)
SAID: Final = st.sampled_from([
    TOKEN, PASSWORD, "\n", " ", "x", "word\n", "https://user:hunter22@host/x\n", "?token=abcdef123 ",
    "Authorization: Bearer ",
])  # fmt: skip


def passed(pieces: list[str]) -> str:
    redactor = StreamRedactor(SECRETS)
    return "".join([*map(redactor.feed, pieces), redactor.close()])


@settings(max_examples=60)
@given(st.lists(SAID, max_size=8).map("".join), st.integers(1, 50))
def test_text_cut_anywhere_is_redacted_like_the_whole_of_its_lines(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert passed(pieces) == "".join(redact(line, SECRETS) for line in text.splitlines(keepends=True))


@pytest.mark.parametrize("secret", [TOKEN, PASSWORD, "https://u:hunter22hunter22@host"])
@pytest.mark.parametrize(("size", "border"), [(1000, 33_000 - LONGEST_MATCH), (64 * 1024, 64 * 1024 - LONGEST_MATCH)])
def test_a_secret_at_the_border_of_a_line_without_an_end_is_masked(secret: str, size: int, border: int) -> None:
    for shift in range(-len(secret) - 1, 1, 5):
        text = "x" * (border + shift) + " " + secret + " " + "y" * (3 * LONGEST_MATCH)
        kept = passed([text[at : at + size] for at in range(0, len(text), size)])
        assert secret not in kept
        assert "hunter22hunter22" not in kept
        assert MASK in kept
        assert kept.startswith("x" * (border + shift))
        assert kept.endswith("y" * (3 * LONGEST_MATCH))


def test_a_line_without_an_end_is_given_out_before_it_ends() -> None:
    redactor = StreamRedactor(SECRETS)
    given_out = "".join(redactor.feed("x" * 1000) for _ in range(200))
    assert len(given_out) >= 200_000 - 3 * LONGEST_MATCH
    assert given_out + redactor.close() == "x" * 200_000


def test_a_whole_line_is_given_out_at_once() -> None:
    redactor = StreamRedactor(SECRETS)
    assert redactor.feed("half of ") == ""
    assert redactor.feed(f"a line with {TOKEN}\nand") == f"half of a line with {MASK}\n"


@given(st.text(max_size=50))
def test_what_is_stored_is_text_that_the_database_takes(text: str) -> None:
    kept = storable(text)
    assert "\0" not in kept
    kept.encode()
    assert len(kept) == len(text)
