"""Image references, as Docker reads them."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import app.reference
from app.reference import Reference, is_listed, is_loopback, is_registry, parse_reference, split_registry

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("busybox", Reference("docker.io", "library/busybox")),
        ("busybox:1.36", Reference("docker.io", "library/busybox", "1.36")),
        ("acme/shop:v1", Reference("docker.io", "acme/shop", "v1")),
        ("index.docker.io/acme/shop", Reference("docker.io", "acme/shop")),
        ("r.example/shop", Reference("r.example", "shop")),
        ("r.example:5000/team/shop:v1", Reference("r.example:5000", "team/shop", "v1")),
        ("localhost/shop", Reference("localhost", "shop")),
        (f"r.example:5000/shop@{DIGEST}", Reference("r.example:5000", "shop", "", DIGEST)),
        (f"r.example/shop:v1@{DIGEST}", Reference("r.example", "shop", "v1", DIGEST)),
        ("[::1]:5000/shop:v1", Reference("[::1]:5000", "shop", "v1")),
        (DIGEST, Reference("docker.io", "library/sha256", "a" * 64)),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, read: Reference) -> None:
    assert parse_reference(text) == read


@given(st.text(max_size=60))
def test_any_text_is_read_as_something(text: str) -> None:
    parse_reference(text)
    is_registry(text)
    is_loopback(text)


@pytest.mark.parametrize(
    ("registry", "parts"),
    [
        ("r.example:5000/team/x", ("r.example:5000", "team/x")),
        ("r.example", ("r.example", "")),
        ("registry-1.docker.io/acme", ("docker.io", "acme")),
    ],
)
def test_a_registry_has_a_host_and_a_path(registry: str, parts: tuple[str, str]) -> None:
    assert split_registry(registry) == parts


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1", "127.8.9.1:5000", "[::1]:5000", "[::1]"])
def test_this_machine_needs_no_tls(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["r.example", "10.0.0.1:5000", "127.example", "localhost.example:1", "[fe80::1]:5000", ""]
)
def test_other_machines_need_tls(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("10.77.0.254:5000", True),
        ("10.77.1.1:5000", False),
        ("r.example:5000", True),
        ("r.example:5001", False),
        ("r.example", False),
        ("10.9.9.9:80", True),
    ],
)
def test_the_engine_lists_hosts_and_networks(host: str, listed: bool) -> None:
    assert is_listed(host, ["10.77.0.0/24", "r.example:5000", "10.9.9.9:80", "127.0.0.0/8"]) is listed


def test_examples_hold() -> None:
    assert doctest.testmod(app.reference).failed == 0
