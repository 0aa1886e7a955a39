"""What single fields of requests may hold."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from app.api.fields import GitTag, ImageName, RelativePath, Repo, Slug

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
