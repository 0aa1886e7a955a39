"""Whatever people call things: what the engine is given is what its own grammar allows, to the last character."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.api import fields
from app.builds.model import ClaimedBuild, default_image_name, docker_tag, image_labels, image_reference
from app.engine.build import build_params
from app.engine.shape import Builder, BuildRequest
from app.github.payload import TagPush, parse_event
from app.products.model import LONGEST_SLUG
from app.queue.lease import Lease
from app.reference import is_reference, is_registry, parse_reference
from app.rollouts.model import SERVICE_PREFIX

# github.com/distribution/reference, regexp.go
PATH_COMPONENT: Final = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
PATH: Final = rf"{PATH_COMPONENT}(?:/{PATH_COMPONENT})*"
DOMAIN_COMPONENT: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN: Final = rf"(?:{DOMAIN_COMPONENT}(?:\.{DOMAIN_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST: Final = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
REFERENCE: Final = re.compile(rf"(?:{DOMAIN}/)?{PATH}(?::{TAG})?(?:@{DIGEST})?")
SERVICE: Final = re.compile(r"[a-zA-Z0-9]+(?:[a-zA-Z0-9_-]*[a-zA-Z0-9]+)?")  # swarmkit, controlapi/common.go
LONGEST_SERVICE: Final = 63

NAMELIKE: Final = "aZ09._-/:@+ \n\r\t\0\u2028\x85é\uff11\u0131\u212a[]~^*?\\"
pieces = st.sampled_from([
    "a", "shop", "acme", "r.example", "localhost", "a..b", "a-.b", "A.b", "__", "_", "-", ".", "/", ":", "@", ":5000",
    ":v1", "[::1]", "[1.2]", "..", "sha256", f"@sha256:{'a' * 64}", "a" * 130, "\n", "\u2028", "\uff11",
])  # fmt: skip
names = st.lists(pieces, max_size=6).map("".join) | st.text(NAMELIKE, max_size=12)
git_tags = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60) | st.sampled_from([
    "v1.0+a", "v1.0-a", "v1.0/a", "v1.0 a", "-", ".", "..", "+", "é", "x" * 128, "x" * 129, "x" * 128 + "+",
    "v\u2028", "\uff11",
])  # fmt: skip


def accepted(field: Any, value: str) -> str | None:
    try:
        return str(TypeAdapter(field).validate_python(value))
    except ValidationError:
        return None


@settings(max_examples=100)
@given(names)
@example("a\n")
@example("localhost/a")
@example("a-" + "-" * 100 + "a")
@example("a:a..b")
def test_what_is_taken_for_a_reference_is_one(text: str) -> None:
    if is_reference(text):
        assert REFERENCE.fullmatch(text)
        assert ".." not in text.split("/"), "a tag may hold two dots, and they lead nowhere"
        assert text.isascii()
        found = parse_reference(text)
        assert re.fullmatch(DOMAIN, found.host)
        assert re.fullmatch(PATH, found.repository)


@settings(max_examples=100)
@given(names)
@example("a..b")
@example("a.-b:5000")
@example("[::ffff:1.2.3.4]:5000")
@example("r.example:5000\n")
def test_what_is_taken_for_a_registry_makes_references(text: str) -> None:
    if is_registry(text):
        assert REFERENCE.fullmatch(f"{text}/shop:v1")
        assert is_reference(f"{text}/shop:v1")


@settings(max_examples=60)
@given(st.text(NAMELIKE, max_size=20) | st.text(max_size=60), git_tags)
def test_every_repository_and_tag_make_a_reference(repo: str, tag: str) -> None:
    made = image_reference(default_image_name(f"acme/{repo}"), tag)
    assert REFERENCE.fullmatch(made)
    assert is_reference(made)


@settings(max_examples=60)
@given(names, git_tags)
def test_every_accepted_image_name_makes_a_reference_of_no_other_registry(name: str, tag: str) -> None:
    taken = accepted(fields.ImageName, name)
    if taken is not None:
        made = image_reference(taken, tag)
        assert is_reference(made)
        assert REFERENCE.fullmatch(made)
        assert parse_reference(made).host == "docker.io"
        assert parse_reference(f"r.example:5000/{made}").repository == taken


MANGLED: Final = st.text("v1+/-~ é.", min_size=1, max_size=6)


@settings(max_examples=100)
@given(MANGLED, MANGLED)
def test_tags_that_differ_only_in_what_docker_refuses_stay_apart(one: str, other: str) -> None:
    assert (docker_tag(one) == docker_tag(other)) is (one == other)
    assert re.fullmatch(TAG, docker_tag(one))


@settings(max_examples=60)
@given(names)
def test_every_accepted_slug_names_a_service(text: str) -> None:
    slug = accepted(fields.Slug, text)
    if slug is not None:
        assert len(slug) <= LONGEST_SLUG
        assert SERVICE.fullmatch(SERVICE_PREFIX + slug)
        assert len(SERVICE_PREFIX + slug) <= LONGEST_SERVICE


@settings(max_examples=100)
@given(st.text("a./\\ \n\0:~\x85", max_size=15) | st.text(max_size=30))
def test_every_accepted_path_stays_inside_the_repository(text: str) -> None:
    path = accepted(fields.RelativePath, text)
    if path is not None:
        parts = path.split("/")
        assert all(part not in {"", ".."} for part in parts)
        assert path == "." or "." not in parts
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", path)
        path.encode()


GOOD: Final = [
    (fields.Repo, "acme/shop"),
    (fields.ImageName, "shop"),
    (fields.GitTag, "v1"),
    (fields.RelativePath, "Dockerfile"),
    (fields.Slug, "allianz"),
    (fields.Target, "prod"),
    (fields.CommitSha, "a" * 40),
    (fields.Track, "^1.2"),
    (fields.Label, "ci"),
    (fields.WebhookUrl, "https://hooks.example/x"),
]
TRICKS: Final = ["\n", "\r", "\r\n", "\0", "\x85", "\x1f", "\ud800"]


@pytest.mark.parametrize(("field", "good"), GOOD, ids=[good for _, good in GOOD])
def test_no_field_takes_a_control_character_at_its_ends_or_within(field: Any, good: str) -> None:
    assert accepted(field, good) == good
    half = len(good) // 2
    for trick in TRICKS:
        for bad in (good + trick, trick + good, good[:half] + trick + good[half:]):
            if field is fields.GitTag and trick == "\x85":
                continue  # git allows it; it becomes a hyphen and a hash
            assert accepted(field, bad) is None, repr(bad)


DIGITS_AND_LETTERS: Final = "\uff11\u0661\u017f\u212a"


@pytest.mark.parametrize(
    "field",
    [fields.Repo, fields.ImageName, fields.Slug, fields.Target, fields.CommitSha, fields.Label, fields.WebhookUrl],
)
def test_ascii_fields_take_no_character_that_only_looks_like_one(field: Any) -> None:
    good = next(good for other, good in GOOD if other is field)
    for odd in DIGITS_AND_LETTERS:
        assert accepted(field, good[:-1] + odd) is None
        assert accepted(field, good + odd) is None


@settings(max_examples=50)
@given(st.text(max_size=60))
@example('"}}\n\t\\')
@example("\u202e\x9b31m")
def test_every_tag_that_a_delivery_can_name_fits_into_labels(text: str) -> None:
    body = {"before": "0" * 40, "after": "a" * 40, "repository": {"full_name": "acme/shop"}}
    push: TagPush | None = None
    try:
        found = parse_event("push", "application/json", _json({**body, "ref": f"refs/tags/{text}"}))
        push = found if isinstance(found, TagPush) else None
    except Exception as refused:  # noqa: BLE001 - what is refused is not built
        assert type(refused).__name__ == "PayloadInvalid"
    if push is None:
        return
    lease = Lease("builds", 1, UUID(int=1), 30)
    known: dict[str, Any] = dict.fromkeys(ClaimedBuild.__slots__)
    known |= {"lease": lease, "name": "shop", "tag": push.tag, "repo": push.repo, "delivery_guid": "guid"}
    build = ClaimedBuild(**known)
    labels = image_labels(
        build, "a" * 40, datetime.now(UTC), "https://github.com", image_reference(build.name, build.tag)
    )
    request = BuildRequest(
        builder=Builder.BUILDKIT,
        dockerfile="Dockerfile",
        tags=(image_reference(build.name, build.tag),),
        build_id="b",
        labels=labels,
    )
    for _, value in build_params(request):
        value.encode()
        assert "\0" not in value
    assert labels["org.opencontainers.image.version"] == push.tag


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
