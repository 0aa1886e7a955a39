"""Our container registry, asked over the OCI distribution API: which digest a tag has, which tags there are, away with
one.

Images themselves travel between engines and the registry; this client only looks and deletes. It signs in the way the
registry asks for: with the password, or with a token from where the registry sends us. It never follows a redirect, and
the password goes to the registry and to the place for tokens that it names, and never unencrypted off this machine,
unless the engine lists the registry as insecure.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx

from app.errors import AppError, RegistryRefused, RegistryUnavailable
from app.reference import DIGEST, DOCKER_HUB, is_loopback, parse_reference, split_registry
from app.registry.challenge import Challenge, next_page, read_challenge, refusal_reason
from app.trust import trust

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from pydantic import SecretStr

CALL_S: Final = 30.0
PHASE_S: Final = 10.0
MOST_BYTES: Final = 8 * 1024 * 1024
MOST_PAGES: Final = 10_000
AT_ONCE: Final = 8
HUB_API: Final = "registry-1.docker.io"
DIGEST_HEADER: Final = "Docker-Content-Digest"
MANIFESTS: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class RegistryClient:
    """A registry as one user sees it; make it with ``open``, close it, share it between tasks.

    ``repository`` is always the name inside the registry, with the path of ``REGISTRY`` (``team/shop``); what
    ``repository_of`` takes from a full reference. Every call raises ``RegistryUnavailable`` (silence, 5xx, asked to
    wait) or ``RegistryRefused`` (credentials, rights, a request that it does not take).
    """

    def __init__(
        self,
        registry: str,
        username: str | None,
        password: SecretStr | None,
        insecure: Callable[[str], Awaitable[bool]] | None,
    ) -> None:
        self.registry = registry
        self.host, self.path = split_registry(registry)
        self._username, self._password, self._insecure = username, password, insecure
        self._base = f"http://{self.host}" if is_loopback(self.host) else ""
        self._authorization: dict[tuple[str, bool], str] = {}
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)  # it logs every URL at INFO, and a token's names the user
        self._http = httpx.AsyncClient(
            timeout=PHASE_S,
            verify=trust(),
            follow_redirects=False,
            trust_env=not is_loopback(self.host),  # no proxy to ourselves
            headers={"User-Agent": "tagship"},
        )

    @classmethod
    def open(
        cls,
        registry: str,
        username: str | None = None,
        password: SecretStr | None = None,
        *,
        insecure: Callable[[str], Awaitable[bool]] | None = None,
    ) -> Self:
        """Set up for ``host[:port][/path]``; nothing is sent yet. Without credentials only what is public is seen.

        Loopback is spoken to over plain HTTP, as Docker does; everything else over TLS, unless ``insecure`` says of
        its host that the engine speaks plainly to it.
        """
        return cls(registry, username, password, insecure)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def repository_of(self, reference: str) -> str | None:
        """The repository that a full reference (``host/path/name:tag``, ``…@sha256:…``) means; None when it lives
        elsewhere.
        """
        read = parse_reference(reference)
        return read.repository if read.host == self.host else None

    async def check(self) -> str:
        """One sentence on the registry and how we are known there."""
        await self._get("/v2/", "let us sign in", repository="")
        return (
            f"{self.registry} answers, {f'signed in as {self._username}' if self._username else 'without signing in'}"
        )

    async def digest_of(self, repository: str, reference: str) -> str | None:
        """The manifest digest (``sha256:…``) of a tag or digest; None when the registry has none such."""
        path = f"/v2/{_path(repository)}/manifests/{_path(reference)}"
        action = f"look up {repository}:{reference}"
        answer, _ = await self._send("HEAD", path, action, repository=repository)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if digest := answer.headers.get(DIGEST_HEADER):
            return str(digest)
        answer, body = await self._send("GET", path, action, repository=repository)
        return None if answer.status_code == HTTPStatus.NOT_FOUND else f"sha256:{hashlib.sha256(body).hexdigest()}"

    async def tags(self, repository: str) -> list[str]:
        """Every tag of a repository in the registry's order; empty when there is no such repository."""
        found: list[str] = []
        path: str | None = f"/v2/{_path(repository)}/tags/list"
        for _ in range(MOST_PAGES):
            if path is None:
                return found
            answer, shown = await self._get(path, f"list the tags of {repository}", repository=repository)
            names = shown.get("tags") if isinstance(shown, dict) else None
            found += [str(name) for name in names or ()]
            path = next_page(answer.headers.get("Link")) if names else None
        raise RegistryUnavailable(f"the registry {self.registry} never ends its list of the tags of {repository}")

    async def tags_by_digest(self, repository: str) -> dict[str, list[str]]:
        """Every tag of a repository under the digest that it has now: a deleted digest takes all of its tags along."""
        names = await self.tags(repository)
        room = asyncio.Semaphore(AT_ONCE)

        async def look(name: str) -> str | None:
            async with room:
                return await self.digest_of(repository, name)

        found: dict[str, list[str]] = {}
        for name, digest in zip(names, await asyncio.gather(*map(look, names)), strict=True):
            if digest is not None:
                found.setdefault(digest, []).append(name)
        return found

    async def delete(self, repository: str, digest: str) -> bool:
        """Delete a manifest with every tag on it; False when it was gone. Registries take no tag here, only a digest.

        Raises ``RegistryRefused`` (405) when the registry does not let anybody delete.
        """
        if not DIGEST.fullmatch(digest):
            raise RegistryRefused(f"{digest!r} is no digest: a registry deletes by digest only")
        path = f"/v2/{_path(repository)}/manifests/{digest}"
        answer, _ = await self._send("DELETE", path, f"delete {repository}@{digest}", repository=repository)
        return answer.status_code != HTTPStatus.NOT_FOUND

    # ------------------------------------------------------------------ one request

    async def _get(self, path: str, action: str, *, repository: str) -> tuple[httpx.Response, Any]:
        answer, body = await self._send("GET", path, action, repository=repository)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            if not repository:
                raise RegistryRefused(f"what answers at {self.host} is no container registry; check REGISTRY")
            return answer, None
        try:
            return answer, json.loads(body or b"null")
        except (ValueError, RecursionError):
            raise RegistryUnavailable(f"what answers at {self.host} does not talk like a container registry") from None

    async def _send(self, method: str, path: str, action: str, *, repository: str) -> tuple[httpx.Response, bytes]:
        """The answer to one request, a success or a 404, signed in if the registry asks for that."""
        key = (repository, method == "DELETE")
        try:
            async with asyncio.timeout(CALL_S):
                url = await self._address() + path
                answer, body = await self._exchange(method, url, self._authorization.get(key))
                if answer.status_code == HTTPStatus.UNAUTHORIZED:
                    signed_in = await self._sign_in(read_challenge(answer.headers.get("WWW-Authenticate")), action)
                    answer, body = await self._exchange(method, url, signed_in)
                    self._authorization[key] = signed_in
        except (TimeoutError, httpx.TimeoutException):
            raise RegistryUnavailable(
                f"the registry {self.host} did not answer in time when asked to {action}"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise RegistryUnavailable(self._broken(error, action)) from None
        if answer.is_success or answer.status_code == HTTPStatus.NOT_FOUND:
            return answer, body
        raise self._refusal(answer.status_code, body, action)

    async def _exchange(self, method: str, url: str, authorization: str | None) -> tuple[httpx.Response, bytes]:
        headers = {"Accept": ", ".join(MANIFESTS) if "/manifests/" in url else "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self._http.stream(method, url, headers=headers) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise RegistryUnavailable(f"the registry {self.host} sent more than {MOST_BYTES >> 20} MiB")
            return answer, bytes(body)

    async def _address(self) -> str:
        if not self._base:
            plain = self._insecure is not None and await self._insecure(self.host)
            host = HUB_API if self.host == DOCKER_HUB else self.host
            self._base = f"http://{host}" if plain else f"https://{host}"
        return self._base

    # ------------------------------------------------------------------ signing in

    async def _sign_in(self, challenge: Challenge | None, action: str) -> str:
        """What to send as ``Authorization``."""
        if challenge is None:
            raise RegistryRefused(f"the registry {self.host} asks for a way of signing in that is not known here")
        if challenge.bearer:
            return f"Bearer {await self._token(challenge, action)}"
        if self._username is None or self._password is None:
            raise self._refusal(HTTPStatus.UNAUTHORIZED, b"", action)
        pair = f"{self._username}:{self._password.get_secret_value()}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    async def _token(self, challenge: Challenge, action: str) -> str:
        """A token from where the registry sends us (distribution/spec/auth/token.md)."""
        query = {name: getattr(challenge, name) for name in ("service", "scope") if getattr(challenge, name)}
        signed_in = None
        if self._username is not None and self._password is not None:
            place = urlsplit(challenge.realm)
            if place.scheme != "https" and not self._base.startswith("http://"):
                raise RegistryRefused(
                    f"the registry {self.host} sends us to an unencrypted place for tokens; the password was not sent"
                )
            signed_in = httpx.BasicAuth(self._username, self._password.get_secret_value())
        answer = await self._http.get(challenge.realm, params=query, auth=signed_in)
        if not answer.is_success:
            raise self._refusal(answer.status_code, answer.content, action)
        try:
            shown = answer.json()
            return str(shown.get("token") or shown["access_token"])
        except (ValueError, LookupError, AttributeError):
            raise RegistryUnavailable(
                f"the registry {self.host} sends us for a token to a place that has none"
            ) from None

    # ------------------------------------------------------------------ failures

    def _refusal(self, status: int, body: bytes, action: str) -> AppError:
        words = refusal_reason(body)
        said = f": {words}" if words else ""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING:
            return RegistryUnavailable(f"the registry {self.host} failed to {action}{said} (HTTP {status})")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            advice = (
                "; it does not let anybody delete images: enable that in its configuration (storage.delete.enabled)"
            )
        elif status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            advice = ""
        elif self._username is None:
            advice = "; set REGISTRY_USERNAME and REGISTRY_PASSWORD"
        else:
            advice = "; check REGISTRY_USERNAME and REGISTRY_PASSWORD, and what this user may do"
        return RegistryRefused(
            f"the registry {self.host} refused to {action}{said} (HTTP {status}){advice}", status=status
        )

    def _broken(self, error: Exception, action: str) -> str:
        """A sentence on a broken connection; never with a URL, a token's names the user."""
        words = str(error).lower()
        if "certificate" in words or "ssl" in words:
            return (
                f"the registry {self.host} cannot be asked to {action}: its TLS is not trusted or none at all"
                f" ({type(error).__name__}); name its certificate authority in SSL_CERT_FILE"
            )
        return (
            f"the registry {self.host} cannot be reached to {action} ({type(error).__name__});"
            " is it running, is REGISTRY right?"
        )


def _path(text: str) -> str:
    return quote(text, safe="/:")
