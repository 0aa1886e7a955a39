"""What single fields of requests may hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.api.fields import RANGE, Env, GitTag, ImageName, RelativePath, Repo, Slug, Track
from app.products.pins import is_range

ACCEPTED = [
    (Repo, "acme/bre-payments"),
    (Repo, "ada_corp/x.y_z"),
    (GitTag, "rel/1"),
    (GitTag, "$(id)"),
    (GitTag, "v1.0+a"),
    (ImageName, "team/bre-payments"),
    (RelativePath, "docker/Dockerfile.prod"),
    (Slug, "a-1"),
]
REFUSED = [
    (Repo, "acme"),
    (Repo, "acme/.."),
    (Repo, "-acme/x"),
    (Repo, "acme/x/y"),
    (Repo, "acme/x.git"),
    (GitTag, "a..b"),
    (GitTag, "a b"),
    (GitTag, "x.lock"),
    (GitTag, "a\n"),
    (ImageName, "Upper"),
    (ImageName, "registry.io/x"),
    (ImageName, "a//b"),
    (RelativePath, "../x"),
    (RelativePath, "/etc/passwd"),
    (RelativePath, "a\x00b"),
    (Slug, "a--b"),
    (Slug, "A"),
    (Slug, "x" * 41),
    (Slug, "a\n"),
]


@pytest.mark.parametrize(("field", "value"), ACCEPTED)
def test_what_exists_out_there_is_accepted(field: type, value: str) -> None:
    assert TypeAdapter(field).validate_python(value) == value


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_what_would_do_harm_is_refused(field: type, value: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(field).validate_python(value)


@settings(max_examples=50)
@given(st.from_regex(re.compile(RANGE), fullmatch=True).filter(lambda rule: len(rule) <= 200))
def test_every_range_that_the_document_allows_is_one(rule: str) -> None:
    assert is_range(rule)
    assert TypeAdapter(Track).validate_python(rule) == rule


def test_a_variable_that_linux_would_not_take_is_refused() -> None:
    longest = "x" * (128 * 1024 - len("BIG=") - 1)
    assert TypeAdapter(Env).validate_python({"BIG": longest}) == {"BIG": longest}
    for value in (longest + "x", "é" * 70_000):
        with pytest.raises(ValidationError, match="value of BIG"):
            TypeAdapter(Env).validate_python({"BIG": value})
