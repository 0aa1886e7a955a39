"""What the local GitHub lets others tell it, commit statuses and deployments, and its answers with an ETag."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.github_state import Refusal, State

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tests.fakes.git_repos import GitRepository

STATES: Final = {"error", "failure", "pending", "success"}
DEPLOYMENT_STATES: Final = {"error", "failure", "inactive", "in_progress", "queued", "pending", "success"}
MOST_STATUSES: Final = 1000
LONGEST_DESCRIPTION: Final = 140


class ReportsApi:
    """The endpoints; each answers like api.github.com, errors included."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self, repo: str) -> list[Route]:
        statuses = f"{repo}/deployments/{{number:int}}/statuses"
        return [
            Route(f"{repo}/statuses/{{sha}}", self.set_status, methods=["POST"]),
            Route(f"{repo}/deployments", self.create_deployment, methods=["POST"]),
            Route(f"{repo}/deployments", self.list_deployments),
            Route(statuses, self.set_deployment_status, methods=["POST"]),
        ]

    async def set_status(self, request: Request) -> Response:
        repository, sha = self._writable(request, "statuses"), request.path_params["sha"]
        given = await request.json()
        if await repository.peel(sha) != sha:
            raise Refusal(422, f"No commit found for SHA: {sha}")
        _check(given, STATES)
        status = {"repo": repository.full_name, "sha": sha, **given}
        alike = [one for one in self._state.statuses if _place(one) == _place(status)]
        if len(alike) >= MOST_STATUSES:
            raise Refusal(422, "Validation Failed: This SHA and context has reached the maximum number of statuses.")
        self._state.statuses.append(status)
        return JSONResponse({"id": len(self._state.statuses), **given}, 201)

    async def create_deployment(self, request: Request) -> Response:
        repository = self._writable(request, "deployments")
        given = await request.json()
        sha = await repository.peel(given["ref"])
        if sha is None:
            raise Refusal(422, f"No ref found for: {given['ref']}")
        if given.get("auto_merge", True) or given.get("required_contexts") != []:
            raise Refusal(409, "Conflict: Commit status checks failed for the ref.")
        number = len(self._state.deployments) + 1
        shown = {name: given.get(name) for name in ("ref", "environment", "description", "payload")}
        made = {"id": number, "repo": repository.full_name, "sha": sha, **shown, "statuses": []}
        self._state.deployments.append(made)
        return JSONResponse(made, 201)

    async def list_deployments(self, request: Request) -> Response:
        repository, asked = self._state.visible(request), request.query_params
        found = [
            one
            for one in reversed(self._state.deployments)
            if one["repo"] == repository.full_name
            and all(one[name] == asked[name] for name in ("sha", "environment") if name in asked)
        ]
        return JSONResponse(found[: int(asked.get("per_page", "30"))])

    async def set_deployment_status(self, request: Request) -> Response:
        repository, number = self._writable(request, "deployments"), request.path_params["number"]
        deployments = [one for one in self._state.deployments if one["repo"] == repository.full_name]
        deployment = next((one for one in deployments if one["id"] == number), None)
        if deployment is None:
            raise Refusal(404, "Not Found")
        given = await request.json()
        _check(given, DEPLOYMENT_STATES)
        if given["state"] == "success" and given.get("auto_inactive", True):
            for other in deployments:
                same = other is not deployment and other["environment"] == deployment["environment"]
                if same and other["statuses"] and other["statuses"][-1]["state"] == "success":
                    other["statuses"].append({"state": "inactive", "description": "by GitHub"})
        deployment["statuses"].append(given)
        return JSONResponse({"id": len(deployment["statuses"]), **given}, 201)

    def _writable(self, request: Request, what: str) -> GitRepository:
        repository = self._state.visible(request)
        refusal = self._state.denied.get((repository.full_name.lower(), what))
        if refusal is not None:
            raise Refusal(*refusal)
        return repository


def _check(given: dict[str, Any], states: set[str]) -> None:
    if given.get("state") not in states or len(given.get("description") or "") > LONGEST_DESCRIPTION:
        raise Refusal(422, "Validation Failed")


def _place(status: dict[str, Any]) -> tuple[str, str, str]:
    return status["repo"], status["sha"], status["context"]


class Revalidating:
    """ASGI middleware that gives every answer to a GET an ETag, another for other credentials as GitHub does, and says
    304 to whoever has it already.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or scope["method"] != "GET" or "/repos/" not in path:
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []

        async def hold(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, hold)
        start, *rest = messages
        headers = Headers(scope=scope)
        if start["status"] == 200:
            body = b"".join(message.get("body", b"") for message in rest)
            given = headers.get("authorization", "").encode()
            etag = f'W/"{hashlib.sha256(given + body).hexdigest()}"'
            if headers.get("if-none-match") == etag:
                self._state.unchanged.append(path)
                await Response(status_code=304, headers={"ETag": etag})(scope, receive, send)
                return
            start["headers"] = [*start["headers"], (b"etag", etag.encode())]
        for message in messages:
            await send(message)
