"""Who may do what: roles, tokens and whoever presents one. Pure, apart from the randomness of a new token."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NewType

if TYPE_CHECKING:
    from datetime import datetime

TokenId = NewType("TokenId", int)

TOKEN_PREFIX: Final = "tagship_"  # noqa: S105 - scanners for leaked secrets know a token by it
TOKEN_BYTES: Final = 32
ADMINISTRATOR: Final = "admin"  # what the audit log calls whoever presents the token of the settings


class Role(StrEnum):
    """What a token is good for; each role includes the ones before it."""

    READ = "read"
    DEPLOY = "deploy"
    ADMIN = "admin"

    def allows(self, needed: Role) -> bool:
        """Whether this role is enough where ``needed`` is asked for."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Via(StrEnum):
    """By which door somebody came in."""

    API = "api"
    CLI = "cli"
    DASHBOARD = "dashboard"
    WEBHOOK = "webhook"
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever presented a valid token; ``token_id`` is None for the administrator of the settings."""

    name: str
    role: Role
    token_id: TokenId | None


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that somebody does: who, by which operation, through which door, from which address."""

    actor: str
    token_id: TokenId | None
    via: Via
    address: str | None
    action: str


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is stored: without what would let anybody use it."""

    id: TokenId
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Subject:
    """What something was done to: ``kind`` as in the API's paths, in the singular."""

    kind: str
    id: int | None
    name: str


def new_token() -> str:
    """A token that nobody can guess (256 random bits); it is shown once and stored as its hash only."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_of(token: str) -> bytes:
    """What is stored of a token. A fast hash is right for it: there is nothing to guess in 256 random bits."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
