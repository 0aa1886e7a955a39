"""The part of GitHub's REST and GraphQL API that Tagship uses, answered from real Git repositories."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.fakes.github_payloads import repository_json
from tests.fakes.github_reports import ReportsApi
from tests.fakes.github_state import INSTALLATION, RATE_LIMIT, Refusal, State
from tests.fakes.github_webhooks import WebhooksApi

if TYPE_CHECKING:
    from starlette.requests import Request

    from tests.fakes.git_repos import GitRepository
    from tests.fakes.github_hooks import Hooks

TAGS: Final = "refs/tags/"


class RestApi:
    """The endpoints; each answers like api.github.com, errors included."""

    def __init__(self, state: State, hooks: Hooks) -> None:
        self._state, self._hooks = state, hooks

    def routes(self) -> list[Route]:
        repo = "/repos/{owner}/{name}"
        return [
            Route("/rate_limit", self.rate_limit),
            Route("/user", self.user),
            Route("/app", self.app),
            Route(f"/app/installations/{INSTALLATION}/access_tokens", self.access_token, methods=["POST"]),
            Route("/graphql", self.graphql, methods=["POST"]),
            Route(repo, self.repository),
            Route(f"{repo}/installation", self.installation),
            Route(f"{repo}/tags", self.tags),
            Route(f"{repo}/git/ref/{{ref:path}}", self.ref),
            Route(f"{repo}/git/matching-refs/{{ref:path}}", self.matching_refs),
            Route(f"{repo}/git/tags/{{sha}}", self.tag_object),
            Route(f"{repo}/commits/{{ref:path}}", self.commit),
            Route(f"{repo}/tarball/{{ref:path}}", self.tarball),
            *ReportsApi(self._state).routes(repo),
            *WebhooksApi(self._state, self._hooks).routes(repo),
        ]

    async def rate_limit(self, request: Request) -> Response:
        limit = RATE_LIMIT if self._state.may_see_private(request) else 60
        used = len(self._state.seen)
        rate = {"limit": limit, "remaining": max(limit - used, 0), "reset": 4_000_000_000, "used": used}
        return JSONResponse({"resources": {"core": rate}, "rate": rate})

    async def user(self, request: Request) -> Response:
        if not self._state.may_see_private(request):
            raise Refusal(401, "Requires authentication")
        return JSONResponse({"login": "ada-tagger", "id": 9001, "type": "User"})

    async def app(self, request: Request) -> Response:
        return JSONResponse({"id": self._state.require_app(request), "slug": "tagship-app", "name": "Tagship App"})

    async def access_token(self, request: Request) -> Response:
        self._state.require_app(request)
        token, expires_at = self._state.new_installation_token()
        return JSONResponse({"token": token, "expires_at": expires_at, "permissions": {"contents": "read"}}, 201)

    async def installation(self, request: Request) -> Response:
        app_id = self._state.require_app(request)
        if self._state.repository("{owner}/{name}".format(**request.path_params)) is None:
            raise Refusal(404, "Not Found")
        return JSONResponse({"id": INSTALLATION, "app_id": app_id, "app_slug": "tagship-app"})

    async def repository(self, request: Request) -> Response:
        return JSONResponse(await repository_json(self._state, self._state.visible(request)))

    async def tags(self, request: Request) -> Response:
        repository = self._state.visible(request)
        size = min(int(request.query_params.get("per_page", "30")), 100)
        page = int(request.query_params.get("page", "1"))
        commits = await repository.commits(TAGS)
        names = sorted(commits, reverse=True)
        shown = [self._listed_tag(repository, ref, commits[ref]) for ref in names[(page - 1) * size : page * size]]
        headers = {}
        if page * size < len(names):
            base = f"{self._state.api_url}{request.scope['path']}?per_page={size}&page="
            headers["Link"] = f'<{base}{page + 1}>; rel="next", <{base}{-(-len(names) // size)}>; rel="last"'
        return JSONResponse([tag for tag in shown if tag], headers=headers)

    async def ref(self, request: Request) -> Response:
        repository, wanted = self._state.visible(request), f"refs/{request.path_params['ref']}"
        refs = await repository.refs()
        if not refs:
            raise Refusal(409, "Git Repository is empty.")
        if wanted not in refs:
            raise Refusal(404, "Not Found")
        return JSONResponse(await self._ref_json(repository, wanted, refs[wanted]))

    async def matching_refs(self, request: Request) -> Response:
        repository, start = self._state.visible(request), f"refs/{request.path_params['ref']}"
        refs = await repository.refs()
        found = [await self._ref_json(repository, ref, sha) for ref, sha in refs.items() if ref.startswith(start)]
        return JSONResponse(found)

    async def tag_object(self, request: Request) -> Response:
        repository = self._state.visible(request)
        tag = await repository.tag_object(request.path_params["sha"])
        if tag is None:
            raise Refusal(404, "Not Found")
        target = {"type": tag.target_type, "sha": tag.target_sha, "url": self._url(repository, "git", tag.target_sha)}
        shown = {"sha": tag.sha, "tag": tag.name, "message": tag.message, "object": target}
        return JSONResponse(shown | {"tagger": {"name": "Ada Tagger", "date": tag.tagged}})

    async def commit(self, request: Request) -> Response:
        repository = self._state.visible(request)
        return JSONResponse(await self._commit_json(repository, await _resolve(repository, request)))

    async def tarball(self, request: Request) -> Response:
        """A redirect to the other host; its URL is the permission to read there."""
        repository = self._state.visible(request)
        sha = await _resolve(repository, request, missing=404)
        place = f"{self._state.codeload_url}/{repository.full_name}/legacy.tar.gz/{sha}"
        return RedirectResponse(f"{place}?token={self._state.new_archive_token()}", 302)

    async def graphql(self, request: Request) -> Response:
        """Only the query for a repository's tags with their commits, a page at a time."""
        self._state.may_see_private(request)
        asked = await request.json()
        variables = asked.get("variables") or {}
        owner, name, after = (_variable(variables, *names) for names in (("o", "owner"), ("n", "name"), ("c", "after")))
        repository = self._state.repository(f"{owner}/{name}")
        if repository is None:
            error = {
                "type": "NOT_FOUND",
                "message": f"Could not resolve to a Repository with the name '{owner}/{name}'.",
            }
            return JSONResponse({"data": {"repository": None}, "errors": [error]})
        size = int((re.search(r"first:\s*(\d+)", asked["query"]) or ["", "100"])[1])
        refs = await repository.refs(TAGS)
        nodes = [await self._tag_node(repository, ref, sha) for ref, sha in refs.items()]
        nodes.sort(key=_date_of, reverse=True)
        start = int(after or 0)
        page = {"hasNextPage": start + size < len(nodes), "endCursor": str(start + size)}
        found = {"totalCount": len(nodes), "pageInfo": page, "nodes": nodes[start : start + size]}
        rate = {"cost": 1, "remaining": RATE_LIMIT, "resetAt": "2096-10-02T07:06:40Z"}
        return JSONResponse({"data": {"rateLimit": rate, "repository": {"refs": found}}})

    def _url(self, repository: GitRepository, *path: str) -> str:
        return "/".join((self._state.api_url, "repos", repository.full_name, *path))

    def _listed_tag(self, repository: GitRepository, ref: str, sha: str | None) -> dict[str, Any] | None:
        name = ref.removeprefix(TAGS)
        if sha is None:
            return None
        commit = {"sha": sha, "url": self._url(repository, "commits", sha)}
        archives = {
            kind: self._url(repository, kind.removesuffix("_url"), ref) for kind in ("tarball_url", "zipball_url")
        }
        return {"name": name, "commit": commit, **archives, "node_id": f"REF_{sha[:8]}"}

    async def _ref_json(self, repository: GitRepository, ref: str, sha: str) -> dict[str, Any]:
        kind = await repository.type_of(sha)
        pointer = {"type": kind, "sha": sha, "url": self._url(repository, "git", f"{kind}s", sha)}
        return {
            "ref": ref,
            "node_id": f"REF_{sha[:8]}",
            "url": self._url(repository, "git", quote(ref)),
            "object": pointer,
        }

    async def _commit_json(self, repository: GitRepository, sha: str) -> dict[str, Any]:
        commit = await repository.commit(sha)
        author = {"name": commit.author, "email": commit.email, "date": commit.authored}
        inner = {
            "author": author,
            "committer": {**author, "date": commit.committed},
            "message": commit.message.rstrip("\n"),
        }
        return {
            "sha": sha,
            "commit": inner,
            "url": self._url(repository, "commits", sha),
            "author": {"login": "ada-tagger"},
        }

    async def _tag_node(self, repository: GitRepository, ref: str, sha: str) -> dict[str, Any]:
        tag = await repository.tag_object(sha)
        if tag is None:
            target = await self._target_json(repository, sha)
        else:
            pointed = await self._target_json(repository, tag.target_sha)
            target = {"__typename": "Tag", "oid": sha, "message": tag.message, "target": pointed}
            target["tagger"] = {"date": tag.tagged}
        return {"name": ref.removeprefix(TAGS), "target": target}

    async def _target_json(self, repository: GitRepository, sha: str) -> dict[str, Any]:
        kind = await repository.type_of(sha)
        if kind != "commit":
            return {"__typename": kind.title(), "oid": sha}
        commit = await repository.commit(sha)
        author = {
            "name": commit.author,
            "email": commit.email,
            "date": commit.authored,
            "user": {"login": "ada-tagger"},
        }
        return {
            "__typename": "Commit",
            "oid": sha,
            "committedDate": commit.committed,
            "messageHeadline": commit.message.partition("\n")[0],
            "message": commit.message.rstrip("\n"),
            "author": author,
        }


async def _resolve(repository: GitRepository, request: Request, missing: int = 422) -> str:
    """A SHA, a branch, a tag, or ``heads/…`` and ``tags/…``, in git's own order of meaning."""
    ref = request.path_params["ref"]
    sha = await repository.peel(ref)
    if sha is None:
        raise Refusal(missing, f"No commit found for SHA: {ref}" if missing == 422 else "Not Found")
    return sha


def _variable(variables: dict[str, Any], *names: str) -> Any:
    return next((variables[name] for name in names if name in variables), None)


def _date_of(node: dict[str, Any]) -> str:
    target = node["target"]
    return str(target.get("committedDate") or target.get("target", {}).get("committedDate") or "")
