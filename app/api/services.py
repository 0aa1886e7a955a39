"""What HTTP handlers work with: made once at start, passed down as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from app.metrics.instruments import Metrics

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.requests import Request

    from app.engine.client import Engine
    from app.github.client import GitHubClient
    from app.postgres.listen import Wakeups
    from app.postgres.pool import Pool
    from app.receivers.client import Sender
    from app.registry.client import RegistryClient
    from app.sealing import Vault
    from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """``api_token`` is the administrator's; ``stalled`` names the background loops that do not turn;
    ``stopping`` is set when the process is told to stop, and whoever only waits should answer then; ``registry`` is
    None when images stay on the engine.
    """

    settings: Settings
    pool: Pool
    engine: Engine
    github: GitHubClient
    wakeups: Wakeups
    vault: Vault
    api_token: str
    stalled: Callable[[], list[str]]
    stopping: asyncio.Event
    sender: Sender
    registry: RegistryClient | None
    metrics: Metrics = field(default_factory=Metrics)


def services_of(request: Request) -> Services:
    """The services of the application that answers this request."""
    return cast("Services", request.app.state.services)
