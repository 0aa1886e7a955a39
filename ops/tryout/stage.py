"""Everything that stands around the story: a local GitHub and Slack, and Tagship started exactly as its users start it."""

from __future__ import annotations

import os
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from ops.tryout.processes import Program, StoryFailed, free_port, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.tryout.ledger import Ledger
    from ops.tryout.screen import Screen
    from ops.tryout.tagship import TagshipClient

CHECKOUT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 60.0
OURS: Final = ("TAGSHIP_", "GITHUB_", "SLACK_", "REGISTRY", "DATABASE_URL")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything listens; secrets that its parts share."""

    github: int
    slack: int
    tagship: int
    webhook_secret: str
    api_token: str

    @property
    def tagship_url(self) -> str:
        return f"http://127.0.0.1:{self.tagship}"


def choose_addresses(tagship_port: int) -> Addresses:
    """Free ports for the local parts, fresh secrets."""
    return Addresses(free_port(), free_port(), tagship_port, secrets.token_urlsafe(24), secrets.token_urlsafe(24))
