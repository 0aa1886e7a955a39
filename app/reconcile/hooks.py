"""Which webhook is ours, and which of its deliveries GitHub is asked to send again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from app.github.answers import Hook, HookDelivery

PATH: Final = "/webhooks/github"
MOST_TIMES: Final = 3
EVERY_S: Final = 6 * 3600.0
DAYS: Final = 3  # GitHub keeps deliveries for so long


@dataclass(frozen=True, slots=True)
class Asked:
    """GitHub was asked ``times`` times to send a delivery again, last ``ago_s`` seconds ago."""

    times: int
    ago_s: float

    @property
    def is_enough(self) -> bool:
        return self.times >= MOST_TIMES or self.ago_s < EVERY_S


def our_hook(hooks: Sequence[Hook], public_url: str) -> Hook | None:
    """The webhook that delivers to a Tagship, before all the one that delivers to us."""
    ours = [hook for hook in hooks if urlsplit(hook.config.url).path.rstrip("/").endswith(PATH)]
    here = [hook for hook in ours if hook.config.url.startswith(f"{public_url}/")]
    return next(iter(here or ours), None)


def newest_attempts(deliveries: Sequence[HookDelivery]) -> dict[str, HookDelivery]:
    """The last attempt at each delivery, by GUID, oldest first."""
    newest: dict[str, HookDelivery] = {}
    for one in sorted(deliveries, key=_when):
        newest.pop(one.guid, None)
        newest[one.guid] = one
    return newest


def failed(deliveries: Sequence[HookDelivery]) -> list[HookDelivery]:
    """The last attempts of what has not been answered 2xx, oldest first."""
    return [one for one in newest_attempts(deliveries).values() if not 200 <= (one.status_code or 0) < 300]  # noqa: PLR2004


def to_send_again(
    missed: Sequence[HookDelivery], stored: Collection[str], asked: Mapping[str, Asked]
) -> list[HookDelivery]:
    """Of what failed, what did not arrive by another way and was not asked for often enough, oldest first."""
    return [one for one in missed if one.guid not in stored and not (one.guid in asked and asked[one.guid].is_enough)]


def _when(delivery: HookDelivery) -> tuple[datetime, int]:
    return delivery.delivered_at, delivery.id
