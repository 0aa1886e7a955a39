"""A payload without what is of no interest says the same, and what is no strict JSON is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import PayloadInvalid
from app.github.payload import NotATagPush, TagPush, event_of
from app.github.slim import NotAnObject, slim, strict_object

KNOWN = ["ref", "before", "after", "repository", "created", "deleted", "head_commit", "pusher", "sender", "commits"]
WITHIN = ["full_name", "id", "name", "login", "added"]
SHA = "a" * 40
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.sampled_from(["refs/tags/v1", "refs/heads/main", "acme/bre", SHA, "0" * 40]),
)
anything = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WITHIN), inner), max_leaves=6
)
payloads = st.dictionaries(st.sampled_from(KNOWN), anything)


def said(event: str, payload: dict[str, Any]) -> TagPush | NotATagPush | str:
    try:
        return event_of(event, payload)
    except PayloadInvalid as error:
        return str(error)


@settings(max_examples=50)
@given(st.sampled_from(["push", "ping", "create", "x"]), payloads)
def test_a_slim_payload_says_what_the_whole_one_says(event: str, payload: dict[str, Any]) -> None:
    assert said(event, slim(payload)) == said(event, payload)


def test_a_push_keeps_what_it_is_about() -> None:
    push = {
        "ref": "refs/tags/v1",
        "before": "0" * 40,
        "after": SHA,
        "repository": {"full_name": "acme/bre", "topics": ["x"] * 9, "owner": {"login": "acme"}},
        "head_commit": {"id": SHA, "added": ["a"] * 9},
        "commits": [{"id": SHA}] * 9,
    }
    slimmed = slim(push)
    assert isinstance(event_of("push", slimmed), TagPush)
    assert event_of("push", slimmed) == event_of("push", push)
    assert (slimmed["commits"], slimmed["head_commit"]["added"], slimmed["repository"]["owner"]) == ([], [], {})


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, '{"a": ' + "1" * 5000 + "}"]
)
def test_what_is_no_strict_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        strict_object(text)
    assert not isinstance(refused.value, NotAnObject)


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "null"])
def test_what_is_no_object_is_told_apart(text: str) -> None:
    with pytest.raises(NotAnObject):
        strict_object(text)


@settings(max_examples=50)
@given(payloads)
def test_an_object_is_read_as_python_reads_it(payload: dict[str, Any]) -> None:
    assert strict_object(json.dumps(payload)) == payload
