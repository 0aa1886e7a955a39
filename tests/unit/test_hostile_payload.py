"""Whatever a webhook delivers: a parsed value that PostgreSQL can hold, of bounded length, or ``PayloadInvalid``."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import PayloadInvalid
from app.github.payload import FORM_TYPE, JSON_TYPE, LONGEST_REF, NotATagPush, TagPush, parse_event, payload_text
from tests.fakes.octokit import examples

MOST_SAID = LONGEST_REF + 200
DEEP = 20_000


def judged(event: str, content_type: str, body: bytes) -> TagPush | NotATagPush | None:
    try:
        found = parse_event(event, content_type, body)
    except PayloadInvalid as refused:
        assert 0 < len(str(refused)) < 400
        assert str(refused).isprintable()
        return None
    parts = [getattr(found, name) for name in type(found).__dataclass_fields__]
    for text in (part for part in parts if part is not None):
        assert isinstance(text, str)
        assert "\0" not in text
        assert len(text.encode()) <= MOST_SAID  # no lone surrogate either
    return found


texts = st.text(max_size=20) | st.sampled_from([
    "refs/tags/v1", "refs/tags/\ud800", "refs/tags/a\0", "refs/tags/" + "é" * 800, "refs/tags/\u202e",
    "refs/heads/\x9b1m",
    "0" * 40, "a" * 40, "acme/shop", "acme/shop\n", "../..", "acme/" + "x" * 300, "\ud800", "\x00",
])  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)
EVENTS = ("push", "ping", "create", "delete", "release", "x" * 300, "", "Push", "a\n")


@pytest.fixture(scope="module")
def githubs() -> list[tuple[str, dict[str, Any]]]:
    """GitHub's own examples: every tag push, and a few of everything else that we speak of."""
    found = [(event, payload) for _, event, payload in examples()]
    pushes = [(event, payload) for event, payload in found if event == "push"]
    others = [(event, payload) for event, payload in found if event in {"ping", "create", "delete", "release"}]
    return pushes[:12] + random.Random(1).sample(others, 8)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every member of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here] * bool(here) + [place for key, item in inner for place in places(item, (*here, key))]


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = changed(value[place[0]], place[1:], new)
    return copy


@settings(max_examples=40)
@given(data=st.data())
def test_no_change_to_a_payload_of_github_is_more_than_refused(
    githubs: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    event, payload = data.draw(st.sampled_from(githubs))
    known = [("ref",), ("before",), ("after",), ("repository",), ("repository", "full_name"), ("head_commit",)]
    known += [("head_commit", "id"), ("created",), ("deleted",), ("pusher", "name"), ("sender", "login")]
    for _ in range(data.draw(st.integers(1, 3))):
        every = places(payload)
        place = data.draw(st.sampled_from([one for one in known if one in every] or every) | st.sampled_from(every))
        payload = changed(payload, place, data.draw(values))
        if not isinstance(payload, dict):
            break
    body = json.dumps(payload, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    judged(event, JSON_TYPE, body)
    judged(event, FORM_TYPE, b"payload=" + quote_plus(body).encode())


@settings(max_examples=40)
@given(data=st.data())
def test_no_damage_to_the_bytes_of_a_payload_is_more_than_refused(
    githubs: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    event, payload = data.draw(st.sampled_from(githubs))
    body = bytearray(json.dumps(payload).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 8))] = data.draw(
            st.binary(max_size=8)
            | st.sampled_from([b"\\ud800", b"\\u0000", b"[" * 2000, b'"ref":1,', b"NaN", b"9" * 5000])
        )
    judged(event, JSON_TYPE, bytes(body))
    judged(event, FORM_TYPE, urlencode({"payload": bytes(body)}).encode())


@settings(max_examples=100)
@given(
    st.sampled_from(EVENTS),
    st.sampled_from([JSON_TYPE, FORM_TYPE, f"{FORM_TYPE}; charset=x", "", "text/plain", "\xff"]) | st.text(max_size=30),
    st.binary(max_size=200) | st.sampled_from([b"payload=", b"payload=%00", b"payload=%7B%7D&payload", b"&" * 50]),
)
def test_no_bytes_are_more_than_refused(event: str, content_type: str, body: bytes) -> None:
    judged(event, content_type, body)
    try:
        text = payload_text(content_type, body)
    except PayloadInvalid:
        return
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    "body",
    [
        b'{"ref":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'{"ref": ' + b"9" * 4301 + b"}",
        b'{"ref": -' + b"9" * 100_000 + b"}",
        b'{"ref": 1e999, "after": -1e999, "before": 1E+9999999999}',
        b'{"ref": "\\ud800", "repository": {"full_name": "\\udc00/\\u0000"}}',
        b'{"ref": "refs/tags/a", "ref": "refs/tags/b"}',
        b'{"repository": {"full_name": "a/b", "full_name": "c/d"}, "ref": "refs/tags/a"}',
    ],
    ids=["lists", "objects", "long", "longer", "infinite", "surrogates", "twice", "twice inside"],
)
def test_json_that_parsers_stumble_over_is_refused(body: bytes) -> None:
    for event in ("push", "ping"):
        found = judged(event, JSON_TYPE, body)
        assert not isinstance(found, TagPush)
        assert judged(event, FORM_TYPE, urlencode({"payload": body}).encode()) == found
    assert judged("push", JSON_TYPE, body) is None


def test_a_form_of_many_fields_is_refused_unread() -> None:
    assert judged("push", FORM_TYPE, b"a=1&" * 1_000_000) is None
