"""The webhook payloads of a push as GitHub words them (shape of octokit/webhooks' examples), from real Git facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.fakes.git_repos import GitRepository
    from tests.fakes.github_state import State

ZERO: Final = "0" * 40
MOST_TAGS_AT_ONCE: Final = 3  # GitHub sends no events for tags when more than three are pushed at once
SENDER: Final = {"login": "ada-tagger", "id": 9001, "type": "User", "site_admin": False}
PUSHER: Final = {"name": "ada-tagger", "email": "ada@example.com"}

Event = tuple[str, dict[str, Any]]


async def repository_json(state: State, repository: GitRepository) -> dict[str, Any]:
    """The ``repository`` object of payloads and of the REST API, without the many templates of URLs."""
    url, html = f"{state.api_url}/repos/{repository.full_name}", f"{state.api_url}/{repository.full_name}"
    return {
        "id": repository.number,
        "node_id": f"R_{repository.number}",
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
        "owner": {"name": repository.owner, "login": repository.owner, "id": 77, "type": "Organization"},
        "html_url": html,
        "description": None,
        "fork": False,
        "url": url,
        "tags_url": f"{url}/tags",
        "statuses_url": f"{url}/statuses/{{sha}}",
        "archive_url": f"{url}/{{archive_format}}{{/ref}}",
        "clone_url": f"{html}.git",
        "archived": False,
        "disabled": False,
        "visibility": "private" if repository.private else "public",
        "default_branch": await repository.default_branch(),
    }


async def events_of_push(
    state: State, repository: GitRepository, before: dict[str, str], after: dict[str, str]
) -> list[Event]:
    """The events that GitHub sends when these refs became those: a push for each, and create or delete beside it."""
    changed = [ref for ref in sorted(before.keys() | after.keys()) if before.get(ref) != after.get(ref)]
    tags = [ref for ref in changed if ref.startswith("refs/tags/")]
    silent = set(tags) if len(tags) > MOST_TAGS_AT_ONCE else set()
    events: list[Event] = []
    for ref in changed:
        if ref in silent or not ref.startswith(("refs/tags/", "refs/heads/")):
            continue
        old, new = before.get(ref, ZERO), after.get(ref, ZERO)
        events.append(("push", await push_payload(state, repository, ref, old, new)))
        if ZERO in {old, new}:
            events.append(await _creation_or_deletion(state, repository, ref, deleted=new == ZERO))
    return events


async def push_payload(state: State, repository: GitRepository, ref: str, before: str, after: str) -> dict[str, Any]:
    """The push event of one ref. For an annotated tag ``after`` is the tag object and ``head_commit`` the commit."""
    head = await repository.peel(after) if after != ZERO else None
    is_tag = ref.startswith("refs/tags/")
    forced = ZERO not in {before, after} and not await repository.is_ancestor(before, after)
    commits = [] if is_tag or head is None else [await _commit_json(state, repository, head)]
    return {
        "ref": ref,
        "before": before,
        "after": after,
        "repository": await repository_json(state, repository),
        "pusher": PUSHER,
        "sender": SENDER,
        **({"installation": {"id": 4242, "node_id": "MDQ="}} if state.app else {}),
        "created": before == ZERO,
        "deleted": after == ZERO,
        "forced": forced,
        "base_ref": await _branch_at(repository, head) if is_tag and before == ZERO else None,
        "compare": f"{state.api_url}/{repository.full_name}/compare/{before[:12]}...{after[:12]}",
        "commits": commits,
        "head_commit": await _commit_json(state, repository, head) if head else None,
    }


async def ping_payload(state: State, repository: GitRepository, hook_url: str) -> dict[str, Any]:
    """What GitHub sends when a webhook is set up."""
    return {
        "zen": "Keep it logically awesome.",
        "hook_id": 5150,
        "hook": {
            "type": "Repository",
            "id": 5150,
            "name": "web",
            "active": True,
            "events": ["push", "create", "delete"],
            "config": {"content_type": "json", "insecure_ssl": "0", "url": hook_url},
        },
        "repository": await repository_json(state, repository),
        "sender": SENDER,
    }


async def _creation_or_deletion(state: State, repository: GitRepository, ref: str, *, deleted: bool) -> Event:
    kind = "tag" if ref.startswith("refs/tags/") else "branch"
    payload = {
        "ref": ref.removeprefix("refs/tags/").removeprefix("refs/heads/"),
        "ref_type": kind,
        "pusher_type": "user",
        "repository": await repository_json(state, repository),
        "sender": SENDER,
    }
    if deleted:
        return "delete", payload
    return "create", {**payload, "master_branch": await repository.default_branch(), "description": None}


async def _branch_at(repository: GitRepository, commit: str | None) -> str | None:
    branches = await repository.refs("refs/heads/")
    return next((name for name, sha in branches.items() if sha == commit), None)


async def _commit_json(state: State, repository: GitRepository, sha: str) -> dict[str, Any]:
    commit = await repository.commit(sha)
    person = {"name": commit.author, "email": commit.email, "username": "ada-tagger"}
    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "distinct": True,
        "message": commit.message.rstrip("\n"),
        "timestamp": commit.committed,
        "url": f"{state.api_url}/{repository.full_name}/commit/{commit.sha}",
        "author": person,
        "committer": person,
        "added": [],
        "removed": [],
        "modified": [],
    }
