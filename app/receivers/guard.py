"""A transport for addresses that people give: it asks the name servers once, judges every answer, and connects to one
of those it has judged. A name that means something else a moment later changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import httpx

from app.errors import AppError
from app.receivers.addresses import first_refused

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from app.receivers.addresses import Network

Resolve: TypeAlias = Callable[[str], Awaitable[list[str]]]


class AddressRefused(AppError):
    """Nothing is sent to where this address leads; the sentence names neither the address nor what it leads to."""

    def __init__(self) -> None:
        super().__init__(
            "the address leads into a private network or to this machine, not to the internet; give another one, or"
            " allow its network on the server with TAGSHIP_NOTIFY_PRIVATE_NETWORKS"
        )


async def addresses_of(host: str) -> list[str]:
    """The numeric addresses of a host in the order in which they should be tried; also of one that is numeric, in
    whichever of its many spellings. Raises ``OSError`` when there are none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Guard:
    """Judges hosts: ``allowed`` are the networks that may be reached although they are not the internet."""

    def __init__(self, allowed: Sequence[Network] = (), resolve: Resolve = addresses_of) -> None:
        self._allowed, self._resolve = tuple(allowed), resolve

    async def judged(self, host: str) -> list[str]:
        """The addresses of a host, all of which may be reached.

        Raises ``AddressRefused`` when one may not, and ``OSError`` when the host has none.
        """
        try:
            found = await self._resolve(host)
        except UnicodeError:  # a label that is empty or longer than 63 characters
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        if first_refused(found, self._allowed) is not None:
            raise AddressRefused
        return found


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to judged addresses only, by the name that the URL has: ``Host`` and the certificate's name are
    that name. A connection serves one request, so that no other name's is taken over.

    Raises ``AddressRefused``, and httpx's ``ConnectError`` when no address of the host takes a connection.
    """

    def __init__(self, guard: Guard, trust: ssl.SSLContext) -> None:
        self._guard = guard
        self._inner = httpx.AsyncHTTPTransport(
            verify=trust, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii")
        if request.url.scheme not in {"http", "https"} or not host:
            raise httpx.UnsupportedProtocol("not an address of a web server", request=request)
        try:
            addresses = await self._guard.judged(host)
        except OSError as error:
            raise httpx.ConnectError(str(error.strerror), request=request) from None
        failure: httpx.ConnectError | None = None
        for address in addresses:
            try:
                return await self._inner.handle_async_request(_to(address, request, host))
            except httpx.ConnectError as error:
                failure = error
        raise failure or httpx.ConnectError("the host has no address", request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _to(address: str, request: httpx.Request, host: str) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": host},
    )
