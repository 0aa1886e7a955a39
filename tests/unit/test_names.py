"""Names of images and tags on the engine, whatever Git allows."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.builds.model import DOCKER_TAG, default_image_name, docker_tag, web_url


@pytest.mark.parametrize("tag", ["v1.0.0", "1", "latest", "v1.0_rc-1", "A.b"])
def test_a_tag_that_docker_allows_stays_as_it_is(tag: str) -> None:
    assert docker_tag(tag) == tag


@pytest.mark.parametrize("tag", ["v1.0+a", "rel/1", "$(id)", "é", "-v1", ".v1", "v1\n", "vé\uff11", "@", "x" * 129])
def test_other_tags_become_allowed_ones(tag: str) -> None:
    assert DOCKER_TAG.fullmatch(docker_tag(tag))


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_two_tags_never_share_a_docker_tag(one: str, other: str) -> None:
    assert DOCKER_TAG.fullmatch(docker_tag(one))
    assert (docker_tag(one) == docker_tag(other)) is (one == other)


@pytest.mark.parametrize(
    ("repo", "name"),
    [("acme/bre-payments", "bre-payments"), ("acme/BRE.Payments", "bre.payments"), ("a/_x__y-", "x-y")],
)
def test_an_image_is_named_after_its_repository(repo: str, name: str) -> None:
    assert default_image_name(repo) == name


@given(st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True))
def test_every_repository_name_makes_a_docker_name(name: str) -> None:
    made = default_image_name(f"acme/{name}")
    assert re.fullmatch(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", made)


@pytest.mark.parametrize(
    ("api", "web"),
    [
        ("https://api.github.com", "https://github.com"),
        ("https://ghe.example.org/api/v3", "https://ghe.example.org"),
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
    ],
)
def test_the_web_address_follows_from_the_api_address(api: str, web: str) -> None:
    assert web_url(api) == web
