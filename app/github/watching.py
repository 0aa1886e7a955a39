"""What we look for because nobody told us: the tags of a repository, page by page with ETags that outlive the process,
and webhook deliveries that did not reach us.

Shapes as GitHub's REST docs give them (repository tags, repository webhooks). Webhooks are shown to administrators of a
repository only; others are answered 403, or 404 as if there were nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import httpx

from app.errors import GitHubNotFound
from app.github.answers import HookDeliveryList, HookList, understood
from app.github.connection import repo_path
from app.github.payload import TAGS, is_ref
from app.github.tags import PAGE, TagList

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from app.github.answers import Hook, HookDelivery
    from app.github.connection import Connection
    from app.github.rate import Rate

NEARLY_FULL: Final = PAGE - 10  # tags of what is no commit take places on a page, and are not shown
MOST_PAGES: Final = 1000
MOST_DELIVERY_PAGES: Final = 10


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list of tags as it was last; ``full``: there may be another behind it."""

    etag: str | None
    full: bool


@dataclass(frozen=True, slots=True)
class TagListing:
    """``tags`` are those of pages that are not as they were: tag and SHA, in order. ``asked`` is how many requests it
    took, ``counted`` how many of them went against our rate limit.
    """

    pages: tuple[Page, ...]
    tags: dict[str, str]
    asked: int
    counted: int


class Watching:
    """Every call raises ``GitHubUnavailable``, ``GitHubRateLimited``, ``GitHubNotFound`` or ``GitHubRefused``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def rate(self) -> Rate | None:
        """Our rate limit, as the last answer told it."""
        return self._connection.rate

    @property
    def is_anonymous(self) -> bool:
        return self._connection.is_anonymous

    async def tags(self, repo: str, known: Sequence[Page]) -> TagListing:
        """List the tags of ``repo``, without the pages that are still as they are ``known``. A page behind a full one
        is asked for even if that has not changed: it may be new.
        """
        action = f"list the tags of {repo}"
        pages: list[Page] = []
        tags: dict[str, str] = {}
        counted, more = 0, True
        while more and len(pages) < MOST_PAGES:
            before = known[len(pages)] if len(pages) < len(known) else None
            path = f"{repo_path(repo)}/tags?per_page={PAGE}"
            path += f"&page={len(pages) + 1}" if pages else ""
            response = await self._listed(repo, path, before.etag if before else None, action)
            if before is not None and response.status_code == httpx.codes.NOT_MODIFIED:
                counted += self.is_anonymous  # a 304 is free for those with credentials only
                pages.append(before)
            else:
                counted += 1
                page = understood(response.content, TagList, action)
                full = "next" in response.links or len(page.root) >= NEARLY_FULL
                pages.append(Page(response.headers.get("etag"), full and not page.repeats(tags)))
                tags |= {tag.name: tag.commit.sha.lower() for tag in page.root if is_ref(f"{TAGS}{tag.name}")}
            more = pages[-1].full
        return TagListing(tuple(pages), tags, len(pages), counted)

    async def _listed(self, repo: str, path: str, etag: str | None, action: str) -> httpx.Response:
        try:
            return await self._connection.revalidate(repo, path, etag, action)
        except GitHubNotFound as error:
            if self._connection.is_app:
                raise
            raise self._connection.unknown(repo) from error

    async def hooks(self, repo: str) -> list[Hook]:
        """The webhooks of ``repo``."""
        path = f"{repo_path(repo)}/hooks?per_page=100"
        return (await self._connection.read(repo, path, HookList, f"list the webhooks of {repo}")).root

    async def ping(self, repo: str, hook_id: int) -> None:
        """Ask GitHub to send a ping to where a webhook leads, which it does soon; needs the right to write webhooks."""
        await self._connection.post(repo, f"{repo_path(repo)}/hooks/{hook_id}/pings", f"ping the webhook of {repo}")

    async def deliveries(self, repo: str, hook_id: int, since: datetime) -> list[HookDelivery]:
        """Every attempt of a webhook to deliver something since then, newest first; of very many the newest."""
        action = f"list what the webhook of {repo} delivered"
        base = f"{repo_path(repo)}/hooks/{hook_id}/deliveries"
        path = f"{base}?per_page=100"
        found: list[HookDelivery] = []
        for _ in range(MOST_DELIVERY_PAGES):
            response = await self._connection.revalidate(repo, path, None, action)
            page = understood(response.content, HookDeliveryList, action).root
            found += [one for one in page if one.delivered_at >= since]
            following = _next_path(response, base)
            if following is None or not page or page[-1].delivered_at < since - timedelta(minutes=1):
                break
            path = following
        return found

    async def redeliver(self, repo: str, hook_id: int, delivery_id: int) -> None:
        """Ask GitHub to send a delivery again, which it does under the same GUID, and not at once."""
        path = f"{repo_path(repo)}/hooks/{hook_id}/deliveries/{delivery_id}/attempts"
        await self._connection.post(repo, path, f"send a delivery of {repo} again")


def _next_path(response: httpx.Response, path: str) -> str | None:
    """The path of the next page: the cursor of ``Link``, at the address that we know."""
    link = response.links.get("next", {}).get("url")
    cursor = httpx.URL(link).params.get("cursor") if link else None
    return f"{path}?{httpx.QueryParams({'per_page': 100, 'cursor': cursor})}" if cursor else None
