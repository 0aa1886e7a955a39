"""Failures on demand: a test says which request of a fake server goes wrong next, and how."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send


class Kind(StrEnum):
    ANSWER = "answer"  # a chosen answer instead of the real one
    HANG = "hang"  # no answer at all until the server stops
    SLOW = "slow"  # the body starts and then stands still until the server stops
    CUT = "cut"  # the connection closes in the middle of the body
    WRONG = "wrong"  # another commit than the one asked for


@dataclass(slots=True)
class Fault:
    """``times`` counts down; ``body`` is what ANSWER sends, ``after`` how many bytes SLOW and CUT let through."""

    path: str
    kind: Kind
    times: int = 1
    status: int = 502
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: int = 0
    commit: str = ""


class Faults:
    """The failures that are still to happen; a path beginning and a kind select them, oldest first."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []
        self.stopping = asyncio.Event()

    def add(self, fault: Fault) -> None:
        self.pending.append(fault)

    def take(self, path: str, *kinds: Kind) -> Fault | None:
        """Use up one matching failure, if there is one."""
        for fault in self.pending:
            if fault.kind in kinds and path.startswith(fault.path):
                fault.times -= 1
                if not fault.times:
                    self.pending.remove(fault)
                return fault
        return None


class FaultyApp:
    """ASGI middleware that performs ANSWER and HANG before the application sees the request."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app, self._faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._faults.take(scope["path"], Kind.ANSWER, Kind.HANG) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind is Kind.HANG:
            await self._faults.stopping.wait()
        else:
            await Response(fault.body, fault.status, dict(fault.headers))(scope, receive, send)


def path_of(request: Request) -> str:
    """The decoded path that faults are matched against."""
    return str(request.scope["path"])
