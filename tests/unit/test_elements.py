"""How many members and elements a body has is known before it is read, and in a time that does not grow with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.asking import MOST_ELEMENTS, _elements

values = st.recursive(
    st.text() | st.integers() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def counted(value: Any) -> int:
    """The commas and openings of a value's JSON, outside of its strings."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else max(len(inner), 1) + sum(map(counted, inner))


@given(values)
def test_a_text_inside_of_strings_counts_for_nothing(value: Any) -> None:
    filler = ',[{"\\' * MOST_ELEMENTS
    assert _elements(json.dumps({"filler": filler, "value": value}).encode()) == 2 + counted(value)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * 300_000,
        b"[]," * 300_000,
        b'"",' * 300_000,
        b'{"a":1},' * 100_000,
        b'{"a":{"b":[' * 50_000,
        b'"' * 500_000 + b"," * 10_000,
    ],
)
def test_too_many_are_found_out(body: bytes) -> None:
    assert _elements(body) > MOST_ELEMENTS


@pytest.mark.parametrize("body", [b'"' + b',\\"' * 300_000, b'"' + b"," * 900_000, b'"' + b"\\," * 400_000 + b"\\"])
def test_a_string_that_never_ends_is_one_string(body: bytes) -> None:
    assert _elements(body) == 0
