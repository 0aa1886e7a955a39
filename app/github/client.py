"""What we ask GitHub for: which commit a tag is, what a repository is called, the source at a commit.

Owns the credentials (a token, a GitHub App, or none) and one HTTP connection pool. githubkit does
authentication, rate limits and base URLs; the answers are read by our own lenient models, since its full schemas refuse
what older servers send. Nothing here retries: the queues do.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from githubkit import GitHub
from githubkit.auth import AppAuthStrategy, AppInstallationAuthStrategy
from githubkit.cache import MemCacheStrategy
from githubkit.exception import GraphQLFailed
from pydantic import ValidationError

from app.errors import GitHubNotFound, GitHubRefused, GitHubUnavailable, SettingsInvalid
from app.github.answers import (
    Account,
    Installation,
    Pointer,
    RateLimits,
    Repository,
    RepositoryInfo,
    TagCommit,
    understood,
)
from app.github.failures import KNOWN, explain
from app.github.tags import PAGE, TAGS_QUERY, Tag, TagPage, listed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from pydantic import SecretStr

    from app.errors import AppError
    from app.github.answers import AnswerT

CONNECT_S: Final = 10.0
IDLE_S: Final = 60.0
CALL_S: Final = 90.0
DEEPEST_TAG: Final = 10
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


class GitHubClient:
    """The GitHub API for every task of the process. Make it with ``open``; ``close`` ends it."""

    def __init__(self, api_url: str, auth: str | AppAuthStrategy | None, idle_s: float) -> None:
        self._api_url = api_url
        self._auth = auth
        self._installations: dict[str, GitHub[Any]] = {}
        self._pool = _Pool(httpx.Timeout(idle_s, connect=CONNECT_S))
        self._front = self._connect(auth)

    @classmethod
    def open(
        cls,
        *,
        api_url: str = "https://api.github.com",
        token: SecretStr | None = None,
        app_id: str | None = None,
        app_private_key: SecretStr | None = None,
        idle_s: float = IDLE_S,
    ) -> Self:
        """Set up the client; nothing is sent yet. An App goes before a token; with neither, only public repositories.
        ``idle_s`` is how long an answer may stand still before it counts as broken off.

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

    async def resolve_commit(self, repo: str, tag: str) -> TagCommit:
        """The commit that ``tag`` of ``repo`` (``owner/name``) leads to now.

        Raises ``GitHubNotFound`` whose sentence tells an unknown repository from an unknown tag and from a tag of
        something that is no commit.
        """
        action = f"look up tag {tag} of {repo}"
        base = _path(repo)
        try:
            found = (await self._get(repo, f"{base}/git/ref/tags/{quote(tag, safe='')}", Pointer, action)).object
        except GitHubNotFound:
            await self.repository(repo)  # says so when it is the repository that is unknown
            raise GitHubNotFound(f"{repo} has no tag {tag} on GitHub; push it first") from None
        for _ in range(DEEPEST_TAG):
            if found.type != "tag":
                break
            found = (await self._get(repo, f"{base}/git/tags/{quote(found.sha, safe='')}", Pointer, action)).object
        if found.type != "commit":
            raise GitHubNotFound(
                f"tag {tag} of {repo} leads to a {found.type}, not to a commit; there is nothing to build"
            )
        return TagCommit(tag, found.sha.lower())

    async def list_tags(self, repo: str) -> list[Tag]:
        """Every tag of ``repo``, newest first. Raises ``GitHubNotFound`` when there is no such repository."""
        action = f"list the tags of {repo}"
        if self._auth is None:
            return await self._listed_tags(repo, action)
        github = await self._for(repo)
        owner, _, name = repo.partition("/")
        tags: list[Tag] = []
        page = TagPage.model_validate({"nodes": [], "pageInfo": {"hasNextPage": True}})
        while page.more:
            variables = {"owner": owner, "name": name, "after": page.cursor}
            try:
                async with asyncio.timeout(CALL_S):
                    data = await github.graphql.arequest(TAGS_QUERY, variables)
                page = TagPage.model_validate((data["repository"] or {})["refs"])
            except GraphQLFailed as error:
                raise self._graphql_refusal(error, repo, action) from None
            except (ValidationError, LookupError, TypeError):
                raise GitHubUnavailable(f"GitHub's answer was not understood when asked to {action}") from None
            except KNOWN as error:
                raise explain(error, action) from None
            tags += page.tags(f"{self._api_url}{_path(repo)}")
        return tags

    async def _listed_tags(self, repo: str, action: str) -> list[Tag]:
        await self.repository(repo)  # GitHub answers an unknown repository and one without tags alike in some versions
        entries: list[dict[str, Any]] = []
        while True:
            path = f"{_path(repo)}/tags?per_page={PAGE}&page={len(entries) // PAGE + 1}"
            found = (await self._send(repo, path, action, stream=False)).json()
            entries += found
            if len(found) < PAGE:
                return listed(entries)

    def _graphql_refusal(self, error: GraphQLFailed, repo: str, action: str) -> AppError:
        said = [(one.type or "", one.message) for one in error.response.errors or []]
        if any(kind == "NOT_FOUND" for kind, _ in said):
            return GitHubNotFound(f"GitHub does not know repository {repo}, or does not show it to us: {self._hint}")
        return GitHubRefused(f"GitHub refused to {action}: {said[0][1][:200] if said else 'no reason given'}")

    async def repository(self, repo: str) -> RepositoryInfo:
        """What GitHub knows as ``repo``, which may meanwhile have another name. Raises ``GitHubNotFound``."""
        path = _path(repo)
        try:
            found = await self._get(repo, path, Repository, f"read repository {repo}")
        except GitHubNotFound as error:
            if self._is_app:
                raise
            raise GitHubNotFound(
                f"GitHub does not know repository {repo}, or does not show it to us: {self._hint}"
            ) from error
        return RepositoryInfo(found.full_name, found.id, found.default_branch, found.private)

    @asynccontextmanager
    async def tarball(self, repo: str, commit: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The source of ``repo`` at ``commit`` as the bytes of a ``.tar.gz``, in chunks as they arrive.

        GitHub redirects to another host with a URL that grants access; httpx follows it without our credentials.
        Both entering and iterating raise ``GitHubUnavailable`` (also when the archive breaks off),
        ``GitHubRateLimited``, ``GitHubNotFound`` or ``GitHubRefused``.
        """
        action = f"send the source of {repo} at {commit}"
        path = f"{_path(repo)}/tarball/{quote(commit, safe='')}"
        response = await self._send(repo, path, action, stream=True)
        try:
            async with aclosing(_chunks(response, action)) as chunks:
                yield chunks
        finally:
            await response.aclose()

    async def check(self) -> str:
        """One sentence for ``tagship doctor``: who we are to GitHub and how many requests are left.

        Raises ``GitHubRefused`` for wrong credentials and ``GitHubUnavailable`` when nothing answers.
        """
        who = await self._who()
        if self._is_app:
            return f"GitHub answers {who}"
        try:
            limits = (await self._read(self._front, "/rate_limit", RateLimits, "read our rate limit")).rate
        except GitHubNotFound:  # GitHub Enterprise Server with rate limits switched off, its default
            return f"GitHub answers {who}, without a rate limit"
        return f"GitHub answers {who}, {limits.remaining} of {limits.limit} requests left this hour"

    @property
    def _is_app(self) -> bool:
        return isinstance(self._auth, AppAuthStrategy)

    @property
    def _hint(self) -> str:
        return (
            "check the name and what GITHUB_TOKEN may read"
            if self._auth
            else "a private one needs GITHUB_TOKEN or a GitHub App"
        )

    async def _who(self) -> str:
        if self._auth is None:
            return "without credentials (public repositories only)"
        try:
            account = await self._read(self._front, "/app" if self._is_app else "/user", Account, "say who we are")
        except GitHubRefused as error:
            if error.status != httpx.codes.FORBIDDEN:
                raise
            return "to our token"  # tokens of an installation stand for no user
        return f"as GitHub App {account.slug}" if self._is_app else f"as {account.login}"

    async def _get(self, repo: str, path: str, model: type[AnswerT], action: str) -> AnswerT:
        response = await self._send(repo, path, action, stream=False)
        return understood(response, model, action)

    async def _read(self, github: GitHub[Any], path: str, model: type[AnswerT], action: str) -> AnswerT:
        return understood(await self._call(github, path, action, stream=False), model, action)

    async def _send(self, repo: str, path: str, action: str, *, stream: bool) -> httpx.Response:
        """GET as whoever may see ``repo``; an App's installation that fails is looked up anew next time."""
        github = await self._for(repo)
        try:
            return await self._call(github, path, action, stream=stream)
        except (GitHubNotFound, GitHubRefused):
            self._installations.pop(repo.lower(), None)
            raise

    async def _call(self, github: GitHub[Any], path: str, action: str, *, stream: bool) -> httpx.Response:
        headers = {"Accept-Encoding": "identity"} if stream else {}
        try:
            async with asyncio.timeout(CALL_S):
                return (await github.arequest("GET", path, headers=headers, stream=stream)).raw_response
        except KNOWN as error:
            raise explain(error, action) from None

    async def _for(self, repo: str) -> GitHub[Any]:
        """The connection to use for ``repo``: for an App, that of its installation there."""
        if not isinstance(self._auth, AppAuthStrategy):
            return self._front
        known = self._installations.get(repo.lower())
        if known is None:
            known = self._connect(self._auth.as_installation(await self._installation_of(repo)))
            known = self._installations.setdefault(repo.lower(), known)
        return known

    async def _installation_of(self, repo: str) -> int:
        try:
            found = await self._read(
                self._front,
                f"{_path(repo)}/installation",
                Installation,
                f"find the GitHub App's installation for {repo}",
            )
        except GitHubNotFound:
            raise GitHubNotFound(
                f"GitHub does not know repository {repo}, or our GitHub App is not installed on it; install it there"
            ) from None
        return found.id

    def _connect(self, auth: str | AppAuthStrategy | AppInstallationAuthStrategy | None) -> GitHub[Any]:
        return GitHub(
            auth,
            base_url=self._api_url,
            user_agent="tagship",
            timeout=self._pool.timeout,
            async_transport=self._pool,
            cache_strategy=MemCacheStrategy(),  # the default one is shared by all clients, whatever server they talk to
            http_cache=False,
            auto_retry=False,
        )


async def _chunks(response: httpx.Response, action: str) -> AsyncGenerator[bytes, None]:
    """The body as it came over the wire: it is a file, whatever content encoding it is labelled with."""
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise explain(error, action) from None


def _path(repo: str) -> str:
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
