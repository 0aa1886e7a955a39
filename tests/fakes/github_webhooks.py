"""The webhooks of a repository, what they delivered, and the request to deliver it again; for administrators only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.github_payloads import ping_payload
from tests.fakes.github_state import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

    from tests.fakes.git_repos import GitRepository
    from tests.fakes.github_hooks import Attempt, Hooks, Sent
    from tests.fakes.github_state import State

HOOK: Final = 5150
MOST: Final = 100  # on a page


class WebhooksApi:
    """The endpoints; each answers like api.github.com, errors included."""

    def __init__(self, state: State, hooks: Hooks) -> None:
        self._state, self._hooks = state, hooks

    def routes(self, repo: str) -> list[Route]:
        deliveries = f"{repo}/hooks/{HOOK}/deliveries"
        return [
            Route(f"{repo}/hooks", self.hooks),
            Route(f"{repo}/hooks/{HOOK}/pings", self.ping, methods=["POST"]),
            Route(deliveries, self.deliveries),
            Route(f"{deliveries}/{{number:int}}/attempts", self.attempt, methods=["POST"]),
        ]

    async def hooks(self, request: Request) -> Response:
        self._administered(request)
        config = {"url": self._hooks.url, "content_type": self._hooks.form, "insecure_ssl": "0"}
        hook = {
            "type": "Repository",
            "id": HOOK,
            "name": "web",
            "active": self._hooks.active,
            "events": self._hooks.events,
            "config": config,
            "last_response": self._hooks.last_response,
        }
        return JSONResponse([hook] if self._hooks.url else [])

    async def ping(self, request: Request) -> Response:
        repository = self._administered(request)
        self._hooks.send([("ping", await ping_payload(self._state, repository, self._hooks.url or ""))])
        return Response(status_code=204)

    async def deliveries(self, request: Request) -> Response:
        """Newest first; ``cursor`` names the attempt that the page begins behind."""
        repository = self._administered(request)
        size = min(int(request.query_params.get("per_page", "30")), MOST)
        cursor = request.query_params.get("cursor")
        attempts = sorted(self._attempts(repository), key=lambda pair: pair[1].id, reverse=True)
        rest = [pair for pair in attempts if cursor is None or pair[1].id < int(cursor.removeprefix("v1_"))]
        headers = {}
        if len(rest) > size:
            base = f"{self._state.api_url}{request.scope['path']}?per_page={size}"
            headers["Link"] = f'<{base}&cursor=v1_{rest[size - 1][1].id}>; rel="next"'
        return JSONResponse([_shown(sent, attempt) for sent, attempt in rest[:size]], headers=headers)

    async def attempt(self, request: Request) -> Response:
        repository, number = self._administered(request), request.path_params["number"]
        found = next((sent for sent, attempt in self._attempts(repository) if attempt.id == number), None)
        if found is None:
            raise Refusal(404, "Not Found")
        self._hooks.resend(found)
        return JSONResponse({}, 202)

    def _attempts(self, repository: GitRepository) -> list[tuple[Sent, Attempt]]:
        name = repository.full_name
        ours = [sent for sent in self._hooks.deliveries if sent.payload["repository"]["full_name"] == name]
        return [(sent, attempt) for sent in ours for attempt in sent.attempts]

    def _administered(self, request: Request) -> GitRepository:
        repository = self._state.visible(request)
        if "authorization" not in request.headers:
            raise Refusal(404, "Not Found")
        refusal = self._state.denied.get((repository.full_name.lower(), "hooks"))
        if refusal is not None:
            raise Refusal(*refusal)
        return repository


def _shown(sent: Sent, attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.id,
        "guid": sent.guid,
        "delivered_at": attempt.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "redelivery": attempt.redelivery,
        "duration": 0.1,
        "status": "OK" if attempt.ok else attempt.body[:40],
        "status_code": attempt.status or 0,
        "event": sent.event,
        "action": None,
        "installation_id": None,
        "repository_id": sent.payload["repository"]["id"],
    }
