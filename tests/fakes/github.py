"""A GitHub on loopback: real repositories, real pushes over HTTP, real signed webhooks, the REST API, and another host
for archives. Tests use ``LocalGitHub``; ``python -m tests.fakes.github`` runs the same server for trying Tagship out.
"""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from tests.fakes.codeload import Codeload
from tests.fakes.faults import Fault, FaultyApp, Kind
from tests.fakes.git_http import ask_for_password, password_of, serve_git
from tests.fakes.git_repos import GitRepository, git
from tests.fakes.github_hooks import Attempt, Hooks, Sent
from tests.fakes.github_limits import Limiting
from tests.fakes.github_payloads import events_of_push, ping_payload
from tests.fakes.github_reports import Revalidating
from tests.fakes.github_rest import RestApi
from tests.fakes.github_state import Refusal, Seen, State
from tests.fakes.serving import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

FIRST_COMMIT: Final = 1_767_225_600  # 2026-01-01; every commit is a minute younger than the one before


class LocalGitHub:
    """The server and its owner's hands: repositories are changed through a real clone that pushes over HTTP."""

    def __init__(self, state: State, hooks: Hooks) -> None:
        self.state, self.hooks = state, hooks
        self._minutes = count()

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        root: Path,
        *,
        webhook_secret: str,
        webhook_url: str | None = None,
        token: str | None = None,
        app: tuple[str, str] | None = None,
        port: int = 0,
        hooks: Hooks | None = None,
    ) -> AsyncIterator[Self]:
        """Run it for the length of the block, on the repositories below ``root``.

        ``webhook_url`` may be set later (``github.hooks.url``); ``app`` is an App's id and public key (PEM).
        """
        state = State(root / "repositories", token=token, app=app)
        state.load()
        github = cls(state, hooks or Hooks(webhook_url, webhook_secret))
        async with serve(Starlette(routes=Codeload(state).routes())) as codeload, serve(github._app(), port) as api:
            state.codeload_url, state.api_url = codeload, api
            try:
                yield github
            finally:
                state.faults.stopping.set()
                await github.hooks.settled()

    def reset(self, root: Path) -> None:
        """Forget every request, delivery and failure, and go on with the repositories below ``root``."""
        self.state.forget(root / "repositories")
        self.hooks.deliveries.clear()

    @property
    def url(self) -> str:
        """The address for ``GITHUB_API_URL``; the same server under ``/api/v3`` looks like an Enterprise one."""
        return self.state.api_url

    def remote_url(self, repo: str) -> str:
        """Where the git client clones from and pushes to."""
        return f"{self.url}/{repo}.git"

    @property
    def deliveries(self) -> list[Sent]:
        return self.hooks.deliveries

    def statuses_of(self, sha: str, context: str) -> list[str]:
        """The states that a commit was given in one context, in order."""
        return [one["state"] for one in self.state.statuses if (one["sha"], one["context"]) == (sha, context)]

    def deployments_to(self, environment: str) -> list[dict[str, Any]]:
        """The deployments to an environment, oldest first; ``statuses`` of each are in order."""
        return [one for one in self.state.deployments if one["environment"] == environment]

    def asked(self, host: str = "api") -> list[Seen]:
        """The requests that arrived at ``api`` or ``codeload``, in order."""
        return [seen for seen in self.state.seen if seen.host == host]

    async def redeliver(self, guid: str) -> Attempt:
        return await self.hooks.redeliver(guid)

    async def ping(self, repo: str) -> None:
        """Send what GitHub sends when a webhook is set up."""
        payload = await ping_payload(self.state, self._repository(repo), self.hooks.url or "")
        self.hooks.send([("ping", payload)])

    # ------------------------------------------------------------ repositories

    async def create_repository(
        self, repo: str, files: Mapping[str, str] | None = None, *, private: bool = False
    ) -> str:
        """Make a repository whose ``main`` holds ``files``, before any webhook is set up; the first commit's SHA."""
        repository = self.state.add(repo)
        repository.private = private
        await repository.create()
        clone = self.clone_of(repo)
        clone.mkdir(parents=True)
        await git(clone, "init", "--quiet", "--initial-branch=main", ".")
        sha = await self._commit_files(clone, files or {"README.md": f"# {repo}\n"}, "first commit")
        await git(clone, "push", "--quiet", str(repository.folder), "main")
        return sha

    async def commit(
        self, repo: str, files: Mapping[str, str], message: str = "a change", *, at: datetime | None = None
    ) -> str:
        """Commit files on ``main`` and push the branch; the commit's SHA. Without ``at`` it is dated in early 2026."""
        sha = await self._commit_files(self.clone_of(repo), files, message, at)
        await self.push(repo, "main")
        return sha

    async def tag(
        self, repo: str, name: str, *, at: str = "main", annotated: bool = False, force: bool = False, push: bool = True
    ) -> str:
        """Tag ``at`` and push the tag (``force`` moves one that exists); the SHA of the commit that ``at`` leads to, or
        of the object itself when that is no commit.
        """
        options = ["--force"] if force else []
        options += ["--annotate", f"--message=release {name}"] if annotated else []
        await git(self.clone_of(repo), "tag", *options, "--", name, at)
        if push:
            await self.push(repo, f"{'+' if force else ''}refs/tags/{name}")
        return await git(self.clone_of(repo), "rev-parse", f"refs/tags/{name}^{{}}")

    async def tag_many(self, repo: str, *names: str, annotated: bool = False) -> None:
        """Tag ``main`` so often and push all of it at once, of which GitHub tells nobody when it is more than three."""
        for name in names:
            await self.tag(repo, name, annotated=annotated, push=False)
        await self.push(repo, *(f"refs/tags/{name}" for name in names))

    async def delete_tag(self, repo: str, name: str) -> None:
        await git(self.clone_of(repo), "tag", "--delete", "--", name)
        await self.push(repo, f":refs/tags/{name}")

    async def push(self, repo: str, *refspecs: str) -> None:
        """``git push`` over HTTP; returns when the webhooks it caused have been answered."""
        basic = base64.b64encode(f"x-access-token:{self.state.token}".encode()).decode()
        options = ["-c", f"http.extraHeader=Authorization: Basic {basic}"] if self.state.token else []
        await git(self.clone_of(repo), *options, "push", "--quiet", self.remote_url(repo), *refspecs)
        await self.hooks.settled()

    # ------------------------------------------------------------ failures on demand

    def fail_next(
        self,
        path: str,
        status: int = 502,
        *,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        """Answer the next requests whose path begins so with this instead."""
        self.state.faults.add(Fault(path, Kind.ANSWER, times, status, headers or {}, body))

    def rate_limit_next(self, path: str = "/", *, retry_after_s: int = 60, times: int = 1) -> None:
        headers = {"Retry-After": str(retry_after_s), "X-RateLimit-Remaining": "0"}
        self.fail_next(path, 403, times=times, headers=headers, body=b'{"message": "API rate limit exceeded"}')

    def deny(
        self,
        repo: str,
        what: str,
        status: int = 403,
        message: str = "Resource not accessible by personal access token",
    ) -> None:
        """From now on nobody may write ``statuses`` or ``deployments`` of a repository, or see its ``hooks``."""
        self.state.denied[repo.lower(), what] = (status, message)

    def allow(self, repo: str, what: str) -> None:
        self.state.denied.pop((repo.lower(), what), None)

    def hang_next(self, path: str, *, times: int = 1) -> None:
        """Leave the next requests without an answer until the server stops."""
        self.state.faults.add(Fault(path, Kind.HANG, times))

    def cut_next_archive(self, *, after: int = 20) -> None:
        """Close the connection of the next archive after so many bytes."""
        self.state.faults.add(Fault("/", Kind.CUT, after=after))

    def stall_next_archive(self, *, after: int = 20) -> None:
        """Let the next archive stand still after so many bytes until the server stops."""
        self.state.faults.add(Fault("/", Kind.SLOW, after=after))

    def swap_next_archive(self, commit: str) -> None:
        """Put another commit into the next archive than was asked for, under the right folder name."""
        self.state.faults.add(Fault("/", Kind.WRONG, commit=commit))

    # ------------------------------------------------------------ inside

    def _app(self) -> ASGIApp:
        rest = RestApi(self.state, self.hooks).routes()
        git_route = "/{owner}/{name}/{service:path}"
        app = Starlette(
            routes=[
                *rest,
                Mount("/api/v3", routes=rest),
                Mount("/api", routes=[route for route in rest if route.path == "/graphql"]),
                Route(git_route, self._git, methods=["GET", "POST"]),
            ],
            exception_handlers={Refusal: _refuse},
        )
        return _Noting(FaultyApp(Limiting(Revalidating(app, self.state), self.state), self.state.faults), self.state)

    async def _git(self, request: Request) -> Response:
        repository = self.state.repository("{owner}/{name}".format(**request.path_params))
        service = request.path_params["service"]
        if repository is None or service not in {"info/refs", "git-upload-pack", "git-receive-pack"}:
            return PlainTextResponse("Not Found", 404)
        pushes = "receive-pack" in service or request.query_params.get("service") == "git-receive-pack"
        if self.state.token and (pushes or repository.private) and not self._knows(request):
            return ask_for_password()
        return await serve_git(request, repository, service, self._pushed)

    def _knows(self, request: Request) -> bool:
        return password_of(request) == self.state.token or self.state.may_see_private(request)

    async def _pushed(self, repository: GitRepository, before: dict[str, str], after: dict[str, str]) -> None:
        self.hooks.send(await events_of_push(self.state, repository, before, after))

    def _repository(self, repo: str) -> GitRepository:
        found = self.state.repository(repo)
        assert found is not None, f"no repository {repo}"
        return found

    def clone_of(self, repo: str) -> Path:
        return self.state.root.parent / "clones" / repo

    async def _commit_files(
        self, clone: Path, files: Mapping[str, str], message: str, at: datetime | None = None
    ) -> str:
        for name, text in files.items():
            path = clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        await git(clone, "add", "--all")
        date = f"{FIRST_COMMIT + 60 * next(self._minutes) if at is None else int(at.timestamp())} +0000"
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        await git(clone, "commit", "--quiet", "--allow-empty", "--file=-", text=message, extra=dates)
        return await git(clone, "rev-parse", "HEAD")


class _Noting:
    """ASGI middleware that remembers every request, also those that are made to fail."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._state.note("api", Request(scope))
        await self._app(scope, receive, send)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse({"message": error.message, "status": str(error.status)}, error.status)


if __name__ == "__main__":
    from tests.fakes.github_program import main

    main()
