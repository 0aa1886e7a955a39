"""The GitHub client against a local GitHub: what it finds, what it says when it cannot, what it never tells."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import shutil
import tarfile
import time
import traceback
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from app.errors import (
    AppError,
    GitHubNotFound,
    GitHubRateLimited,
    GitHubRefused,
    GitHubUnavailable,
    SettingsInvalid,
)
from app.github.answers import RepositoryInfo, TagCommit
from app.github.client import GitHubClient
from tests.fakes.github import LocalGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TAGS: Final = ("v1.0.0", "v1/rc", "v1.0+build", "$(id)", "é", "%2e", "a&b", "v1#y", "🚀", "x/tarball")
REPO: Final = "acme/bre-payments"
TOKEN: Final = "ghp_a_token_of_ours"
FILES: Final = {"Dockerfile": "FROM busybox\n", "app/main.sh": "echo hello\n"}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalGitHub]:
    root = tmp_path_factory.mktemp("github")
    async with LocalGitHub.start(root, webhook_secret="unused", token=TOKEN) as github:
        await github.create_repository(REPO, FILES)
        yield github


@pytest.fixture(scope="module")
def template(server: LocalGitHub) -> Path:
    """A GitHub with one repository, to be copied: faster than making it anew."""
    return server.state.root.parent


@pytest.fixture
async def github(server: LocalGitHub, template: Path, tmp_path: Path) -> LocalGitHub:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    server.reset(tmp_path)
    server.state.repositories[REPO].private = True
    return server


@pytest.fixture
async def client(github: LocalGitHub) -> AsyncIterator[GitHubClient]:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(TOKEN))
    yield client
    await client.close()


async def read(client: GitHubClient, commit: str, repo: str = REPO) -> bytes:
    async with client.tarball(repo, commit) as chunks:
        return b"".join([chunk async for chunk in chunks])


# ---------------------------------------------------------------- commits and repositories


@pytest.mark.parametrize("annotated", [False, True])
async def test_a_tag_leads_to_its_commit(github: LocalGitHub, client: GitHubClient, annotated: bool) -> None:
    for tag in TAGS:
        commit = await github.tag(REPO, tag, annotated=annotated, push=False)
    await github.push(REPO, "--tags")
    await github.commit(REPO, {"later": "x"})
    found = [await client.resolve_commit(REPO, tag) for tag in TAGS]
    assert found == [TagCommit(tag, commit) for tag in TAGS]


async def test_a_tag_of_a_tag_leads_to_the_commit(github: LocalGitHub, client: GitHubClient) -> None:
    commit = await github.tag(REPO, "inner", annotated=True)
    await github.tag(REPO, "outer", at="inner", annotated=True)
    assert (await client.resolve_commit(REPO, "outer")).sha == commit


async def test_a_tag_of_a_file_is_nothing_to_build(github: LocalGitHub, client: GitHubClient) -> None:
    await github.tag(REPO, "blob", at="main:Dockerfile")
    with pytest.raises(GitHubNotFound, match="leads to a blob"):
        await client.resolve_commit(REPO, "blob")


async def test_an_unknown_tag_is_told_from_an_unknown_repository(client: GitHubClient) -> None:
    with pytest.raises(GitHubNotFound, match="acme/bre-payments has no tag v9"):
        await client.resolve_commit(REPO, "v9")
    with pytest.raises(GitHubNotFound, match="does not know repository acme/nothing"):
        await client.resolve_commit("acme/nothing", "v9")


async def test_an_empty_repository_has_no_tags(github: LocalGitHub, client: GitHubClient) -> None:
    await github.state.add("acme/empty").create()
    with pytest.raises(GitHubNotFound, match="acme/empty has no tag v1"):
        await client.resolve_commit("acme/empty", "v1")


@pytest.mark.parametrize("repo", ["", "acme", "acme/", "a/b/c", "../x", "acme/..", "acme/x?y", "acme/x\n", "é/x"])
async def test_what_is_no_repository_name_is_never_sent(unused_tcp_port: int, repo: str) -> None:
    client = GitHubClient.open(api_url=f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(GitHubNotFound, match="write owner/name"):
        await client.repository(repo)
    await client.close()


async def test_a_repository_is_described(github: LocalGitHub, client: GitHubClient) -> None:
    number = github.state.repositories[REPO].number
    assert await client.repository("ACME/bre-payments") == RepositoryInfo(REPO, number, "main", private=True)


async def test_a_renamed_repository_is_followed_with_our_credentials(github: LocalGitHub, client: GitHubClient) -> None:
    github.fail_next("/repos/acme/old-name", 301, headers={"Location": f"{github.url}/repos/{REPO}"})
    assert (await client.repository("acme/old-name")).full_name == REPO


async def test_an_enterprise_server_is_asked_below_its_path(github: LocalGitHub) -> None:
    client = GitHubClient.open(api_url=f"{github.url}/api/v3", token=SecretStr(TOKEN))
    commit = await github.tag(REPO, "v1.0.0")
    assert (await client.resolve_commit(REPO, "v1.0.0")).sha == commit
    assert await read(client, commit)
    await client.close()


# ---------------------------------------------------------------- the source


async def test_the_archive_holds_the_files_of_the_commit(github: LocalGitHub, client: GitHubClient) -> None:
    commit = await github.tag(REPO, "v1.0.0")
    await github.commit(REPO, {"Dockerfile": "FROM other\n"})
    with tarfile.open(fileobj=io.BytesIO(await read(client, commit))) as tar:
        assert tar.pax_headers["comment"] == commit
        dockerfile = tar.extractfile(f"acme-bre-payments-{commit[:7]}/Dockerfile")
        assert dockerfile is not None
        assert dockerfile.read() == b"FROM busybox\n"


async def test_the_other_host_never_gets_our_token(github: LocalGitHub, client: GitHubClient) -> None:
    commit = await github.tag(REPO, "v1.0.0")
    await read(client, commit)
    assert [seen.authorization for seen in github.asked("codeload")] == [None]
    tarball = next(seen for seen in github.asked() if "tarball" in seen.path)
    assert tarball.authorization is not None
    assert TOKEN in tarball.authorization


async def test_the_url_that_grants_access_is_never_logged(
    github: LocalGitHub, client: GitHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    commit = await github.tag(REPO, "v1.0.0")
    with caplog.at_level(logging.DEBUG):
        await read(client, commit)
        github.cut_next_archive()
        with pytest.raises(GitHubUnavailable) as broken:
            await read(client, commit)
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]  # the fake's
    told = "".join(logged) + "".join(traceback.format_exception(broken.value))
    assert github.state.archive_tokens
    assert not [token for token in (*github.state.archive_tokens, TOKEN) if token in told]


async def test_the_bytes_are_not_decoded_whatever_their_label(github: LocalGitHub, client: GitHubClient) -> None:
    archive = gzip.compress(b"a tar")
    github.fail_next(f"/repos/{REPO}/tarball", 200, headers={"Content-Encoding": "gzip"}, body=archive)
    assert await read(client, "0" * 40) == archive


async def test_an_archive_that_breaks_off_is_not_taken_for_a_whole_one(
    github: LocalGitHub, client: GitHubClient
) -> None:
    commit = await github.tag(REPO, "v1.0.0")
    github.cut_next_archive(after=100)
    with pytest.raises(GitHubUnavailable, match="broke"):
        await read(client, commit)
    assert await read(client, commit)


async def test_an_archive_that_stands_still_is_given_up(github: LocalGitHub) -> None:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(TOKEN), idle_s=0.2)
    commit = await github.tag(REPO, "v1.0.0")
    github.stall_next_archive(after=100)
    with pytest.raises(GitHubUnavailable, match="in time"):
        await read(client, commit)
    await client.close()


async def test_a_commit_is_there_or_not(github: LocalGitHub, client: GitHubClient) -> None:
    commit = await github.tag(REPO, "v1.0.0")
    assert await client.has_commit(REPO, commit)
    assert not await client.has_commit(REPO, "b" * 40)
    assert not await client.has_commit("acme/none", commit)


async def test_an_unknown_commit_is_not_found(client: GitHubClient) -> None:
    with pytest.raises(GitHubNotFound, match="source of acme/bre-payments at 1234567"):
        await read(client, "1234567")


async def test_leaving_an_archive_half_read_frees_the_connection(github: LocalGitHub, client: GitHubClient) -> None:
    commit = await github.commit(REPO, {"big": "x" * 10, "noise": "".join(map(str, range(300_000)))})
    for _ in range(3):
        async with client.tarball(REPO, commit) as chunks:
            assert await anext(aiter(chunks))
    assert len(await read(client, commit)) > 64 * 1024


# ---------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (500, {}, GitHubUnavailable),
        (502, {}, GitHubUnavailable),
        (429, {}, GitHubRateLimited),
        (403, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, GitHubRateLimited),
        (429, {"Retry-After": "soon"}, GitHubRateLimited),
        (403, {"X-RateLimit-Remaining": "0"}, GitHubRateLimited),
        (403, {"X-RateLimit-Remaining": "17"}, GitHubRefused),
        (401, {}, GitHubRefused),
        (403, {}, GitHubRefused),
        (422, {}, GitHubRefused),
        (451, {}, GitHubRefused),
        (200, {}, GitHubUnavailable),
        (204, {}, GitHubUnavailable),
    ],
)
async def test_each_failure_of_github_is_one_of_ours(
    github: LocalGitHub,
    client: GitHubClient,
    status: int,
    headers: dict[str, str],
    expected: type[AppError],
) -> None:
    github.fail_next("/repos", status, headers=headers, body=b"" if status == 204 else b"<html>a proxy</html>")
    with pytest.raises(expected) as failed:
        await client.repository(REPO)
    assert failed.value.retryable is (expected is not GitHubRefused)
    assert "<html>" not in str(failed.value)


@pytest.mark.parametrize(
    ("body", "error", "word"),
    [
        (b'{"errors": [{"type": "FORBIDDEN", "message": "SAML is enforced"}]}', GitHubRefused, "SAML is enforced"),
        (b'{"data": {"repository": null}}', GitHubUnavailable, "not understood"),
        (b'{"data": {"repository": {"refs": {"nodes": [{}]}}}}', GitHubUnavailable, "not understood"),
        (b"<html>", GitHubUnavailable, "not understood"),
    ],
)
async def test_a_list_of_tags_that_github_does_not_give_is_one_of_our_errors(
    github: LocalGitHub, client: GitHubClient, body: bytes, error: type[AppError], word: str
) -> None:
    github.fail_next("/graphql", 200, headers={"Content-Type": "application/json"}, body=body)
    with pytest.raises(error, match=word):
        await client.list_tags(REPO)


@pytest.mark.parametrize("body", [b"{}", b'[{"name": "v1"}]', b"<html>"])
async def test_a_list_of_tags_of_the_wrong_shape_is_unavailable(github: LocalGitHub, body: bytes) -> None:
    github.state.repositories[REPO].private = False
    client = GitHubClient.open(api_url=github.url)
    github.fail_next(f"/repos/{REPO}/tags", 200, headers={"Content-Type": "application/json"}, body=body)
    with pytest.raises(GitHubUnavailable, match="list the tags"):
        await client.list_tags(REPO)
    await client.close()


async def test_a_rate_limit_says_how_long_it_lasts(github: LocalGitHub, client: GitHubClient) -> None:
    github.rate_limit_next("/repos", retry_after_s=42)
    with pytest.raises(GitHubRateLimited) as limited:
        await client.repository(REPO)
    assert limited.value.retry_after_s == 42


async def test_a_used_up_hour_is_a_rate_limit_until_it_is_over(github: LocalGitHub, client: GitHubClient) -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1800)}
    github.fail_next("/repos", 403, headers=headers, body=b'{"message": "API rate limit exceeded"}')
    with pytest.raises(GitHubRateLimited) as limited:
        await client.repository(REPO)
    assert 1700 < limited.value.retry_after_s <= 1800


SECONDARY: Final = b'{"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}'
GRAPH_LIMITED: Final = b'{"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 1"}]}'
GRAPH_SECONDARY: Final = b'{"errors": [{"message": "You have exceeded a secondary rate limit"}], "data": null}'


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait_s"),
    [
        (403, {}, SECONDARY, 60),
        (403, {"Retry-After": "7"}, SECONDARY, 7),
        (429, {"Retry-After": "7"}, b"", 7),
        (429, {"Retry-After": "0"}, b"", 1),
        (429, {"Retry-After": "86400"}, b"", 3600),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4000000000"}, b"", 3600),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, b"", 1),
        (200, {}, GRAPH_LIMITED, 60),
        (200, {"Retry-After": "30"}, GRAPH_LIMITED, 30),
        (200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4000000000"}, GRAPH_LIMITED, 3600),
        (200, {"Retry-After": "30"}, GRAPH_SECONDARY, 30),
        (200, {}, GRAPH_SECONDARY, 60),
    ],
)
async def test_every_form_of_a_rate_limit_says_how_long_to_wait(
    github: LocalGitHub, client: GitHubClient, status: int, headers: dict[str, str], body: bytes, wait_s: int
) -> None:
    github.fail_next("/graphql", status, headers={"Content-Type": "application/json"} | headers, body=body)
    with pytest.raises(GitHubRateLimited) as limited:
        await client.list_tags(REPO)
    assert round(limited.value.retry_after_s) == wait_s


async def test_a_server_that_does_not_answer_is_given_up(github: LocalGitHub) -> None:
    client = GitHubClient.open(api_url=github.url, idle_s=0.2)
    github.hang_next("/repos")
    with pytest.raises(GitHubUnavailable, match="in time"):
        await client.repository(REPO)
    await client.close()


async def test_a_server_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    client = GitHubClient.open(api_url=f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(GitHubUnavailable, match="cannot be reached"):
        await client.repository(REPO)
    await client.close()


async def test_nothing_is_retried_inside_a_call(github: LocalGitHub, client: GitHubClient) -> None:
    github.fail_next("/repos", 502, times=5)
    with pytest.raises(GitHubUnavailable):
        await client.repository(REPO)
    assert len(github.asked()) == 1


async def test_sibling_tasks_share_one_connection(github: LocalGitHub) -> None:
    client = await asyncio.create_task(_opened(github))
    for _ in range(3):
        await asyncio.create_task(client.repository(REPO))
    assert len({seen.connection for seen in github.asked()}) == 1
    await asyncio.gather(*(client.repository(REPO) for _ in range(20)))
    await client.close()


async def _opened(github: LocalGitHub) -> GitHubClient:
    client = GitHubClient.open(api_url=github.url, token=SecretStr(TOKEN))
    await client.repository(REPO)
    return client


# ---------------------------------------------------------------- asking again


async def test_what_did_not_change_is_not_sent_twice(github: LocalGitHub, client: GitHubClient) -> None:
    commit = await github.tag(REPO, "v1.0.0", annotated=True)
    for _ in range(3):
        assert (await client.resolve_commit(REPO, "v1.0.0")).sha == commit
    ref = f"/repos/{REPO}/git/ref/tags/v1.0.0"
    asked = [seen.path for seen in github.asked()]
    assert asked.count(ref) == 3, "GitHub is asked every time"
    assert github.state.unchanged.count(ref) == 2
    assert len(github.state.unchanged) == 4, "the tag object did not change either"


async def test_a_tag_that_moved_is_seen_at_once(github: LocalGitHub, client: GitHubClient) -> None:
    await github.tag(REPO, "v1.0.0")
    await client.resolve_commit(REPO, "v1.0.0")
    await github.commit(REPO, {"later": "x"})
    moved = await github.tag(REPO, "v1.0.0", force=True)
    assert (await client.resolve_commit(REPO, "v1.0.0")).sha == moved
    assert github.state.unchanged == []


async def test_who_lost_the_right_to_see_is_told_nothing_from_memory(github: LocalGitHub) -> None:
    github.state.repositories[REPO].private = False
    client = GitHubClient.open(api_url=github.url)
    await github.tag(REPO, "v1.0.0")
    await client.resolve_commit(REPO, "v1.0.0")
    github.state.repositories[REPO].private = True
    with pytest.raises(GitHubNotFound):
        await client.resolve_commit(REPO, "v1.0.0")
    await client.close()


async def test_an_archive_is_never_kept(github: LocalGitHub, client: GitHubClient) -> None:
    commit = await github.tag(REPO, "v1.0.0")
    await read(client, commit)
    await read(client, commit)
    assert len(github.asked("codeload")) == 2
    assert len(client._connection._remembered) == 0


async def test_an_unasked_for_304_is_no_answer(github: LocalGitHub, client: GitHubClient) -> None:
    github.fail_next("/repos", 304)
    with pytest.raises(GitHubUnavailable):
        await client.repository(REPO)


# ---------------------------------------------------------------- credentials


async def test_without_credentials_only_public_repositories_show(github: LocalGitHub) -> None:
    await github.create_repository("acme/public", FILES)
    commit = await github.tag("acme/public", "v1.0.0")
    client = GitHubClient.open(api_url=github.url)
    assert await read(client, commit, "acme/public")
    with pytest.raises(GitHubNotFound, match="GITHUB_TOKEN"):
        await client.repository(REPO)
    assert "without credentials" in await client.check()
    await client.close()


async def test_the_check_says_who_we_are(client: GitHubClient) -> None:
    assert (await client.check()).startswith("GitHub answers as ada-tagger, 49")


async def test_the_check_works_where_rate_limits_are_switched_off(github: LocalGitHub, client: GitHubClient) -> None:
    github.fail_next("/rate_limit", 404, body=b'{"message": "Rate limiting is not enabled."}')
    assert await client.check() == "GitHub answers as ada-tagger, without a rate limit"


async def test_the_check_refuses_a_wrong_token(github: LocalGitHub) -> None:
    client = GitHubClient.open(api_url=github.url, token=SecretStr("ghp_wrong"))
    with pytest.raises(GitHubRefused, match="Bad credentials; check GITHUB_TOKEN") as refused:
        await client.check()
    assert "ghp_wrong" not in str(refused.value)
    await client.close()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
async def app_github(tmp_path: Path, key: rsa.RSAPrivateKey) -> AsyncIterator[LocalGitHub]:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    async with LocalGitHub.start(tmp_path, webhook_secret="unused", app=("1234", public.decode())) as github:
        await github.create_repository(REPO, FILES, private=True)
        yield github


@pytest.fixture
async def app_client(app_github: LocalGitHub, key: rsa.RSAPrivateKey) -> AsyncIterator[GitHubClient]:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    in_one_line = SecretStr(pem.decode().replace("\n", "\\n"))
    client = GitHubClient.open(api_url=app_github.url, app_id="1234", app_private_key=in_one_line)
    yield client
    await client.close()


async def test_an_app_reads_through_its_installation(app_github: LocalGitHub, app_client: GitHubClient) -> None:
    commit = await app_github.tag(REPO, "v1.0.0")
    assert (await app_client.resolve_commit(REPO, "v1.0.0")).sha == commit
    assert await read(app_client, commit)
    assert await app_client.check() == "GitHub answers as GitHub App tagship-app"
    paths = [seen.path for seen in app_github.asked()]
    assert len([path for path in paths if path.endswith("/access_tokens")]) == 1
    assert [seen.authorization for seen in app_github.asked("codeload")] == [None]


async def test_an_app_says_where_it_is_not_installed(app_client: GitHubClient) -> None:
    with pytest.raises(GitHubNotFound, match="our GitHub App is not installed on it"):
        await app_client.resolve_commit("acme/nothing", "v1")


async def test_an_installation_whose_token_was_revoked_is_looked_up_anew(
    app_github: LocalGitHub, app_client: GitHubClient
) -> None:
    await app_client.repository(REPO)
    app_github.state.installation_tokens.clear()
    with pytest.raises(GitHubRefused):
        await app_client.repository(REPO)
    assert (await app_client.repository(REPO)).full_name == REPO


async def test_a_list_of_tags_looks_a_revoked_installation_up_anew(
    app_github: LocalGitHub, app_client: GitHubClient
) -> None:
    assert await app_client.list_tags(REPO) == []
    app_github.state.installation_tokens.clear()
    with pytest.raises(GitHubRefused):
        await app_client.list_tags(REPO)
    assert await app_client.list_tags(REPO) == []


async def test_an_outage_while_an_app_signs_in_is_an_outage(app_github: LocalGitHub, app_client: GitHubClient) -> None:
    app_github.fail_next("/app/installations", 503)
    with pytest.raises(GitHubUnavailable, match="HTTP 503"):
        await app_client.repository(REPO)
    assert (await app_client.repository(REPO)).full_name == REPO


def test_an_address_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsInvalid, match="GITHUB_API_URL"):
        GitHubClient.open(api_url="http://host:port")


def test_a_key_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsInvalid, match="GITHUB_APP_PRIVATE_KEY") as refused:
        GitHubClient.open(app_id="1", app_private_key=SecretStr("not-a-key"))
    assert "not-a-key" not in str(refused.value)
