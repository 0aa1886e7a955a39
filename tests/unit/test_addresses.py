"""Where a notice may go: the internet, and what the operator allows; nothing of this machine or its networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.receivers.addresses import first_refused

INSIDE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.8", "192.0.0.255", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.7", "203.0.113.7", "224.0.0.1", "224.0.1.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255",
]  # fmt: skip
INSIDE_6 = [
    "::", "::1", "::2", "::7f00:1", "::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
    "3fff::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
]  # fmt: skip
OUTSIDE = ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]


def mapped(address: str) -> list[str]:
    """The IPv6 addresses that are taken for an IPv4 one."""
    bits = int(IPv4Address(address))
    numbers = (0xFFFF << 32 | bits, 0x2002 << 112 | bits << 80, 0x0064_FF9B << 96 | bits)
    return [str(IPv6Address(number)) for number in numbers]


@pytest.mark.parametrize("address", [*INSIDE, *INSIDE_6])
def test_what_is_not_the_internet_is_refused(address: str) -> None:
    assert first_refused([address], ()) == address


@pytest.mark.parametrize("address", OUTSIDE)
def test_the_internet_is_fine(address: str) -> None:
    assert first_refused([address], ()) is None


@pytest.mark.parametrize("address", INSIDE)
def test_what_an_ipv6_address_stands_for_is_refused_with_it(address: str) -> None:
    assert [first_refused([one], ()) for one in mapped(address)] == mapped(address)
    assert [first_refused([one], ()) for one in mapped("8.8.8.8")] == [None] * 3


def test_one_refused_address_spoils_all() -> None:
    assert first_refused(["8.8.8.8", "2606:4700::1111", "10.0.0.1"], ()) == "10.0.0.1"


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_allowed_network_is_reached_in_every_form_and_no_other(address: IPv4Address, length: int) -> None:
    network = ip_network((int(address) >> (32 - length) << (32 - length), length))
    for form in (str(address), *mapped(str(address))):
        assert first_refused([form], [network]) is None
    others = [one for one in INSIDE if IPv4Address(one) not in network]
    assert [first_refused([one], [network]) for one in others] == others


def test_an_allowed_network_of_ipv6_is_reached() -> None:
    allowed = [ip_network("fd00::/8"), ip_network("fe80::/10")]
    assert first_refused(["fd12::1", "fe80::1%eth0"], allowed) is None
    assert first_refused(["fc00::1"], allowed) == "fc00::1"
