"""The local GitHub is true to git and to GitHub: what other tests rely on is claimed here."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import tarfile
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from starlette.responses import JSONResponse

from app.github.payload import NotATagPush, TagChange, TagPush, parse_event
from app.github.signature import verify_signature
from tests.fakes.git_repos import GitFailed, git
from tests.fakes.github import LocalGitHub
from tests.fakes.serving import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from tests.fakes.github_hooks import Sent

REPO: Final = "acme/bre-payments"
SECRET: Final = "the secret of the webhook"
CHECKOUT: Final = Path(__file__).parents[2]


class Receiver:
    """Takes webhooks as the service would; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.status = 202
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.got.append(({name.decode(): value.decode() for name, value in scope["headers"]}, body))
        await JSONResponse({"outcome": "accepted"}, self.status)(scope, receive, send)


@pytest.fixture
async def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def github(tmp_path: Path, receiver: Receiver) -> AsyncIterator[LocalGitHub]:
    async with (
        serve(receiver) as address,
        LocalGitHub.start(tmp_path, webhook_secret=SECRET, webhook_url=f"{address}/webhooks/github") as github,
    ):
        await github.create_repository(REPO, {"Dockerfile": "FROM busybox\n"})
        yield github


@pytest.fixture
async def http(github: LocalGitHub) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{github.url}/repos/{REPO}", trust_env=False) as http:
        yield http


def understood(sent: Sent) -> TagPush | NotATagPush:
    return parse_event(sent.event, sent.content_type, sent.body)


def last_tag_push(github: LocalGitHub) -> TagPush:
    pushes = [found for sent in github.deliveries if isinstance(found := understood(sent), TagPush)]
    return pushes[-1]


# ---------------------------------------------------------------- pushes and webhooks


async def test_a_push_of_the_plain_git_client_sends_signed_push_and_create(
    github: LocalGitHub, receiver: Receiver, tmp_path: Path
) -> None:
    await git(tmp_path, "clone", "--quiet", github.remote_url(REPO), "mine")
    await git(tmp_path / "mine", "tag", "v1.0.0")
    commit = await git(tmp_path / "mine", "rev-parse", "HEAD")
    await git(tmp_path / "mine", "push", "--quiet", "origin", "v1.0.0")
    await github.hooks.settled()

    assert [headers["x-github-event"] for headers, _ in receiver.got] == ["push", "create"]
    assert len({headers["x-github-delivery"] for headers, _ in receiver.got}) == 2
    for headers, body in receiver.got:
        assert verify_signature([SECRET], body, headers["x-hub-signature-256"]) == 0
        assert headers["user-agent"].startswith("GitHub-Hookshot/")
    found = last_tag_push(github)
    assert (found.repo, found.tag, found.kind, found.commit) == (REPO, "v1.0.0", TagChange.CREATED, commit)
    assert [sent.answer for sent in github.deliveries] == [{"outcome": "accepted"}] * 2


async def test_an_annotated_tag_names_the_tag_object_and_the_commit(github: LocalGitHub) -> None:
    commit = await github.tag(REPO, "v1.0.0", annotated=True)
    found = last_tag_push(github)
    assert found.commit == commit
    assert github.deliveries[0].payload["after"] not in {commit, "0" * 40}
    assert github.deliveries[0].payload["base_ref"] == "refs/heads/main"


async def test_a_moved_tag_names_both_commits_and_creates_nothing(github: LocalGitHub) -> None:
    old = await github.tag(REPO, "v1.0.0")
    await github.commit(REPO, {"new": "file"})
    github.deliveries.clear()
    new = await github.tag(REPO, "v1.0.0", force=True)
    found = last_tag_push(github)
    assert (found.kind, found.commit) == (TagChange.MOVED, new)
    assert [sent.event for sent in github.deliveries] == ["push"]
    assert github.deliveries[0].payload["before"] == old
    assert github.deliveries[0].payload["forced"] is False
    await github.tag(REPO, "v1.0.0", at=old, force=True)
    assert github.deliveries[-1].payload["forced"] is True


async def test_moving_a_tag_without_force_is_refused_as_git_refuses_it(github: LocalGitHub) -> None:
    await github.tag(REPO, "v1.0.0")
    await github.commit(REPO, {"new": "file"})
    sent = len(github.deliveries)
    with pytest.raises(GitFailed, match="already exists"):
        await github.tag(REPO, "v1.0.0")
    assert len(github.deliveries) == sent


async def test_pushing_the_same_tag_again_sends_nothing(github: LocalGitHub) -> None:
    await github.tag(REPO, "v1.0.0")
    sent = len(github.deliveries)
    await github.push(REPO, "refs/tags/v1.0.0")
    assert len(github.deliveries) == sent


async def test_a_deleted_tag_has_no_commit(github: LocalGitHub) -> None:
    old = await github.tag(REPO, "v1.0.0")
    github.deliveries.clear()
    await github.delete_tag(REPO, "v1.0.0")
    found = last_tag_push(github)
    assert (found.kind, found.commit) == (TagChange.DELETED, None)
    assert github.deliveries[0].payload["before"] == old
    assert [sent.event for sent in github.deliveries] == ["push", "delete"]


async def test_a_branch_push_is_told_too(github: LocalGitHub) -> None:
    commit = await github.commit(REPO, {"new": "file"})
    assert [(sent.event, sent.payload["ref"], sent.payload["after"]) for sent in github.deliveries] == [
        ("push", "refs/heads/main", commit)
    ]


@pytest.mark.parametrize(("tags", "events"), [(3, {"push": 3, "create": 3}), (4, {})])
async def test_more_than_three_tags_at_once_send_nothing(
    github: LocalGitHub, tags: int, events: dict[str, int]
) -> None:
    names = [f"v1.0.{number}" for number in range(tags)]
    for name in names:
        await github.tag(REPO, name, push=False)
    await github.push(REPO, *(f"refs/tags/{name}" for name in names))
    assert Counter(sent.event for sent in github.deliveries) == events


async def test_a_redelivery_has_the_same_guid_and_body(github: LocalGitHub, receiver: Receiver) -> None:
    receiver.status = 500
    await github.tag(REPO, "v1.0.0")
    first = github.deliveries[0]
    assert [attempt.ok for attempt in first.attempts] == [False]
    receiver.status = 200
    assert (await github.redeliver(first.guid)).ok
    again = [body for headers, body in receiver.got if headers["x-github-delivery"] == first.guid]
    assert again == [first.body, first.body]
    assert [attempt.redelivery for attempt in first.attempts] == [False, True]


async def test_a_receiver_that_is_down_gets_no_second_try(github: LocalGitHub, unused_tcp_port: int) -> None:
    github.hooks.url = f"http://127.0.0.1:{unused_tcp_port}/"
    await github.tag(REPO, "v1.0.0")
    assert [[attempt.status for attempt in sent.attempts] for sent in github.deliveries] == [[None], [None]]


async def test_a_form_hook_sends_the_same_push(github: LocalGitHub, receiver: Receiver) -> None:
    github.hooks.form = "form"
    commit = await github.tag(REPO, "v1.0+é")
    headers, body = receiver.got[0]
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert verify_signature([SECRET], body, headers["x-hub-signature-256"]) == 0
    found = parse_event("push", headers["content-type"], body)
    assert isinstance(found, TagPush)
    assert (found.tag, found.commit) == ("v1.0+é", commit)


async def test_a_ping_is_no_tag_push(github: LocalGitHub) -> None:
    await github.ping(REPO)
    await github.hooks.settled()
    assert understood(github.deliveries[0]) == NotATagPush("ping: the webhook reaches us", REPO, None)


async def test_a_private_server_lets_nobody_push_without_the_token(tmp_path: Path) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret=SECRET, token="ghp_x") as github:
        await github.create_repository(REPO)
        await github.tag(REPO, "v1.0.0")
        clone = tmp_path / "clones" / REPO
        with pytest.raises(GitFailed):
            await git(clone, "push", github.remote_url(REPO), "HEAD:refs/heads/other")


# ---------------------------------------------------------------- REST and GraphQL


async def test_tags_come_in_pages_with_their_commits(github: LocalGitHub, http: httpx.AsyncClient) -> None:
    commits = {
        f"v{number}": await github.tag(REPO, f"v{number}", annotated=number % 2 == 0, push=False) for number in range(5)
    }
    await github.push(REPO, "--tags")
    found: list[dict[str, Any]] = []
    url: str | None = "/tags?per_page=2"
    pages = 0
    while url:
        answer = await http.get(url)
        found += answer.json()
        pages += 1
        url = answer.links.get("next", {}).get("url")
    assert pages == 3
    assert {tag["name"]: tag["commit"]["sha"] for tag in found} == commits


async def test_a_ref_of_an_annotated_tag_names_the_tag_object(github: LocalGitHub, http: httpx.AsyncClient) -> None:
    commit = await github.tag(REPO, "v1/rc", annotated=True)
    ref = (await http.get("/git/ref/tags/v1%2Frc")).json()
    assert ref["object"]["type"] == "tag"
    tag = (await http.get(f"/git/tags/{ref['object']['sha']}")).json()
    assert tag["object"]["sha"] == commit
    assert [found["ref"] for found in (await http.get("/git/matching-refs/tags/v1")).json()] == ["refs/tags/v1/rc"]
    assert (await http.get("/commits/tags%2Fv1%2Frc")).json()["sha"] == commit
    assert (await http.get("/git/ref/tags/v1")).status_code == 404
    assert (await http.get("/commits/nothing")).status_code == 422


async def test_graphql_lists_tags_newest_first(github: LocalGitHub, http: httpx.AsyncClient) -> None:
    first = await github.tag(REPO, "v1", annotated=True)
    second = await github.commit(REPO, {"a": "b"}, "the <second> change")
    await github.tag(REPO, "v2")
    query = "query($o:String!,$n:String!,$c:String){repository(owner:$o,name:$n){refs(first:1,after:$c){nodes{name}}}}"
    nodes: list[dict[str, Any]] = []
    cursor = None
    for _ in range(2):
        variables = {"o": "acme", "n": "bre-payments", "c": cursor}
        answer = (await http.post(f"{github.url}/graphql", json={"query": query, "variables": variables})).json()
        refs = answer["data"]["repository"]["refs"]
        nodes += refs["nodes"]
        cursor = refs["pageInfo"]["endCursor"]
    assert not refs["pageInfo"]["hasNextPage"]
    assert [node["name"] for node in nodes] == ["v2", "v1"]
    targets = {node["name"]: node["target"] for node in nodes}
    assert targets["v1"]["target"]["oid"] == first
    assert (targets["v2"]["oid"], targets["v2"]["message"]) == (second, "the <second> change")


async def test_a_status_wants_a_commit_and_is_kept(github: LocalGitHub, http: httpx.AsyncClient) -> None:
    commit = await github.tag(REPO, "v1", annotated=True)
    tag_object = github.deliveries[0].payload["after"]
    status = {"state": "success", "context": "tagship"}
    assert (await http.post(f"/statuses/{tag_object}", json=status)).status_code == 422
    assert (await http.post(f"/statuses/{commit}", json=status)).status_code == 201
    assert github.state.statuses == [{"repo": REPO, "sha": commit, **status}]


async def test_an_archive_is_read_only_with_the_temporary_token(github: LocalGitHub, http: httpx.AsyncClient) -> None:
    commit = await github.tag(REPO, "v1")
    redirect = await http.get(f"/tarball/{commit}")
    assert redirect.status_code == 302
    place = httpx.URL(redirect.headers["location"])
    assert place.port != httpx.URL(github.url).port
    assert (await http.get(place.copy_with(query=None))).status_code == 404
    with tarfile.open(fileobj=io.BytesIO((await http.get(place)).content)) as tar:
        assert f"acme-bre-payments-{commit[:7]}/Dockerfile" in tar.getnames()


async def test_a_swapped_archive_holds_another_commit(github: LocalGitHub, http: httpx.AsyncClient) -> None:
    old = await github.tag(REPO, "v1")
    new = await github.commit(REPO, {"a": "b"})
    github.swap_next_archive(old)
    for expected in (old, new):
        archive = (await http.get(f"/tarball/{new}", follow_redirects=True)).content
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            assert tar.pax_headers["comment"] == expected


# ---------------------------------------------------------------- as programs


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of this checkout for the length of the block; it must end well on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        *arguments,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            yield process
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_the_program_serves_a_folder_and_tells_of_webhooks(tmp_path: Path, receiver: Receiver) -> None:
    example = tmp_path / "example"
    example.mkdir()
    (example / "Dockerfile").write_text("FROM busybox\n")
    given = ("--root", str(tmp_path / "root"), "--webhook-secret", SECRET, "--repository", f"{REPO}={example}")
    async with serve(receiver) as address:
        for round_number in (1, 2):
            async with program("tests.fakes.github", *given, "--webhook-url", f"{address}/hook") as process:
                ready, api, remote = (await line_of(process)).split()
                assert ready == "READY"
                assert remote == f"{api.removeprefix('GITHUB_API_URL=')}/{REPO}.git"
                clone = tmp_path / f"clone-{round_number}"
                await git(tmp_path, "clone", "--quiet", remote, str(clone))
                await git(clone, "tag", f"v{round_number}")
                await git(clone, "push", "--quiet", "origin", f"v{round_number}")
                assert (await line_of(process)).startswith(f"webhook push refs/tags/v{round_number} ")
                assert "202" in await line_of(process)
        assert await git(clone, "tag", "--list") == "v1\nv2"


async def test_the_slack_program_prints_what_arrives() -> None:
    async with program("tests.fakes.slack") as process, httpx.AsyncClient(trust_env=False) as http:
        url = (await line_of(process)).removeprefix("READY SLACK_WEBHOOK_URL=")
        assert (await http.post(url, json={"text": "bre-payments:v1 is built"})).text == "ok"
        assert await line_of(process) == "bre-payments:v1 is built"
