"""Every delivery becomes a tag push or a reason why it is none; what GitHub never sends is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import PayloadInvalid
from app.github.payload import FORM_TYPE, JSON_TYPE, NotATagPush, TagChange, TagPush, parse_event
from tests.fakes.octokit import examples

PAYLOADS: Final = Path(__file__).parents[1] / "payloads"
ZERO: Final = "0" * 40
SHA: Final = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
OTHER: Final = "a" * 40


def recorded(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def push(**changes: Any) -> dict[str, Any]:
    """A tag creation as small as an old server could send it; ``None`` leaves a member out."""
    payload = {
        "ref": "refs/tags/v1.0.0",
        "before": ZERO,
        "after": SHA,
        "head_commit": {"id": SHA},
        "repository": {"full_name": "acme/bre-payments"},
        **changes,
    }
    return {name: value for name, value in payload.items() if value is not None}


def parse(payload: Any, event: str = "push") -> TagPush | NotATagPush:
    return parse_event(event, JSON_TYPE, json.dumps(payload).encode())


def parse_tag(**changes: Any) -> TagPush:
    found = parse(push(**changes))
    assert isinstance(found, TagPush)
    return found


# ---------------------------------------------------------------- what GitHub sends


def test_githubs_tag_creation_names_the_commit_to_build() -> None:
    assert parse_event("push", JSON_TYPE, recorded("push_tag_created")) == TagPush(
        repo="Codertocat/Hello-World",
        tag="simple-tag",
        ref="refs/tags/simple-tag",
        kind=TagChange.CREATED,
        commit=SHA,
    )


def test_a_form_delivery_says_the_same_as_json() -> None:
    body = recorded("push_tag_created")
    form = b"payload=" + quote_plus(body).encode()
    assert parse_event("push", FORM_TYPE, form) == parse_event("push", f"{JSON_TYPE}; charset=utf-8", body)


@pytest.mark.parametrize(
    ("name", "kind", "commit"),
    [
        ("push_tag_deleted", TagChange.DELETED, None),
        ("ghes_31_push_tag_deleted", TagChange.DELETED, None),
        ("ghes_33_push_tag_created", TagChange.CREATED, SHA),
    ],
)
def test_other_tag_pushes_of_github_are_told_apart(name: str, kind: TagChange, commit: str | None) -> None:
    found = parse_event("push", JSON_TYPE, recorded(name))
    assert isinstance(found, TagPush)
    assert (found.kind, found.commit) == (kind, commit)


@pytest.mark.parametrize(
    ("event", "name", "repo", "ref"),
    [
        ("push", "push_branch_created", "Codertocat/Hello-World", "refs/heads/master"),
        ("ping", "ping", "Octocoders/Hello-World", None),
        ("ping", "ping_of_organization", None, None),
        ("create", "create_tag", "Codertocat/Hello-World", "simple-tag"),
        ("delete", "delete_tag", "Codertocat/Hello-World", "simple-tag"),
        ("release", "release_published", "Codertocat/Hello-World", None),
    ],
)
def test_everything_else_starts_nothing_and_says_why(event: str, name: str, repo: str | None, ref: str | None) -> None:
    found = parse_event(event, JSON_TYPE, recorded(name))
    assert isinstance(found, NotATagPush)
    assert (found.repo, found.ref) == (repo, ref)
    assert found.reason.startswith(event)


def test_every_example_of_github_is_understood() -> None:
    tag_pushes = 0
    for source, event, payload in examples():
        found = parse(payload, event)
        is_tag = event == "push" and payload["ref"].startswith("refs/tags/")
        assert isinstance(found, TagPush) == is_tag, (source, event)
        tag_pushes += is_tag
    assert tag_pushes == 12


# ---------------------------------------------------------------- what happened to the tag


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, TagChange.CREATED),
        ({"created": True, "deleted": False}, TagChange.CREATED),
        ({"before": OTHER}, TagChange.MOVED),
        ({"before": OTHER, "created": False, "deleted": False, "forced": True}, TagChange.MOVED),
        ({"before": OTHER, "after": ZERO, "head_commit": None}, TagChange.DELETED),
        ({"before": OTHER, "after": ZERO, "deleted": False}, TagChange.DELETED),
        ({"before": OTHER, "created": True}, TagChange.CREATED),
    ],
)
def test_flags_that_are_missing_follow_from_the_shas(changes: dict[str, Any], kind: TagChange) -> None:
    assert parse_tag(**changes).kind is kind


def test_an_annotated_tag_builds_the_commit_and_not_the_tag_object() -> None:
    assert parse_tag(after=OTHER).commit == SHA


def test_without_a_head_commit_the_commit_is_left_to_be_looked_up() -> None:
    assert parse_tag(head_commit=None).commit is None


def test_a_deleted_tag_has_no_commit_even_if_one_is_sent() -> None:
    assert parse_tag(before=OTHER, after=ZERO).commit is None


@pytest.mark.parametrize(
    "tag",
    [
        "v1/rc",
        "v1;rm",
        "$(id)",
        'v"x',
        "<b>",
        "a&b",
        "%2e",
        "é",
        "-v1",
        "@",
        "v1.0+build",
        "漢字",
        "refs/tags/x",
        "🚀",
        "a" * 200,
    ],
)
def test_a_tag_is_kept_exactly_as_git_allows_it(tag: str) -> None:
    found = parse_tag(ref=f"refs/tags/{tag}")
    assert (found.tag, found.ref) == (tag, f"refs/tags/{tag}")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": None},
        {"ref": 5},
        {"ref": ""},
        {"ref": "refs/tags/"},
        {"ref": "refs/tags/a\x00b"},
        {"ref": "refs/tags/a b"},
        {"ref": "refs/tags/\ud800"},
        {"ref": "refs/tags/" + "é" * 600},
        {"repository": None},
        {"repository": "acme/bre-payments"},
        {"repository": {"full_name": "no-owner"}},
        {"repository": {"full_name": "acme/a/b"}},
        {"repository": {"full_name": "acme/a\x00"}},
        {"repository": {"full_name": "acme/a\n"}},
        {"before": None},
        {"after": "main"},
        {"after": SHA + "\n"},
        {"head_commit": {"id": "main"}},
        {"head_commit": [SHA]},
    ],
)
def test_a_push_of_the_wrong_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PayloadInvalid):
        parse(push(**changes))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'"text"',
        b"[]",
        b"null",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"ref": "refs/tags/a", "ref": "refs/tags/b"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"a": "\xed\xa0\x80"}',
    ],
    ids=range(15),
)
@pytest.mark.parametrize("event", ["push", "ping", "unheard_of"])
def test_a_body_that_is_not_one_json_object_is_refused(event: str, body: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        parse_event(event, JSON_TYPE, body)


@pytest.mark.parametrize(
    "body",
    [b"", b"payload", b"other={}", b"payload={}&payload={}", b"payload=%ff", b"a=1&" * 20 + b"payload={}", b"\xff"],
)
def test_a_form_without_exactly_one_payload_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        parse_event("ping", FORM_TYPE, body)


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "application/jsonx"])
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(PayloadInvalid):
        parse_event("ping", content_type, b"{}")


def test_unusable_text_beside_an_ignored_event_is_left_out() -> None:
    payload = {"ref": "a\x00b", "repository": {"full_name": "\ud800/x"}}
    assert parse(payload, "create") == NotATagPush("create: the push event of the same tag is what starts a build")


def test_a_nul_elsewhere_in_the_payload_does_no_harm() -> None:
    assert parse_tag(commits=[{"message": "a\x00\ud800"}]).tag == "v1.0.0"


def test_an_event_name_that_is_none_is_not_repeated() -> None:
    found = parse({}, "<script>")
    assert isinstance(found, NotATagPush)
    assert "<script>" not in found.reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([SHA, ZERO, "refs/tags/v1"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
members = [
    "ref",
    "before",
    "after",
    "created",
    "deleted",
    "head_commit",
    "repository",
]


@given(st.sampled_from(["push", "create", "ping", ""]), st.sampled_from([JSON_TYPE, FORM_TYPE]), st.binary())
@example("push", FORM_TYPE, b"payload=%F0%9F")
def test_no_bytes_raise_anything_else(event: str, content_type: str, body: bytes) -> None:
    try:
        parse_event(event, content_type, body)
    except PayloadInvalid as refused:
        assert str(refused)


@given(st.sampled_from(["push", "create", "x"]), st.dictionaries(st.sampled_from(members), json_values))
def test_no_json_raises_anything_else_and_what_is_kept_can_be_stored(event: str, changes: dict[str, Any]) -> None:
    try:
        found = parse({**push(), **changes}, event)
    except PayloadInvalid as refused:
        str(refused).encode()
        return
    kept = (found.repo, found.ref, getattr(found, "tag", None), getattr(found, "reason", None))
    for text in kept:
        assert text is None or "\x00" not in text
        assert text is None or text.encode()
