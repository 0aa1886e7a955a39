"""Who we are to GitHub, and how one request goes out: credentials, an App's installations, one HTTP connection pool.

githubkit does authentication, rate limits and base URLs; here its exceptions become ours. Nothing retries: the queues
do. What is read again and again is asked for with the ETag of the last answer (see ``remembered``).
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
from pydantic import ValidationError

from app.errors import (
    AppError,
    GitHubNotFound,
    GitHubRateLimited,
    GitHubRefused,
    GitHubUnavailable,
    SettingsInvalid,
)
from app.github.answers import GraphAnswer, Installation, understood
from app.github.failures import KNOWN, RATE_LIMIT_PAUSE_S, explain, pause_s, says_rate_limit, seconds_of
from app.github.rate import Rate, rate_of, sent_at
from app.github.remembered import Answered, Remembered
from app.trust import trust

if TYPE_CHECKING:
    from pydantic import SecretStr

    from app.github.answers import AnswerT, GraphError

CONNECT_S: Final = 10.0
CALL_S: Final = 90.0
LONGEST_MESSAGE: Final = 200
FAR_TIME: Final = "9999999999"  # in 2286
RATE_LIMITED: Final = {"RATE_LIMITED", "RATE_LIMIT"}
REPO: Final = re.compile(r"(?!\.{1,2}/)[A-Za-z0-9_.-]+/(?!\.{1,2}$)[A-Za-z0-9_.-]+", re.ASCII)


class _Pool(httpx.AsyncBaseTransport):
    """One connection pool under every HTTP client that githubkit makes, and it makes one per request: what it shares,
    it shares by context variable, which sibling tasks do not see. Proxies of the environment apply.
    """

    def __init__(self, timeout: httpx.Timeout) -> None:
        self.timeout = timeout
        self._client = httpx.AsyncClient(timeout=timeout, verify=trust())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions.setdefault("timeout", self.timeout.as_dict())  # githubkit's own request for a token has none
        response = await self._client.send(request, stream=True, follow_redirects=False)
        if "retry-after" in response.headers:  # githubkit wants a whole number, and a date is as good
            wait = seconds_of(response.headers["retry-after"], sent_at(response.headers))
            response.headers["retry-after"] = str(round(max(RATE_LIMIT_PAUSE_S if wait is None else wait, 0)))
        reset = response.headers.get("x-ratelimit-reset", "")
        if len(reset) > len(FAR_TIME) and reset.isdigit():  # githubkit makes a date of it, and there is none so late
            response.headers["x-ratelimit-reset"] = FAR_TIME
        return response

    async def aclose(self) -> None:
        """Nothing: a client that githubkit closes must not close the pool."""

    async def drain(self) -> None:
        await self._client.aclose()


class Connection:
    """Sends requests as ourselves (``read_own``) or as whoever may see a repository (the others).

    ``action`` is what a request is for, as an infinitive ("read the tags of acme/shop"); it becomes part of sentences.
    Every request raises ``GitHubUnavailable``, ``GitHubRateLimited``, ``GitHubNotFound`` or ``GitHubRefused``. ``rate``
    is what the last REST answer said of our rate limit; None as long as none said anything.
    """

    def __init__(self, api_url: str, auth: str | AppAuthStrategy | None, idle_s: float) -> None:
        self.api_url = api_url
        self.rate: Rate | None = None
        self._auth = auth
        self._graphql_url = f"{re.sub('/api/v3$', '/api', api_url)}/graphql"
        self._installations: dict[str, GitHub[Any]] = {}
        self._remembered = Remembered()
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
        return understood((await self._call(self._front, "GET", path, action)).content, model, action)

    async def read(self, repo: str, path: str, model: type[AnswerT], action: str) -> AnswerT:
        """GET as whoever may see ``repo``, read as ``model``."""
        return (await self.read_page(repo, path, model, action))[0]

    async def read_page(self, repo: str, path: str, model: type[AnswerT], action: str) -> tuple[AnswerT, bool]:
        """Like ``read``, and whether GitHub says that there is a next page."""
        known = self._remembered.get(path)
        headers = {"If-None-Match": known.etag} if known else {}
        response = await self._as_reader(repo, "GET", path, action, headers=headers)
        if known is not None and response.status_code == httpx.codes.NOT_MODIFIED:
            return understood(known.body, model, action), known.more
        answered = Answered(response.headers.get("etag", ""), response.content, "next" in response.links)
        read = understood(answered.body, model, action)
        if answered.etag and response.status_code == httpx.codes.OK:
            self._remembered.keep(path, answered)
        return read, answered.more

    async def write(self, repo: str, path: str, body: dict[str, Any], model: type[AnswerT], action: str) -> AnswerT:
        """POST ``body`` as whoever may see ``repo``; what was made, as ``model``. ``GitHubNotFound`` is also what those
        are told who may read and not write.
        """
        return understood((await self._as_reader(repo, "POST", path, action, json=body)).content, model, action)

    async def revalidate(self, repo: str, path: str, etag: str | None, action: str) -> httpx.Response:
        """GET as whoever may see ``repo``; a 304 without a body when what is there still has that ETag."""
        return await self._as_reader(repo, "GET", path, action, headers={"If-None-Match": etag} if etag else {})

    async def post(self, repo: str, path: str, action: str) -> None:
        """POST nothing as whoever may see ``repo``, where nothing is made that the answer would tell of."""
        await self._as_reader(repo, "POST", path, action)

    async def stream(self, repo: str, path: str, action: str) -> httpx.Response:
        """GET as whoever may see ``repo``; the caller reads the body, and closes it."""
        headers = {"Accept-Encoding": "identity"}
        return await self._as_reader(repo, "GET", path, action, headers=headers, stream=True)

    async def _as_reader(self, repo: str, method: str, path: str, action: str, **options: Any) -> httpx.Response:
        """An App's installation that fails is looked up anew next time."""
        github = await self._for(repo)
        try:
            return await self._call(github, method, path, action, **options)
        except (GitHubNotFound, GitHubRefused):
            self._forget(repo)
            raise

    async def query(self, repo: str, query: str, variables: dict[str, Any], action: str) -> dict[str, Any]:
        """Ask GraphQL as whoever may see ``repo``; the answer's ``data``. GitHub wants credentials for it."""
        github = await self._for(repo)
        asked = {"query": query, "variables": variables}
        try:
            # Not githubkit's own method: what that raises has lost the headers that say how long a rate limit lasts.
            response = await self._call(github, "POST", self._graphql_url, action, json=asked)
            answer = GraphAnswer.model_validate_json(response.content)
            if answer.errors:
                raise self._refusal(answer.errors, response, repo, action)
        except ValidationError:
            raise GitHubUnavailable(f"GitHub's answer was not understood when asked to {action}") from None
        except AppError:
            self._forget(repo)
            raise
        return answer.data or {}

    def _refusal(self, errors: list[GraphError], response: httpx.Response, repo: str, action: str) -> AppError:
        """GraphQL answers 200 whatever is wrong, rate limits of both kinds too."""
        if any(error.type in RATE_LIMITED or says_rate_limit(error.message) for error in errors):
            return GitHubRateLimited(pause_s(response.headers))
        if any(error.type == "NOT_FOUND" for error in errors):
            return self.unknown(repo)
        return GitHubRefused(f"GitHub refused to {action}: {errors[0].message[:LONGEST_MESSAGE]}")

    async def _call(
        self,
        github: GitHub[Any],
        method: str,
        path: str,
        action: str,
        *,
        headers: dict[str, str] | None = None,
        json: dict[str, Any] | None = None,
        stream: bool = False,
    ) -> httpx.Response:
        try:
            async with asyncio.timeout(CALL_S):
                response = (await github.arequest(method, path, headers=headers, json=json, stream=stream)).raw_response
                self.rate = rate_of(response.headers) or self.rate
                return response
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
