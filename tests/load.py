"""Load on the webhook: deliveries as GitHub sends them, made and signed in advance, and a client that costs little.

The client writes bytes to keep-alive connections and reads no more of an answer than it must, so that what is measured
is the server.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from app.github.signature import sign

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ZERO: Final = "0" * 40
PATH: Final = "/webhooks/github"
SMALLEST: Final = 8_000
LARGEST: Final = 25_000
RACE: Final = 20  # so far from the first of two comes the other: on another connection, at about the same time
LINKS: Final = (
    *("forks", "keys{/key_id}", "collaborators{/collaborator}", "teams", "hooks", "issues/events{/number}", "events"),
    *("assignees{/user}", "branches{/branch}", "tags", "git/blobs{/sha}", "git/tags{/sha}", "git/refs{/sha}"),
    *("git/trees{/sha}", "statuses/{sha}", "languages", "stargazers", "contributors", "subscribers", "subscription"),
    *("commits{/sha}", "git/commits{/sha}", "comments{/number}", "issues/comments{/number}", "contents/{+path}"),
    *("compare/{base}...{head}", "merges", "{archive_format}{/ref}", "downloads", "issues{/number}", "pulls{/number}"),
    *("milestones{/number}", "notifications{?since,all,participating}", "labels{/name}", "releases{/id}"),
    "deployments",
)


class Kind(StrEnum):
    """What a delivery of the burst must become."""

    ACCEPTED = "accepted"
    TWIN = "twin"  # one of several for the same image and commit: one of them is accepted, the others are ignored
    IGNORED = "ignored"
    MALFORMED = "malformed"
    FORGED = "forged"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it goes over the wire; ``subject`` is the ``repo tag commit`` that it is about."""

    guid: str
    kind: Kind
    subject: str
    wire: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    request: Request
    status: int
    body: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """How long the answers took (milliseconds), and how many came in a second."""

    count: int
    seconds: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, answers: Sequence[Answer], seconds: float) -> Figures:
        cuts = quantiles([answer.seconds * 1000 for answer in answers], n=100)
        return cls(len(answers), seconds, cuts[49], cuts[94], cuts[98])

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.count} in {self.seconds:.1f} s, {self.per_second:.0f}/s; "
            f"p50 {self.p50:.0f} ms, p95 {self.p95:.0f} ms, p99 {self.p99:.0f} ms"
        )


# ------------------------------------------------------------------ what is sent


@dataclass
class Burst:
    """Makes the deliveries of a burst; the same ones for the same ``seed``. Tags of ``repos`` that begin with ``v``
    are registered.
    """

    secret: str
    repos: Sequence[str]
    seed: int = 1
    _placed: list[tuple[int, Request]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def mixed(self, count: int) -> list[Request]:
        """Of a hundred: 10 sent twice, 5 forged, 5 malformed, 15 that lead to nothing, 10 for the same tag and commit
        as another one, 5 that move a tag, and the rest each for a tag of its own.
        """
        for number in range(count // 100):
            for at in range(45):
                first = self._push(f"v{number}.{at}.0", Kind.ACCEPTED)
                if at < 10:
                    self._beside(first)
                elif at < 15:
                    self._push(f"v{number}.{at}.0", Kind.ACCEPTED, like=first, moved=True)
            for at in range(5):
                twin = self._push(f"v{number}.1{at}.1", Kind.TWIN)
                self._push(f"v{number}.1{at}.1", Kind.TWIN, like=twin)
            for at in range(15):
                self._push(f"nightly-{number}-{at}", Kind.IGNORED)
            for at in range(5):
                self._push(f"v{number}.{at}.7", Kind.FORGED)
                self._malformed(at)
            for at in range(5):
                self._push(f"v{number}.{at}.9", Kind.ACCEPTED)
        placed = sorted(self._placed, key=lambda one: one[0])
        return [request for _, request in placed]

    def plain(self, count: int) -> list[Request]:
        """Each one leads to a build of a tag of its own."""
        return [self._push(f"v{number}.0.0", Kind.ACCEPTED) for number in range(count)]

    def _push(self, tag: str, kind: Kind, *, like: Request | None = None, moved: bool = False) -> Request:
        repo = self._random.choice(self.repos) if like is None else like.subject.split()[0]
        commit = f"{self._random.getrandbits(160):040x}" if like is None or moved else like.subject.split()[2]
        before = f"{self._random.getrandbits(160):040x}" if moved else ZERO
        size = self._random.randint(SMALLEST, LARGEST)
        body = json.dumps(push_payload(repo, tag, before, commit, size)).encode()
        secret = "of somebody else" if kind is Kind.FORGED else self.secret
        return self._place(self._request(kind, f"{repo} {tag} {commit}", body, secret), like)

    def _malformed(self, which: int) -> Request:
        body = json.dumps(push_payload(self.repos[0], "v1.0.0", ZERO, "c" * 40, SMALLEST)).encode()
        broken = (
            body[:-100],
            b"[1]" + b" " * SMALLEST,
            body.replace(b'"repository"', b'"repo"'),
            body.replace(b"0000", b"zzzz"),
            b'{"ref":"refs/tags/v1"}',
        )
        return self._place(self._request(Kind.MALFORMED, "", broken[which], self.secret), None)

    def _beside(self, first: Request) -> Request:
        """The same delivery once more."""
        return self._place(first, first)

    def _place(self, request: Request, like: Request | None) -> Request:
        if like is None:
            place = self._random.randrange(1_000_000)
        else:
            place = next(at for at, other in reversed(self._placed) if other is like) + self._random.randint(0, RACE)
        self._placed.append((place, request))
        return request

    def _request(self, kind: Kind, subject: str, body: bytes, secret: str) -> Request:
        guid = str(UUID(int=self._random.getrandbits(128)))
        lines = [
            f"POST {PATH} HTTP/1.1",
            "Host: tagship.example.com",
            "User-Agent: GitHub-Hookshot/044aadd",
            "Accept: */*",
            "Content-Type: application/json",
            "X-GitHub-Event: push",
            f"X-GitHub-Delivery: {guid}",
            "X-GitHub-Hook-ID: 292430182",
            f"X-Hub-Signature-256: {sign(secret, body)}",
            f"Content-Length: {len(body)}",
        ]
        return Request(guid, kind, subject, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def push_payload(repo: str, tag: str, before: str, commit: str, size: int) -> dict[str, Any]:
    """The push event of a tag, of about ``size`` bytes: with the URL templates of GitHub's repository object, and as
    many commits as are needed.
    """
    owner, _, name = repo.partition("/")
    api = f"https://api.github.com/repos/{repo}"
    person = {"name": "Ada Tagger", "email": "ada@example.com", "username": "ada-tagger"}
    head = {
        "id": commit,
        "tree_id": commit[::-1],
        "distinct": True,
        "message": f"Release {tag}\n\n* one thing and another\n* mended a third",
        "timestamp": "2026-11-20T10:11:12+01:00",
        "url": f"https://github.com/{repo}/commit/{commit}",
        "author": person,
        "committer": person,
        "added": ["src/new_module.py"],
        "removed": [],
        "modified": ["pyproject.toml", "src/module.py", "tests/test_module.py"],
    }
    payload = {
        "ref": f"refs/tags/{tag}",
        "before": before,
        "after": commit,
        "repository": {
            "id": 500_000,
            "name": name,
            "full_name": repo,
            "private": True,
            "owner": {"name": owner, "login": owner, "id": 77, "type": "Organization", "site_admin": False},
            "html_url": f"https://github.com/{repo}",
            **{f"{link.partition('{')[0].replace('/', '_') or 'archive'}_url": f"{api}/{link}" for link in LINKS},
            "default_branch": "main",
        },
        "pusher": {"name": "ada-tagger", "email": "ada@example.com"},
        "sender": {"login": "ada-tagger", "id": 9001, "type": "User", "site_admin": False},
        "created": before == ZERO,
        "deleted": False,
        "forced": before != ZERO,
        "base_ref": None if before != ZERO else "refs/heads/main",
        "compare": f"https://github.com/{repo}/compare/{tag}",
        "head_commit": head,
    }
    each, bare = len(json.dumps(head)) + 2, len(json.dumps(payload))
    return payload | {"commits": [head] * max(0, (size - bare) // each)}


# ------------------------------------------------------------------ sending it


async def send(url: str, requests: Iterable[Request], connections: int) -> tuple[list[Answer], Figures]:
    """Send all of them, in order, each on the next connection that is free."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    left = iter(requests)
    answers: list[Answer] = []
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_send_some(address.hostname, address.port, left, answers))
    return answers, Figures.of(answers, time.perf_counter() - began)


async def _send_some(host: str, port: int, left: Iterable[Request], answers: list[Answer]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for request in left:
        if writer.is_closing():
            reader, writer = await asyncio.open_connection(host, port)
        began = time.perf_counter()
        writer.write(request.wire)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").lower()
        body = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
        seconds = time.perf_counter() - began
        answers.append(Answer(request, int(head.split(" ", 2)[1]), json.loads(body), seconds))
        if "\r\nconnection: close" in head:
            writer.close()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def by_status(answers: Iterable[Answer]) -> dict[int, int]:
    """How many answers had each status."""
    return dict(Counter(answer.status for answer in answers))
