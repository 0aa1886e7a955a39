"""How builds are called on an engine, and the mark by which the containers of classic builds are known for ours. Pure.

The classic builder puts no label on the containers in which it runs the steps. But it gives them the extra hosts of the
request, which are neither part of an image nor of what its layer cache compares (seen on Docker 20.10).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

DOMAIN: Final = ".invalid"  # RFC 2606: no name in it ever exists
ADDRESS: Final = "192.0.2.1"  # RFC 5737: for documentation, nobody's
BUILD_NAME: Final = re.compile(
    r"tagship-(?P<installation>[0-9a-f-]{36})-(?P<build>[0-9]{1,18})-(?P<attempt>[0-9]{1,9})"
)


def build_name(installation: str, build: int, attempt: int) -> str:
    """What an attempt is called on an engine, which may build for other installations too."""
    return f"tagship-{installation}-{build}-{attempt}"


def read_build_name(name: str) -> tuple[str, int, int] | None:
    """The installation, build and attempt that ``build_name`` made this of; None when it did not."""
    found = BUILD_NAME.fullmatch(name)
    return (found["installation"], int(found["build"]), int(found["attempt"])) if found else None


def mark(name: str) -> str:
    """The extra host that goes with every step of the build of that name: ``name:address``."""
    return f"{name}{DOMAIN}:{ADDRESS}"


def marked_name(extra_hosts: Iterable[str]) -> str | None:
    """The name of the build whose mark is among a container's extra hosts; None when none is."""
    ending = f"{DOMAIN}:{ADDRESS}"
    return next((host.removesuffix(ending) for host in extra_hosts if host.endswith(ending)), None)
