"""What we tell GitHub: the status of a commit, and deployments with their statuses.

Shapes as GitHub's REST docs give them (commit statuses, deployments, deployment statuses). Whoever may read and not
write is answered 403, or 404 as if there were nothing; the caller decides what that means.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from app.github.answers import DeploymentList, Made
from app.github.connection import repo_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.github.answers import Deployment
    from app.github.connection import Connection


class Reporting:
    """Every call raises ``GitHubUnavailable``, ``GitHubRateLimited``, ``GitHubNotFound`` or ``GitHubRefused``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def set_status(
        self, repo: str, sha: str, *, context: str, state: str, description: str, target_url: str
    ) -> None:
        """The newest status of the commit in this context is from now on this one; 422 after a thousand of them."""
        body = {"context": context, "state": state, "description": description, "target_url": target_url}
        path, action = f"{repo_path(repo)}/statuses/{quote(sha, safe='')}", f"set the status of {sha[:12]} in {repo}"
        await self._connection.write(repo, path, body, Made, action)

    async def create_deployment(
        self, repo: str, sha: str, *, environment: str, description: str, payload: Mapping[str, Any]
    ) -> int:
        """A new deployment of the commit, as it is: nothing is merged and no check is waited for. Its id."""
        body = {
            "ref": sha,
            "environment": environment,
            "description": description,
            "payload": dict(payload),
            "auto_merge": False,
            "required_contexts": [],
            "transient_environment": False,
        }
        action = f"create a deployment of {sha[:12]} in {repo}"
        return (await self._connection.write(repo, f"{repo_path(repo)}/deployments", body, Made, action)).id

    async def find_deployment(self, repo: str, sha: str, *, environment: str, payload: Mapping[str, Any]) -> int | None:
        """The id of the deployment of the commit to that environment that carries exactly this payload."""
        asked = urlencode({"sha": sha, "environment": environment, "per_page": 100})
        path, action = f"{repo_path(repo)}/deployments?{asked}", f"list the deployments of {sha[:12]} in {repo}"
        found = await self._connection.read(repo, path, DeploymentList, action)
        return next((one.id for one in found.root if _payload(one) == payload), None)

    async def set_deployment_status(
        self, repo: str, deployment_id: int, *, state: str, description: str, log_url: str
    ) -> None:
        """The deployment is from now on in this state; ``success`` makes GitHub call older ones of the environment
        inactive.
        """
        body = {"state": state, "description": description, "log_url": log_url}
        path = f"{repo_path(repo)}/deployments/{deployment_id}/statuses"
        await self._connection.write(repo, path, body, Made, f"set the status of deployment {deployment_id} in {repo}")


def _payload(deployment: Deployment) -> dict[str, Any] | None:
    payload = deployment.payload
    if isinstance(payload, str):
        try:
            payload = json.loads(payload)
        except ValueError:
            return None
    return payload if isinstance(payload, dict) else None
