"""Which network addresses a notice may go to. Pure.

An address for notices is given by people, and the process that posts to it stands inside the operator's network: what
is reachable only from there is refused, unless the operator says otherwise.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # RFC 4291, 2.4: nothing else is routed on the internet
NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1: the last 32 bits are the IPv4 address
# Whatever Python's own list says, which changes from release to release: the anycast relays of 6to4, withdrawn (RFC
# 7526), addresses for protocols, such as a dummy that hosts may answer at (RFC 6890, 7600), and examples (RFC 9637).
NOT_PUBLIC: Final = (IPv4Network("192.88.99.0/24"), IPv4Network("192.0.0.0/24"), IPv6Network("3fff::/20"))


def first_refused(found: Iterable[str], allowed: Sequence[Network]) -> str | None:
    """The first of these numeric addresses that nothing may be sent to; None when all of them are fine.

    One that is refused spoils all: which of a name's addresses is taken would be chance.
    """
    return next((text for text in found if not _may_be_reached(ip_address(text), allowed)), None)


def _may_be_reached(address: Address, allowed: Sequence[Network]) -> bool:
    meant = _meant(address)
    return _is_public(meant) or any(meant in network or address in network for network in allowed)


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where a host or a gateway takes it for that; else itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    special = address.is_multicast or address.is_reserved or any(address in network for network in NOT_PUBLIC)
    return address.is_global and not special
