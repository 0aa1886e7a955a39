"""Who we are to GitHub, and how one request goes out: credentials, an App's installations, one HTTP connection pool.

githubkit does authentication, rate limits and base URLs; here its exceptions become ours. Nothing retries: the queues
do.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from githubkit import GitHub
from githubkit.auth import AppAuthStrategy, AppInstallationAuthStrategy
from githubkit.cache import MemCacheStrategy
from githubkit.exception import GraphQLFailed

from app.errors import GitHubNotFound, GitHubRefused, SettingsInvalid
from app.github.answers import Installation, understood
from app.github.failures import KNOWN, explain

if TYPE_CHECKING:
    from pydantic import SecretStr

    from app.errors import AppError
    from app.github.answers import AnswerT

CONNECT_S: Final = 10.0
CALL_S: Final = 90.0
LONGEST_MESSAGE: Final = 200
REPO: Final = re.compile(r"(?!\.{1,2}/)[A-Za-z0-9_.-]+/(?!\.{1,2}$)[A-Za-z0-9_.-]+", re.ASCII)


class _Pool(httpx.AsyncBaseTransport):
    """One connection pool under every HTTP client that githubkit makes, and it makes one per request: what it shares,
    it shares by context variable, which sibling tasks do not see. Proxies of the environment apply.
    """

    def __init__(self, timeout: httpx.Timeout) -> None:
        self.timeout = timeout
        self._client = httpx.AsyncClient(timeout=timeout)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions.setdefault("timeout", self.timeout.as_dict())  # githubkit's own request for a token has none
        return await self._client.send(request, stream=True, follow_redirects=False)

    async def aclose(self) -> None:
        """Nothing: a client that githubkit closes must not close the pool."""

    async def drain(self) -> None:
        await self._client.aclose()


class Connection:
    """Sends requests as ourselves (``read_own``) or as whoever may see a repository (the others).

    ``action`` is what a request is for, as an infinitive ("read the tags of acme/shop"); it becomes part of sentences.
    Every request raises ``GitHubUnavailable``, ``GitHubRateLimited``, ``GitHubNotFound`` or ``GitHubRefused``.
    """

    def __init__(self, api_url: str, auth: str | AppAuthStrategy | None, idle_s: float) -> None:
        self.api_url = api_url
        self._auth = auth
        self._installations: dict[str, GitHub[Any]] = {}
        self._pool = _Pool(httpx.Timeout(idle_s, connect=CONNECT_S))
        self._front = self._connect(auth)

    @classmethod
    def open(
        cls,
        *,
        api_url: str,
        token: SecretStr | None,
        app_id: str | None,
        app_private_key: SecretStr | None,
        idle_s: float,
    ) -> Self:
        """Set up; nothing is sent yet. An App goes before a token; with neither, only public repositories are seen.

        Raises ``SettingsInvalid`` when the address is none, or the App's key is not a private key in PEM form (with
        real or escaped line ends).
        """
        _keep_urls_out_of_logs()
        try:
            httpx.URL(api_url)
        except httpx.InvalidURL:
            raise SettingsInvalid(["GITHUB_API_URL: is not a valid URL"]) from None
        if app_id is not None and app_private_key is not None:
            return cls(api_url, AppAuthStrategy(app_id, _pem(app_private_key)), idle_s)
        return cls(api_url, token.get_secret_value() if token else None, idle_s)

    async def close(self) -> None:
        """Close every connection; calls still under way fail."""
        await self._pool.drain()

    @property
    def is_anonymous(self) -> bool:
        return self._auth is None

    @property
    def is_app(self) -> bool:
        return isinstance(self._auth, AppAuthStrategy)

    def unknown(self, repo: str) -> GitHubNotFound:
        """What to say when GitHub does not show us a repository."""
        if self.is_anonymous:
            hint = "a private one needs GITHUB_TOKEN or a GitHub App"
        elif self.is_app:
            hint = "check the name and where our GitHub App is installed"
        else:
            hint = "check the name and what GITHUB_TOKEN may read"
        return GitHubNotFound(f"GitHub does not know repository {repo}, or does not show it to us: {hint}")

    async def read_own(self, path: str, model: type[AnswerT], action: str) -> AnswerT:
        """GET as ourselves: for an App as the App, not as one of its installations."""
        return understood(await self._call(self._front, path, action), model, action)

    async def read(self, repo: str, path: str, model: type[AnswerT], action: str) -> AnswerT:
        """GET as whoever may see ``repo``, read as ``model``."""
        return understood(await self.send(repo, path, action), model, action)

    async def send(self, repo: str, path: str, action: str, *, stream: bool = False) -> httpx.Response:
        """GET as whoever may see ``repo``; with ``stream`` the caller reads the body, and closes it.

        An App's installation that fails is looked up anew next time.
        """
        github = await self._for(repo)
        try:
            return await self._call(github, path, action, stream=stream)
        except (GitHubNotFound, GitHubRefused):
            self._forget(repo)
            raise

    async def query(self, repo: str, query: str, variables: dict[str, Any], action: str) -> dict[str, Any]:
        """Ask GraphQL as whoever may see ``repo``; the answer's ``data``. GitHub wants credentials for it."""
        github = await self._for(repo)
        try:
            async with asyncio.timeout(CALL_S):
                return await github.graphql.arequest(query, variables)
        except GraphQLFailed as error:
            self._forget(repo)
            raise self._refusal(error, repo, action) from None
        except KNOWN as error:
            self._forget(repo)
            raise explain(error, action) from None

    def _refusal(self, error: GraphQLFailed, repo: str, action: str) -> AppError:
        errors = error.response.errors or []
        if any(one.type == "NOT_FOUND" for one in errors):
            return self.unknown(repo)
        said = errors[0].message[:LONGEST_MESSAGE] if errors else "no reason given"
        return GitHubRefused(f"GitHub refused to {action}: {said}")

    async def _call(self, github: GitHub[Any], path: str, action: str, *, stream: bool = False) -> httpx.Response:
        headers = {"Accept-Encoding": "identity"} if stream else {}
        try:
            async with asyncio.timeout(CALL_S):
                return (await github.arequest("GET", path, headers=headers, stream=stream)).raw_response
        except KNOWN as error:
            raise explain(error, action) from None

    async def _for(self, repo: str) -> GitHub[Any]:
        """The client to use for ``repo``: for an App, that of its installation there."""
        if not isinstance(self._auth, AppAuthStrategy):
            return self._front
        known = self._installations.get(repo.lower())
        if known is None:
            known = self._connect(self._auth.as_installation(await self._installation_of(repo)))
            known = self._installations.setdefault(repo.lower(), known)
        return known

    def _forget(self, repo: str) -> None:
        self._installations.pop(repo.lower(), None)

    async def _installation_of(self, repo: str) -> int:
        path, action = f"{repo_path(repo)}/installation", f"find the GitHub App's installation for {repo}"
        try:
            return (await self.read_own(path, Installation, action)).id
        except GitHubNotFound:
            raise GitHubNotFound(
                f"GitHub does not know repository {repo}, or our GitHub App is not installed on it; install it there"
            ) from None

    def _connect(self, auth: str | AppAuthStrategy | AppInstallationAuthStrategy | None) -> GitHub[Any]:
        return GitHub(
            auth,
            base_url=self.api_url,
            user_agent="tagship",
            timeout=self._pool.timeout,
            async_transport=self._pool,
            cache_strategy=MemCacheStrategy(),  # the default one is shared by all clients, whatever server they talk to
            http_cache=False,
            auto_retry=False,
        )


def repo_path(repo: str) -> str:
    """The API's path of a repository; raises ``GitHubNotFound`` for what is no repository's name."""
    if not REPO.fullmatch(repo):
        raise GitHubNotFound(f"{repo!r} is not a repository's name; write owner/name")
    return f"/repos/{repo}"


def _pem(key: SecretStr) -> str:
    text = key.get_secret_value().replace("\\n", "\n").strip() + "\n"
    try:
        load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        raise SettingsInvalid(["GITHUB_APP_PRIVATE_KEY: is not an unencrypted private key in PEM form"]) from None
    return text


def _keep_urls_out_of_logs() -> None:
    """Httpx logs every URL at INFO, and the one of an archive carries a token; httpcore logs redirects at DEBUG."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
