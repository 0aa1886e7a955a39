"""Telling GitHub: what is sent, what comes back, and what a refusal is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from app.errors import AppError, GitHubNotFound, GitHubRateLimited, GitHubRefused, GitHubUnavailable
from app.github.client import GitHubClient
from tests.fakes.github import LocalGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REPO: Final = "acme/shop"
TOKEN: Final = "ghp_a_token_of_ours"
JSON: Final = {"Content-Type": "application/json"}
MARK: Final = {"tagship": "https://t/1", "rollout": 1}


@pytest.fixture
async def github(tmp_path: Path) -> AsyncIterator[LocalGitHub]:
    async with LocalGitHub.start(tmp_path, webhook_secret="unused", token=TOKEN) as github:
        await github.create_repository(REPO, private=True)
        yield github


@pytest.fixture
async def client(github: LocalGitHub) -> AsyncIterator[GitHubClient]:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(TOKEN))
    yield client
    await client.close()


async def tell(client: GitHubClient, sha: str, state: str = "success", description: str = "built in 41 s") -> None:
    await client.reporting.set_status(
        REPO, sha, context="tagship/shop", state=state, description=description, target_url="https://t/1"
    )


async def deploy(client: GitHubClient, sha: str, environment: str = "allianz") -> int:
    return await client.reporting.create_deployment(
        REPO, sha, environment=environment, description="waits", payload=MARK
    )


async def test_a_status_is_what_was_said(github: LocalGitHub, client: GitHubClient) -> None:
    sha = await github.tag(REPO, "v1")
    await tell(client, sha)
    assert github.state.statuses == [
        {
            "repo": REPO,
            "sha": sha,
            "context": "tagship/shop",
            "state": "success",
            "description": "built in 41 s",
            "target_url": "https://t/1",
        }
    ]


async def test_a_status_of_what_is_no_commit_is_refused_for_good(github: LocalGitHub, client: GitHubClient) -> None:
    with pytest.raises(GitHubRefused, match="No commit found") as refused:
        await tell(client, "0" * 40)
    assert refused.value.status == 422


async def test_a_deployment_waits_for_nothing_and_merges_nothing(github: LocalGitHub, client: GitHubClient) -> None:
    """The local GitHub, like the real one, answers 409 to whoever leaves the defaults."""
    sha = await github.tag(REPO, "v1")
    number = await deploy(client, sha)
    await client.reporting.set_deployment_status(
        REPO, number, state="in_progress", description="is being rolled out", log_url="https://t/1"
    )
    [made] = github.state.deployments
    assert (made["sha"], made["environment"], made["payload"]) == (sha, "allianz", MARK)
    assert made["statuses"] == [
        {"state": "in_progress", "description": "is being rolled out", "log_url": "https://t/1"}
    ]


async def test_a_deployment_is_found_again_by_its_payload(github: LocalGitHub, client: GitHubClient) -> None:
    sha = await github.tag(REPO, "v1")
    other = await github.commit(REPO, {"a": "b"})
    number = await deploy(client, sha)
    await deploy(client, sha, "another environment & more")
    await deploy(client, other)
    find = client.reporting.find_deployment
    assert await find(REPO, sha, environment="allianz", payload=MARK) == number
    assert await find(REPO, sha, environment="another environment & more", payload=MARK) == number + 1
    assert await find(REPO, sha, environment="allianz", payload=MARK | {"rollout": 2}) is None
    assert await find(REPO, "0" * 40, environment="allianz", payload=MARK) is None


@pytest.mark.parametrize("payload", [MARK, json.dumps(MARK)])
async def test_a_payload_is_an_object_or_the_text_of_one(
    github: LocalGitHub, client: GitHubClient, payload: object
) -> None:
    body = json.dumps([{"id": 5, "payload": "{"}, {"id": 6, "payload": None}, {"id": 7, "payload": payload}])
    github.fail_next(f"/repos/{REPO}/deployments", 200, headers=JSON, body=body.encode())
    assert await client.reporting.find_deployment(REPO, "0" * 40, environment="x", payload=MARK) == 7


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, GitHubRefused),
        (404, GitHubNotFound),
        (401, GitHubRefused),
        (409, GitHubRefused),
        (410, GitHubRefused),
        (429, GitHubRateLimited),
        (502, GitHubUnavailable),
        (200, GitHubUnavailable),
    ],
)
async def test_each_refusal_of_a_write_is_one_of_ours(
    github: LocalGitHub, client: GitHubClient, status: int, error: type[AppError]
) -> None:
    github.fail_next("/repos", status, headers=JSON, body=b'{"message": "no"}')
    with pytest.raises(error):
        await tell(client, "0" * 40)


async def test_a_renamed_repository_is_told_under_its_new_name(github: LocalGitHub, client: GitHubClient) -> None:
    sha = await github.tag(REPO, "v1")
    place = f"{github.url}/repos/{REPO}/statuses/{sha}"
    github.fail_next("/repos/acme/old", 307, headers={"Location": place})
    await client.reporting.set_status(
        "acme/old", sha, context="c", state="pending", description="", target_url="https://t/1"
    )
    assert github.statuses_of(sha, "c") == ["pending"]


async def test_an_app_tells_through_its_installation(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    async with LocalGitHub.start(tmp_path, webhook_secret="unused", app=("1234", public.decode())) as github:
        await github.create_repository(REPO, private=True)
        sha = await github.tag(REPO, "v1")
        client = GitHubClient.open(api_url=github.url, app_id="1234", app_private_key=SecretStr(pem.decode()))
        await tell(client, sha, "pending")
        with pytest.raises(GitHubNotFound, match="App is not installed"):
            await client.reporting.set_status(
                "acme/other", sha, context="c", state="pending", description="", target_url="https://t/1"
            )
        await client.close()
    assert github.statuses_of(sha, "tagship/shop") == ["pending"]


# ---------------------------------------------------------------- the local GitHub itself


async def test_the_local_github_calls_an_older_success_inactive(github: LocalGitHub, client: GitHubClient) -> None:
    sha = await github.tag(REPO, "v1")
    numbers = [await deploy(client, sha), await deploy(client, sha), await deploy(client, sha, "another")]
    for number in (numbers[0], numbers[2], numbers[1]):
        await client.reporting.set_deployment_status(
            REPO, number, state="success", description="", log_url="https://t/1"
        )
    states = [[status["state"] for status in one["statuses"]] for one in github.state.deployments]
    assert states == [["success", "inactive"], ["success"], ["success"]]


async def test_the_local_github_says_304_only_to_the_same_credentials(github: LocalGitHub) -> None:
    await github.create_repository("acme/public")
    url = f"{github.url}/repos/acme/public"
    async with httpx.AsyncClient(trust_env=False) as http:
        etag = (await http.get(url)).headers["ETag"]
        again = await http.get(url, headers={"If-None-Match": etag})
        other = await http.get(url, headers={"If-None-Match": etag, "Authorization": f"Bearer {TOKEN}"})
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)
