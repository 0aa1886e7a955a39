"""Git's smart HTTP protocol by git's own ``http-backend``, so that the plain git client can clone and push."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse, Response

from tests.fakes.git_repos import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from tests.fakes.git_repos import GitRepository

PASSED_ON: Final = {
    "content-type": "CONTENT_TYPE",
    "content-encoding": "HTTP_CONTENT_ENCODING",
    "git-protocol": "HTTP_GIT_PROTOCOL",
}


async def serve_git(
    request: Request,
    repository: GitRepository,
    service: str,
    pushed: Callable[[GitRepository, dict[str, str], dict[str, str]], Awaitable[None]],
) -> Response:
    """Answer one request of the git client. After a push, ``pushed`` gets the refs before and after it."""
    body = await request.body()
    if service != "git-receive-pack" or request.method != "POST":
        return await _http_backend(request, repository, service, body)
    async with repository.pushing:
        before = await repository.refs()
        answer = await _http_backend(request, repository, service, body)
        after = await repository.refs()
    await pushed(repository, before, after)
    return answer


def password_of(request: Request) -> str | None:
    """The password of HTTP basic authentication: where git sends a token."""
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    return base64.b64decode(coded).decode().partition(":")[2]


def ask_for_password() -> Response:
    return PlainTextResponse("Authentication required\n", 401, {"WWW-Authenticate": 'Basic realm="GitHub"'})


async def _http_backend(request: Request, repository: GitRepository, service: str, body: bytes) -> Response:
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        env={
            **ENVIRONMENT,
            **{name: request.headers[header] for header, name in PASSED_ON.items() if header in request.headers},
            "GIT_PROJECT_ROOT": str(repository.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{service}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.url.query,
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_USER": "octocat",
            "REMOTE_ADDR": "127.0.0.1",
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(body)
    head, separator, content = out.partition(b"\r\n\r\n")
    if not separator:
        return PlainTextResponse(err.decode(errors="replace"), 500)
    fields = [line.partition(": ")[::2] for line in head.decode().split("\r\n")]
    headers = {name: value for name, value in fields if name.lower() != "status"}
    status = next((int(value[:3]) for name, value in fields if name.lower() == "status"), 200)
    return Response(content, status, headers)
