"""What the local GitHub knows: repositories, who may see them, what it was asked, and what is to go wrong next."""

from __future__ import annotations

import secrets
import time
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import jwt

from tests.fakes.faults import Faults
from tests.fakes.git_repos import GitRepository

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request

INSTALLATION: Final = 4242
RATE_LIMIT: Final = 5000


class Refusal(Exception):
    """An error answer in GitHub's form."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; ``host`` is ``api`` or ``codeload``, ``path`` is decoded, ``connection`` a port."""

    host: str
    method: str
    path: str
    authorization: str | None
    connection: int


@dataclass(slots=True)
class State:
    """One GitHub. ``token`` None lets everybody in everywhere; ``app`` is an App's id and its public key (PEM).

    ``denied`` is what a repository refuses (``statuses``, ``deployments``, ``hooks``) and how; ``unchanged`` are the
    paths that were answered by a 304. ``rate_limit`` is how many requests an hour are let through, None for any number;
    ``counted`` how many of them were used up by the clock that tests may set.
    """

    root: Path
    token: str | None = None
    app: tuple[str, str] | None = None
    api_url: str = ""
    codeload_url: str = ""
    repositories: dict[str, GitRepository] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    denied: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    rate_limit: int | None = None
    counted: int = 0
    clock: Callable[[], float] = time.time
    faults: Faults = field(default_factory=Faults)
    archive_tokens: set[str] = field(default_factory=set)
    installation_tokens: set[str] = field(default_factory=set)

    def forget(self, root: Path) -> None:
        """As if it had just been started on ``root``; the credentials stay."""
        self.root = root
        for known in (self.repositories, self.seen, self.statuses, self.archive_tokens, self.installation_tokens):
            known.clear()
        for kept in (self.deployments, self.denied, self.unchanged):
            kept.clear()
        self.faults.pending.clear()
        self.rate_limit, self.counted, self.clock = None, 0, time.time
        self.load()

    def load(self) -> None:
        """Know again every repository that an earlier run left under ``root``."""
        for folder in sorted(self.root.glob("*/*.git")):
            self.add(f"{folder.parent.name}/{folder.name.removesuffix('.git')}")

    def add(self, full_name: str) -> GitRepository:
        number = zlib.crc32(full_name.lower().encode()) or 1
        repository = GitRepository(self.root / f"{full_name}.git", full_name, number)
        self.repositories[full_name.lower()] = repository
        return repository

    def repository(self, full_name: str) -> GitRepository | None:
        """By name, in whatever case and with or without ``.git``, as GitHub does."""
        return self.repositories.get(full_name.lower().removesuffix(".git"))

    def note(self, host: str, request: Request) -> None:
        path = str(request.scope["path"])
        connection = request.client.port if request.client else 0
        self.seen.append(Seen(host, request.method, path, request.headers.get("authorization"), connection))

    def visible(self, request: Request) -> GitRepository:
        """The repository of the path, if the request may see it; else GitHub's 404. Wrong credentials are a 401."""
        known = self.may_see_private(request)
        found = self.repository(f"{request.path_params['owner']}/{request.path_params['name']}")
        if found is None or (found.private and not known):
            raise Refusal(404, "Not Found")
        return found

    def may_see_private(self, request: Request) -> bool:
        given = _credential(request)
        if given is None:
            return self.token is None and self.app is None
        if given in self.installation_tokens or given == self.token or (self.token is None and self.app is None):
            return True
        raise Refusal(401, "Bad credentials")

    def require_app(self, request: Request) -> str:
        """The id of the App whose JWT the request carries."""
        if self.app is None:
            raise Refusal(404, "Not Found")
        app_id, public_key = self.app
        try:
            claims = jwt.decode(
                _credential(request) or "", public_key, algorithms=["RS256"], options={"verify_iat": False}
            )
        except jwt.InvalidTokenError:
            raise Refusal(401, "A JSON web token could not be decoded") from None
        if claims["iss"] != app_id:
            raise Refusal(401, "'Issuer' claim ('iss') must be an Integer")
        return app_id

    def new_installation_token(self) -> tuple[str, str]:
        """A token of the App's installation, and when it expires (in an hour), in GitHub's form."""
        token = f"ghs_{secrets.token_hex(18)}"
        self.installation_tokens.add(token)
        return token, (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def new_archive_token(self) -> str:
        token = secrets.token_hex(12).upper()
        self.archive_tokens.add(token)
        return token


def _credential(request: Request) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value if scheme.lower() in {"bearer", "token"} else None
