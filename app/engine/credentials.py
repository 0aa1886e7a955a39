"""Our registry as the engine and the swarm need it: where images go, and the header that lets them in. Pure.

The header is the whole credential; it is made for one request and kept nowhere.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.reference import DOCKER_HUB, parse_reference, split_registry

if TYPE_CHECKING:
    from pydantic import SecretStr

    from app.settings import Settings

HEADER: Final = "X-Registry-Auth"
HUB_ADDRESS: Final = "https://index.docker.io/v1/"  # Docker Hub's name in every Docker client


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """``registry`` is ``host[:port][/path]``; with ``username`` goes ``password``."""

    registry: str
    username: str | None = None
    password: SecretStr | None = None

    @property
    def host(self) -> str:
        return split_registry(self.registry)[0]

    def reference(self, name: str) -> str:
        """The full reference of an image of ours, from its ``name`` or ``name:tag``."""
        return f"{self.registry}/{name}"


def registry_access(settings: Settings) -> RegistryAccess | None:
    """The registry of the settings; None when images stay on the engine."""
    if settings.registry is None:
        return None
    return RegistryAccess(settings.registry, settings.registry_username, settings.registry_password)


def auth_header(access: RegistryAccess | None, reference: str) -> dict[str, str]:
    """The header for a push, a pull or a look at ``reference``: our credentials for our registry, nobody's for others.

    Base64url of JSON with its padding (Docker Engine API, "Authentication"). It is sent even when it says nothing: a
    push without it is refused.
    """
    return service_auth(access, reference) or {HEADER: _encoded({})}


def service_auth(access: RegistryAccess | None, reference: str) -> dict[str, str]:
    """The header for a service that runs ``reference``; empty when the nodes need no credentials for it.

    Every update has to bring it again: the swarm keeps what it was given first, and passwords change.
    """
    if access is None or access.username is None or access.password is None:
        return {}
    if parse_reference(reference).host != access.host:
        return {}
    address = HUB_ADDRESS if access.host == DOCKER_HUB else access.host
    known = {"username": access.username, "password": access.password.get_secret_value(), "serveraddress": address}
    return {HEADER: _encoded(known)}


def _encoded(value: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
