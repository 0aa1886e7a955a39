"""The HTTP client: where the server is, who asks, and every failure as one of ``app.cli.ending``.

Imported only by commands that run, since httpx takes a fifth of a second that `--help` should not.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

import httpx

from app.cli.ending import Refused, Unreachable, WrongUse
from app.cli.stream import Event, events
from app.reference import is_this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Part = TypeVar("Part")

DEFAULT_URL: Final = "http://127.0.0.1:8004"
CONNECT_S: Final = 10.0
READ_S: Final = 60.0  # streams are pinged every 15 s
MOST_OF_A_PAGE: Final = 500
MOST_PAGES: Final = 10_000
SERVER_ERRORS: Final = 500
TEXT: Final = {"Accept": "text/plain"}


class Api:
    """Calls of one server with one token. Every call raises ``Refused`` for a 4xx and ``Unreachable`` when there is no
    answer, or none that Tagship gives.
    """

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client, self._url = client, url

    def get(self, path: str, **query: object) -> httpx.Response:
        """The answer to GET ``/api/v1<path>``."""
        return self.send("GET", path, query=query)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        """A successful answer; ``body`` goes as JSON, query values of None are left out."""
        with self._failures(method):
            answer = self._client.request(method, f"/api/v1{path}", json=body, params=_params(query))
        self._judge(answer)
        return answer

    def items(self, path: str, *, limit: int | None = None, **query: object) -> tuple[list[Any], bytes]:
        """Every item of a list, or the first ``limit``, page after page, and the JSON of the whole: the server's own
        bytes when it was one page.
        """
        found: list[Any] = []
        params: dict[str, object] = query | ({} if limit is None else {"limit": min(limit, MOST_OF_A_PAGE)})
        for _ in range(MOST_PAGES):
            answer = self.get(path, **params)
            page = self.value(answer, list)
            following = answer.links.get("next", {}).get("url")
            if not found and (following is None or (limit is not None and len(page) >= limit)):
                return page, answer.content
            found += page
            if following is None or (limit is not None and len(found) >= limit):
                break
            # Only its query: behind a proxy the server may not know the name by which we reach it.
            params = dict(httpx.QueryParams(urlsplit(following).query))
        found = found[:limit]
        return found, json.dumps(found).encode()

    def value(self, answer: httpx.Response, kind: type | tuple[type, ...] = dict) -> Any:
        """The JSON of an answer, which must be an object (``dict``) or an array (``list``)."""
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, kind):
            raise Unreachable(f"{self._url} answers, but not as Tagship does: is TAGSHIP_URL right?")
        return found

    @contextmanager
    def text(self, path: str, **query: object) -> Iterator[Iterator[str]]:
        """The plain text of an answer, in parts."""
        with self._streamed(path, TEXT, query) as answer:
            yield self._guarded(answer.iter_text())

    def events(self, path: str, last_event_id: str = "", **query: object) -> Iterator[Event]:
        """The events of a stream from behind ``last_event_id`` on, until the server ends it."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        with self._streamed(path, headers, query) as answer:
            yield from self._guarded(events(answer.iter_bytes()))

    @contextmanager
    def _streamed(self, path: str, headers: dict[str, str], query: Mapping[str, object]) -> Iterator[httpx.Response]:
        with self._failures("GET"):
            request = self._client.build_request("GET", f"/api/v1{path}", headers=headers, params=_params(query))
            answer = self._client.send(request, stream=True)
        try:
            if not answer.is_success:
                with self._failures("GET"):
                    answer.read()
                self._judge(answer)
            yield answer
        finally:
            answer.close()

    def _guarded(self, parts: Iterator[Part]) -> Iterator[Part]:
        with self._failures("GET"):
            yield from parts

    @contextmanager
    def _failures(self, method: str) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.StreamError) as error:
            reason = str(error) or type(error).__name__
            unknown = method != "GET" and not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
            doubt = "; whether it has done what was asked for is not known" if unknown else ""
            raise Unreachable(
                f"no answer from {self._url} ({reason}){doubt}; check that `tagship serve` runs there, and TAGSHIP_URL"
            ) from None

    def _judge(self, answer: httpx.Response) -> None:
        """Raise what an answer that is no success means."""
        if answer.is_success:
            return
        if not answer.is_client_error:
            what = _problem(answer).get("detail") or answer.reason_phrase
            raise Unreachable(f"{self._url} cannot answer ({answer.status_code}): {what}")
        advice = "; TAGSHIP_TOKEN holds the token" if answer.status_code == httpx.codes.UNAUTHORIZED else ""
        raise Refused(answer.status_code, _problem(answer), advice)


@contextmanager
def connect(
    environment: Mapping[str, str], admin_token_file: Callable[[], Path], *, patience_s: float = READ_S
) -> Iterator[Api]:
    """A client of the server that ``TAGSHIP_URL`` names, for the bearer of ``TAGSHIP_TOKEN``.

    Raises ``WrongUse`` for an address or a token that cannot be one. Nothing is asked of the server yet.
    """
    parts = server_address(environment.get("TAGSHIP_URL") or DEFAULT_URL)
    url, local = parts.geturl().rstrip("/"), is_this_machine(parts.hostname or "")
    token = find_token(environment, admin_token_file, local=local)
    headers = {"Authorization": f"Bearer {token}", "User-Agent": user_agent(), "Accept": "application/json"}
    timeout = httpx.Timeout(patience_s, connect=min(CONNECT_S, patience_s))
    # A proxy of the environment is for the world outside: it has another loopback than ours.
    with httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=not local) as client:
        yield Api(client, url)


def server_address(value: str) -> SplitResult:
    """The parts of ``TAGSHIP_URL``; ``WrongUse`` when it is no address of a server."""
    wrong = WrongUse("TAGSHIP_URL: must be an http:// or https:// address without user, query and fragment")
    try:
        parts = urlsplit(value.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        httpx.URL(value.strip())
    except (ValueError, httpx.InvalidURL):
        raise wrong from None
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise wrong
    return parts


def find_token(environment: Mapping[str, str], admin_token_file: Callable[[], Path], *, local: bool) -> str:
    """``TAGSHIP_TOKEN``, or on the server's own machine the administrator's token out of its file.

    That file is for the server beside it: it is never sent to another machine.
    """
    token = environment.get("TAGSHIP_TOKEN", "").strip()
    if not token and local:
        path = admin_token_file()
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise WrongUse(f"TAGSHIP_TOKEN is not set, and {path} cannot be read") from None
    if not token:
        raise WrongUse("TAGSHIP_TOKEN is not set: an administrator makes one with `tagship token create`")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise WrongUse("TAGSHIP_TOKEN: is not a token: it holds characters that no token has")
    return token


def user_agent() -> str:
    """How the server's audit trail tells this program from others."""
    try:
        return f"tagship-cli/{version('tagship')}"
    except PackageNotFoundError:
        return "tagship-cli/0"


def _params(query: Mapping[str, object] | None) -> dict[str, str] | None:
    return {name: str(value) for name, value in (query or {}).items() if value is not None} or None


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
