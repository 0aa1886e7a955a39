"""Deliveries that did not reach us: find the webhook, read what it delivered, and ask GitHub to send the rest again.

GitHub sends nothing again by itself. Each delivery is asked for three times at most, which is written down before; what
is not shown to us (only administrators of a repository see its webhooks) is left alone for a day.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from app.errors import AppError, GitHubNotFound, GitHubRateLimited, GitHubRefused
from app.postgres.pool import transaction
from app.reconcile import store
from app.reconcile.hooks import DAYS, failed, our_hook, to_send_again

if TYPE_CHECKING:
    from app.github.answers import HookDelivery
    from app.github.watching import Watching
    from app.postgres.pool import Pool
    from app.reconcile.store import ClaimedLook

log = structlog.get_logger(__name__)

EVERY_S: Final = 3600.0
REFUSED_S: Final = 24 * 3600.0
PAGES: Final = 2


class Redelivery:
    """Asks for what did not arrive. ``public_url`` is where GitHub reaches us."""

    def __init__(self, pool: Pool, watching: Watching, public_url: str) -> None:
        self._pool, self._watching, self._public_url = pool, watching, public_url

    async def ask(self, look: ClaimedLook) -> int:
        """Ask GitHub to send again what did not arrive in the last three days; roughly how many requests that took.

        Raises ``GitHubRateLimited``; any other trouble only puts off the next time.
        """
        if self._watching.is_anonymous:
            await self._put_off(look, EVERY_S, None)
            return 0
        try:
            sent = await self._ask(look)
        except GitHubRateLimited:
            raise
        except (GitHubNotFound, GitHubRefused) as error:
            await self._put_off(look, REFUSED_S, str(error))
            log.info("hooks_not_shown", repo=look.spelled, reason=str(error))
            return 1
        except AppError as error:
            await self._put_off(look, EVERY_S, None)
            log.warning("redelivery_failed", repo=look.spelled, reason=str(error))
            return 1
        await self._put_off(look, EVERY_S, None)
        return sent

    async def _ask(self, look: ClaimedLook) -> int:
        hook = our_hook(await self._watching.hooks(look.spelled), self._public_url)
        if hook is None:
            return 1
        since = look.begun_at - timedelta(days=DAYS)
        missed = failed(await self._watching.deliveries(look.spelled, hook.id, since))
        wanted = await self._not_arrived(missed)
        for one in wanted:
            await self._ask_again(look, hook.id, one)
        return PAGES + len(wanted)

    async def _not_arrived(self, missed: list[HookDelivery]) -> list[HookDelivery]:
        guids = [one.guid for one in missed]
        if not guids:
            return []
        async with transaction(self._pool) as conn:
            return to_send_again(missed, await store.arrived(conn, guids), await store.asked_again(conn, guids))

    async def _ask_again(self, look: ClaimedLook, hook_id: int, delivery: HookDelivery) -> None:
        """Written down before it is asked: a process that dies in between has asked too little, never too often."""
        async with transaction(self._pool) as conn:
            if not await store.note_redelivery(conn, delivery.guid, look.repo):
                return
        try:
            await self._watching.redeliver(look.spelled, hook_id, delivery.id)
        except (GitHubNotFound, GitHubRefused) as error:
            log.warning("redelivery_refused", repo=look.spelled, delivery=delivery.guid, reason=str(error))
            return
        log.info("redelivery_asked", repo=look.spelled, delivery=delivery.guid)

    async def _put_off(self, look: ClaimedLook, wait_s: float, error: str | None) -> None:
        async with transaction(self._pool) as conn:
            await store.put_hooks_off(conn, look.lease, wait_s, error)
