"""Wrong tokens are counted per client, within a time and a memory that are bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.throttle import LONGEST_HOST, Throttle, client_of


def test_a_client_waits_after_its_last_try_until_the_window_ends() -> None:
    throttle = Throttle(3, 60)
    assert [throttle.failed("a", now) for now in (0, 10, 20)] == [False, False, True]
    assert [throttle.wait_s("a", now) for now in (20, 59, 60, 61)] == [40, 1, 0, 0]
    assert throttle.wait_s("b", 20) == 0
    assert throttle.failed("a", 60) is False
    assert throttle.wait_s("a", 60) == 0


def test_waiting_does_not_make_the_wait_longer() -> None:
    throttle = Throttle(1, 60)
    throttle.failed("a", 0)
    for now in range(50):
        throttle.failed("a", now)
    assert throttle.wait_s("a", 50) == 10


@given(st.lists(st.integers(0, 50)))
def test_no_more_clients_are_remembered_than_allowed(clients: list[int]) -> None:
    throttle = Throttle(1, 60, most_clients=5)
    for now, client in enumerate(clients):
        throttle.failed(str(client), now)
    assert len(throttle._failures) <= 5
    assert all(throttle.wait_s(str(client), len(clients)) > 0 for client in clients[-5:])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("a name", "a name", True),
        ("", "a name", False),
    ],
)
def test_clients_are_told_apart_by_address_and_in_ipv6_by_network(one: str, other: str, same: bool) -> None:
    assert (client_of(one) == client_of(other)) is same


def test_of_what_a_proxy_says_at_length_the_beginning_counts() -> None:
    assert client_of("x" * 60_000) == client_of("x" * 60_001) == "x" * LONGEST_HOST
