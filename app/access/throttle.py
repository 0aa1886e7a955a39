"""How often a client may present a wrong token. Pure: the time is given, and what is remembered is bounded."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

HOST_BITS: Final = 64  # of an IPv6 address: one client has all of such a network (RFC 6177)
MOST_CLIENTS: Final = 10_000
LONGEST_HOST: Final = 100  # of what is no address, as a proxy before us may say


def client_of(host: str) -> str:
    """What one client is told from another by: an IPv4 address, or the network of an IPv6 one."""
    try:
        address = ip_address(host)
    except ValueError:
        return host[:LONGEST_HOST]
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Network((int(address) >> HOST_BITS << HOST_BITS, HOST_BITS)))
    return host


class Throttle:
    """Counts failures: after ``most`` of them a client has to wait until ``window_s`` after its first.

    Of more than ``most_clients`` at once those that failed longest ago are forgotten.
    """

    def __init__(self, most: int, window_s: float, most_clients: int = MOST_CLIENTS) -> None:
        self._most, self._window_s, self._most_clients = most, window_s, most_clients
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_s(self, client: str, now: float) -> float:
        """How many seconds the client has to wait; 0 when it may try."""
        since, count = self._failures.get(client, (now, 0))
        return max(since + self._window_s - now, 0.0) if count >= self._most else 0.0

    def failed(self, client: str, now: float) -> bool:
        """Count one failure; True for the one with which the client has to wait."""
        since, count = self._failures.pop(client, (now, 0))
        if since + self._window_s <= now:
            since, count = now, 0
        self._failures[client] = (since, count + 1)
        if len(self._failures) > self._most_clients:
            self._failures.popitem(last=False)
        return count + 1 == self._most
