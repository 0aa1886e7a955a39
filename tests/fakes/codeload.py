"""The host that GitHub redirects archives to: real ``git archive``, streamed, and broken off when a test says so."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.fakes.faults import Fault, Kind, path_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from tests.fakes.github_state import State


class Codeload:
    """One endpoint; the temporary token in the URL is the only permission it knows."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        return [Route("/{owner}/{name}/legacy.tar.gz/{sha}", self.archive)]

    async def archive(self, request: Request) -> Response | _Stream:
        self._state.note("codeload", request)
        owner, name, sha = (request.path_params[part] for part in ("owner", "name", "sha"))
        repository = self._state.repository(f"{owner}/{name}")
        if repository is None or request.query_params.get("token") not in self._state.archive_tokens:
            return PlainTextResponse("404: Not Found", 404)
        fault = self._state.faults.take(path_of(request), Kind.CUT, Kind.SLOW, Kind.WRONG)
        commit = fault.commit if fault and fault.kind is Kind.WRONG else sha
        prefix = f"{repository.owner}-{repository.name}-{sha[:7]}"
        return _Stream(repository.archive(commit, prefix), f"{prefix}.tar.gz", fault, self._state)


class _Stream:
    """The response: without a length, as GitHub's has none."""

    def __init__(self, chunks: AsyncGenerator[bytes, Any], name: str, fault: Fault | None, state: State) -> None:
        self._chunks, self._name, self._state = chunks, name, state
        self._fault = fault if fault and fault.kind in {Kind.CUT, Kind.SLOW} else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        disposition = f"attachment; filename={self._name}"
        headers = [(b"content-type", b"application/x-gzip"), (b"content-disposition", disposition.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._chunks):
            async for chunk in self._chunks:
                if self._fault is not None:
                    await send({"type": "http.response.body", "body": chunk[: self._fault.after], "more_body": True})
                    if self._fault.kind is Kind.SLOW:
                        await self._state.faults.stopping.wait()
                    return  # without an end: uvicorn closes the connection
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
