"""What we ask GitHub for: which commit a tag is, which tags there are, what a repository is called, the source.

The answers are read by our own lenient models, since githubkit's full schemas refuse what older servers send.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from app.errors import GitHubNotFound, GitHubRefused, GitHubUnavailable
from app.github.answers import (
    Account,
    CommitDetails,
    Object,
    Pointer,
    RateLimits,
    Repository,
    RepositoryInfo,
    TagCommit,
)
from app.github.connection import Connection, repo_path
from app.github.failures import explain
from app.github.reporting import Reporting
from app.github.tags import (
    PAGE,
    TAGS_QUERY,
    Commit,
    NestedTag,
    Tag,
    TagList,
    TagPage,
    listed,
    newest_first,
    tarball_url,
)
from app.github.watching import Watching

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from datetime import datetime

    from pydantic import SecretStr

    from app.github.tags import ListedTag

IDLE_S: Final = 60.0
LEAST_BYTES: Final = 64 * 1024  # of an archive, within the time after which silence counts as its end
DEEPEST_TAG: Final = 10
MOST_DATED: Final = 10


class GitHubClient:
    """The GitHub API for every task of the process. Make it with ``open``; ``close`` ends it. ``reporting`` is the part
    that writes, ``watching`` the one that looks for what we were not told.
    """

    def __init__(self, connection: Connection, idle_s: float = IDLE_S) -> None:
        self._connection, self._idle_s = connection, idle_s
        self.reporting = Reporting(connection)
        self.watching = Watching(connection)

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
        ``idle_s`` is how long an answer may stand still before it counts as broken off; an archive that trickles, less
        than 64 KiB in that time, counts as standing still.

        Raises ``SettingsInvalid`` when the address is none, or the App's key is not a private key in PEM form (with
        real or escaped line ends).
        """
        return cls(
            Connection.open(
                api_url=api_url, token=token, app_id=app_id, app_private_key=app_private_key, idle_s=idle_s
            ),
            idle_s,
        )

    async def close(self) -> None:
        """Close every connection; calls still under way fail."""
        await self._connection.close()

    async def resolve_commit(self, repo: str, tag: str) -> TagCommit:
        """The commit that ``tag`` of ``repo`` (``owner/name``) leads to now.

        Raises ``GitHubNotFound`` whose sentence tells an unknown repository from an unknown tag and from a tag of
        something that is no commit.
        """
        action = f"look up tag {tag} of {repo}"
        base = f"{repo_path(repo)}/git"
        try:
            pointer = await self._connection.read(repo, f"{base}/ref/tags/{quote(tag, safe='')}", Pointer, action)
        except GitHubNotFound:
            await self.repository(repo)  # says so when it is the repository that is unknown
            raise GitHubNotFound(f"{repo} has no tag {tag} on GitHub; push it first") from None
        found = await self._peeled(repo, pointer.object, action)
        if found.type != "commit":
            raise GitHubNotFound(
                f"tag {tag} of {repo} leads to a {found.type}, not to a commit; there is nothing to build"
            )
        return TagCommit(tag, found.sha.lower())

    async def _peeled(self, repo: str, found: Object, action: str) -> Object:
        """What a tag object leads to, however many others lie between; what is no tag object leads to itself."""
        for _ in range(DEEPEST_TAG):
            if found.type != "tag":
                break
            path = f"{repo_path(repo)}/git/tags/{quote(found.sha, safe='')}"
            found = (await self._connection.read(repo, path, Pointer, action)).object
        return found

    async def has_commit(self, repo: str, sha: str) -> bool:
        """Whether GitHub shows this commit in ``repo``; one that only a fork has counts, they share their objects."""
        path = f"{repo_path(repo)}/commits/{quote(sha, safe='')}?per_page=1"  # that is: of its files
        try:
            await self._connection.read(repo, path, CommitDetails, f"look up commit {sha} of {repo}")
        except GitHubNotFound:
            return False
        except GitHubRefused as error:
            if error.status != httpx.codes.UNPROCESSABLE_ENTITY:  # how GitHub says that there is no such commit
                raise
            return False
        return True

    async def list_tags(self, repo: str) -> list[Tag]:
        """Every tag of ``repo``: newest first, or without credentials by version (see ``tags``).

        Raises ``GitHubNotFound`` when there is no such repository.
        """
        action = f"list the tags of {repo}"
        if self._connection.is_anonymous:
            return await self._tags_of_everybody(repo, action)
        return await self._tags_with_dates(repo, action)

    async def tag_dates(self, repo: str, names: Sequence[str]) -> dict[str, datetime]:
        """How old these tags are at most: the date of the tag or of its commit, whichever is later. Without credentials
        or GraphQL that is known of the first ten only, each at the price of three requests; a tag without a date is
        left out.
        """
        dates = None if self._connection.is_anonymous else await self._dates_at_once(repo)
        if dates is None:
            dates = {name: await self._date_of(repo, name) for name in names[:MOST_DATED]}
        return {name: date for name in names if (date := dates.get(name)) is not None}

    async def _dates_at_once(self, repo: str) -> dict[str, datetime | None] | None:
        """The dates of all tags from GraphQL; None where a server has no GraphQL that understands us."""
        try:
            return {tag.name: tag.not_older_than for tag in await self.list_tags(repo)}
        except (GitHubNotFound, GitHubRefused, GitHubUnavailable):
            return None

    async def _date_of(self, repo: str, tag: str) -> datetime | None:
        action, base = f"look up the date of tag {tag} of {repo}", repo_path(repo)
        try:
            path = f"{base}/git/ref/tags/{quote(tag, safe='')}"
            found = (await self._connection.read(repo, path, Pointer, action)).object
            tagged = None
            if found.type == "tag":
                path = f"{base}/git/tags/{quote(found.sha, safe='')}"
                tagged = (await self._connection.read(repo, path, Pointer, action)).tagged
            path = f"{base}/commits/{quote(f'tags/{tag}', safe='')}?per_page=1"
            commit = await self._connection.read(repo, path, CommitDetails, action)
        except GitHubNotFound:
            return None
        return max((date for date in (tagged, commit.date) if date), default=None)

    async def _tags_with_dates(self, repo: str, action: str) -> list[Tag]:
        repository_url = f"{self._connection.api_url}{repo_path(repo)}"
        owner, _, name = repo.partition("/")
        tags: list[Tag] = []
        more, cursor = True, None
        while more:
            variables = {"owner": owner, "name": name, "after": cursor}
            page = _tag_page(await self._connection.query(repo, TAGS_QUERY, variables, action), action)
            for entry in page.tags(repository_url):
                tag = await self._nested(repo, entry, action) if isinstance(entry, NestedTag) else entry
                tags += [tag] if tag else []
            more, cursor = page.more and page.cursor != cursor, page.cursor
        return newest_first(tags)

    async def _nested(self, repo: str, nested: NestedTag, action: str) -> Tag | None:
        """A tag of a tag with its commit; None when that is none, or the tag has meanwhile gone."""
        try:
            found = await self._peeled(repo, Object(type="tag", sha=nested.object_sha), action)
            if found.type != "commit":
                return None
            path = f"{repo_path(repo)}/commits/{quote(found.sha, safe='')}?per_page=1"  # that is: of its files
            commit = await self._connection.read(repo, path, CommitDetails, action)
        except GitHubNotFound:
            return None
        url = tarball_url(f"{self._connection.api_url}{repo_path(repo)}", nested.name)
        return Tag(nested.name, Commit(commit.sha, commit.date, commit.login or commit.name, commit.message), url)

    async def _tags_of_everybody(self, repo: str, action: str) -> list[Tag]:
        await self.repository(repo)  # GitHub answers an unknown repository and one without tags alike in some versions
        entries: list[ListedTag] = []
        names: set[str] = set()
        number, more = 1, True
        while more:
            path = f"{repo_path(repo)}/tags?per_page={PAGE}&page={number}"
            page, more = await self._connection.read_page(repo, path, TagList, action)
            more = (more or len(page.root) == PAGE) and not page.repeats(names)
            entries += [tag for tag in page.root if tag.name not in names]
            names |= {tag.name for tag in page.root}
            number += 1
        return listed(entries)

    async def repository(self, repo: str) -> RepositoryInfo:
        """What GitHub knows as ``repo``, which may meanwhile have another name. Raises ``GitHubNotFound``."""
        path = repo_path(repo)
        try:
            found = await self._connection.read(repo, path, Repository, f"read repository {repo}")
        except GitHubNotFound as error:
            if self._connection.is_app:
                raise
            raise self._connection.unknown(repo) from error
        return RepositoryInfo(found.full_name, found.id, found.default_branch, found.private)

    @asynccontextmanager
    async def tarball(self, repo: str, commit: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The source of ``repo`` at ``commit`` as the bytes of a ``.tar.gz``, in chunks as they arrive.

        GitHub redirects to another host with a URL that grants access; httpx follows it without our credentials.
        Both entering and iterating raise ``GitHubUnavailable`` (also when the archive breaks off),
        ``GitHubRateLimited``, ``GitHubNotFound`` or ``GitHubRefused``.
        """
        action = f"send the source of {repo} at {commit}"
        path = f"{repo_path(repo)}/tarball/{quote(commit, safe='')}"
        response = await self._connection.stream(repo, path, action)
        try:
            async with aclosing(_chunks(response, action, self._idle_s)) as chunks:
                yield chunks
        finally:
            await response.aclose()

    async def check(self) -> str:
        """One sentence for ``tagship doctor``: who we are to GitHub and how many requests are left.

        Raises ``GitHubRefused`` for wrong credentials and ``GitHubUnavailable`` when nothing answers.
        """
        who = await self._who()
        if self._connection.is_app:
            return f"GitHub answers {who}"
        try:
            limits = (await self._connection.read_own("/rate_limit", RateLimits, "read our rate limit")).rate
        except GitHubNotFound:  # GitHub Enterprise Server with rate limits switched off, its default
            return f"GitHub answers {who}, without a rate limit"
        return f"GitHub answers {who}, {limits.remaining} of {limits.limit} requests left this hour"

    async def _who(self) -> str:
        if self._connection.is_anonymous:
            return "without credentials (public repositories only)"
        try:
            path = "/app" if self._connection.is_app else "/user"
            account = await self._connection.read_own(path, Account, "say who we are")
        except GitHubRefused as error:
            if error.status != httpx.codes.FORBIDDEN:
                raise
            return "to our token"  # tokens of an installation stand for no user
        return f"as GitHub App {account.slug}" if self._connection.is_app else f"as {account.login}"


async def _chunks(response: httpx.Response, action: str, idle_s: float) -> AsyncGenerator[bytes, None]:
    """The body as it came over the wire: it is a file, whatever content encoding it is labelled with.

    Only waiting for GitHub counts as its slowness, not what the reader does with a chunk before it wants the next.
    """
    clock = asyncio.get_running_loop().time
    waited, arrived, asked_at = 0.0, 0, clock()
    try:
        async for chunk in response.aiter_raw():
            waited, arrived = waited + clock() - asked_at, arrived + len(chunk)
            if waited > idle_s and arrived < LEAST_BYTES:
                raise GitHubUnavailable(f"GitHub sent {arrived} bytes in {waited:.0f} s when asked to {action}")
            if waited > idle_s:
                waited, arrived = 0.0, 0
            yield chunk
            asked_at = clock()
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise explain(error, action) from None


def _tag_page(data: Any, action: str) -> TagPage:
    try:
        return TagPage.model_validate((data["repository"] or {})["refs"])
    except (ValidationError, LookupError, TypeError):
        raise GitHubUnavailable(f"GitHub's answer was not understood when asked to {action}") from None
