"""Tagship's HTTP API as a user calls it: a token, JSON in, JSON out."""

from __future__ import annotations

from typing import Any, Final

import httpx

from ops.tryout.processes import StoryFailed

TIMEOUT_S: Final = 90.0
FIRST_ERROR: Final = 400


class TagshipClient:
    """Calls one Tagship; every refusal becomes a ``StoryFailed`` that says what was refused and why."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self._http = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S)

    def get(self, path: str, **query: str | int) -> Any:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any] | None = None, **query: str | int) -> Any:
        return self._call("POST", path, params=query, json=body)

    def ready(self) -> bool:
        """Whether it says that its database, engine and loops are fine; False while nothing listens."""
        try:
            return self._http.get("/readyz", timeout=5).is_success
        except httpx.TransportError:
            return False

    def not_ready_because(self) -> str:
        """What ``/readyz`` says now."""
        try:
            return self._http.get("/readyz", timeout=5).text
        except httpx.TransportError as error:
            return str(error)

    def has_page(self, path: str) -> bool:
        """Whether a browser gets something at ``path``."""
        return self._http.get(path, follow_redirects=True).is_success

    def _call(self, method: str, path: str, **request: Any) -> Any:
        if request.get("json") is None:
            request.pop("json", None)
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise StoryFailed(f"{method} {path} got no answer from Tagship: {error}") from None
        if answer.status_code >= FIRST_ERROR:
            raise StoryFailed(f"{method} {path} was answered {answer.status_code}: {_detail(answer)}")
        return answer.json() if answer.content else None


def _detail(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return answer.text[:500]
    return " ".join(
        str(part) for part in (problem.get("detail") or problem.get("title"), problem.get("errors")) if part
    )
