"""Image references, read as Docker reads them: which registry, which repository in it, which tag or digest. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCKER_HUB: Final = "docker.io"
HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
HOST_PART: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
HOST: Final = re.compile(rf"(?:{HOST_PART}(?:\.{HOST_PART})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?", re.ASCII)
PATH_PART: Final = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-{1,8})[a-z0-9]+)*", re.ASCII)
TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
LONGEST_NAME: Final = 255
LARGEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Reference:
    """``host`` is the registry's ``host[:port]``, ``repository`` the name inside it; ``tag`` and ``digest`` may be
    empty.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""


def parse_reference(text: str) -> Reference:
    """Read ``[host[:port]/]path[:tag][@digest]``.

    The first part is a host only if it holds a dot or a colon, or is ``localhost`` (distribution/reference,
    normalize.go); everything else is on Docker Hub. What is no reference comes back as some reference that no registry
    has.

    >>> parse_reference("localhost:5000/acme/shop:v1")
    Reference(host='localhost:5000', repository='acme/shop', tag='v1', digest='')
    >>> parse_reference("busybox")
    Reference(host='docker.io', repository='library/busybox', tag='', digest='')
    """
    name, _, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    host = DOCKER_HUB
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, name = _hub(first), rest
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, ""
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(host, path, tag, digest)


def is_reference(text: str) -> bool:
    """Whether the engine takes this for a reference (distribution/reference, regexp.go), with SHA-256 digests only.

    >>> is_reference("localhost:5000/acme/shop:v1"), is_reference("../x"), is_reference("Shop"), is_reference("a:b:c")
    (True, False, False, False)
    """
    name, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        return False
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path = name
    elif not TAG.fullmatch(tag):
        return False
    first, slash, rest = path.partition("/")
    if len(path) > LONGEST_NAME:
        return False
    if slash and ("." in first or ":" in first or first == "localhost"):
        return bool(HOST.fullmatch(first)) and _is_path(rest)
    return _is_path(path)


def split_registry(registry: str) -> tuple[str, str]:
    """The host and the path of a ``host[:port][/path]``; the path may be empty."""
    host, _, path = registry.partition("/")
    return _hub(host), path


def is_registry(text: str) -> bool:
    """Whether this is a ``host[:port][/path]`` that Docker takes for a registry and not for a name on Docker Hub."""
    host, slash, path = text.partition("/")
    if not HOST.fullmatch(host) or not ("." in host or ":" in host or host == "localhost"):
        return False
    port = host.rpartition(":")[2] if not host.endswith("]") and ":" in host else ""
    if port and not 0 < int(port) <= LARGEST_PORT:
        return False
    return not slash or _is_path(path)


def _is_path(path: str) -> bool:
    return all(PATH_PART.fullmatch(part) for part in path.split("/"))


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` is this machine by its very name: Docker asks no TLS of 127.0.0.0/8, ::1 and localhost.

    >>> is_loopback("127.0.0.1:5000"), is_loopback("[::1]:5000"), is_loopback("registry.example")
    (True, True, False)
    """
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    return is_this_machine(name.strip("[]"))


def is_this_machine(name: str) -> bool:
    """The same for a host without port and brackets."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_listed(host: str, listed: Iterable[str]) -> bool:
    """Whether ``host[:port]`` is one of these hosts, or its address is in one of these networks."""
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return host in listed
    return any(entry == host or _holds(entry, address) for entry in listed)


def _holds(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network)
    except ValueError:
        return False


def _hub(host: str) -> str:
    return DOCKER_HUB if host in HUB_NAMES else host
