"""Who may call what, and that every change leaves its line in the audit log: for every operation that there is."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog

from app.access.model import Role, hash_of
from app.api.operations import OPERATIONS
from app.deliveries.store import take_in
from app.github.client import GitHubClient
from app.github.payload import parse_event
from app.notices.channels import insert
from app.notices.model import ChannelKind
from app.postgres.pool import transaction
from app.repositories.model import MovedTagPolicy
from app.repositories.recipe import Recipe
from app.repositories.store import insert as insert_repository
from app.web import create_app
from tests.api_client import ADDRESS, ADMIN_TOKEN, api_services, asking, audit_rows, refused_fields, token_for
from tests.factories import VAULT, queue_build
from tests.fakes.github import LocalGitHub
from tests.fakes.slack import LocalSlack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
    from pathlib import Path

    import httpx
    from starlette.types import Message

    from app.api.operation import Operation
    from app.api.services import Services
    from app.postgres.pool import Pool

LOOKING: Final = {"check_repository"}  # asks GitHub, and changes nothing
CHANGING: Final = [operation for operation in OPERATIONS if operation.method != "GET" and operation.id not in LOOKING]
# These need an engine or a webhook, and have their own tests.
ELSEWHERE: Final = ("/products", "/rollouts", "/retention", "DELETE /images/{id}", "POST /repositories/{id}/ping")


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def is_elsewhere(operation: Operation) -> bool:
    return operation.path.startswith(ELSEWHERE) or named(operation).startswith(ELSEWHERE)


HERE: Final = [operation for operation in CHANGING if not is_elsewhere(operation)]


# ---------------------------------------------------------------- who is refused


async def status_of(
    services: Services, operation: Operation, token: str | None
) -> tuple[int, MutableMapping[str, Any]]:
    """Status and problem of a call whose body must not be read."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": operation.method,
        "path": "/api/v1" + operation.path.replace("{id}", "1"),
        "query_string": b"",
        "headers": [] if token is None else [(b"authorization", f"Bearer {token}".encode())],
    }
    await create_app(services)(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def test_a_body_that_its_sender_never_finishes_is_nobodys_error(pool: Pool) -> None:
    sent: list[Message] = []
    coming: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    app = create_app(api_services(pool))
    token = await token_for(pool, Role.ADMIN)
    scope = {"type": "http", "method": "POST", "path": "/api/v1/repositories", "query_string": b""}
    with structlog.testing.capture_logs() as logged:
        await app(scope | {"headers": [(b"authorization", f"Bearer {token}".encode())]}, receive, send)
    assert [entry["event"] for entry in logged] == ["request_abandoned"]
    assert sent[0]["status"] == 400
    assert await audit_rows(pool) == []


@pytest.fixture
async def tokens(pool: Pool) -> dict[str, str | None]:
    """A token of every kind that there is; the names of those that are no good begin with "no"."""
    found: dict[str, str | None] = {role: await token_for(pool, role) for role in Role}
    found |= {"no token": None, "no such": "tagship_nonsense", "no empty": "", "no letters": "é", "no end": "x" * 5000}
    for kind in ("no longer revoked", "no longer expired"):
        found[kind] = await token_for(pool, Role.ADMIN, name=kind)
    async with transaction(pool) as conn:
        await conn.execute("update tokens set revoked_at = now() where name = 'no longer revoked'")
        await conn.execute("update tokens set expires_at = now() where name = 'no longer expired'")
    return found


async def test_without_a_valid_token_or_the_role_every_call_is_refused_before_its_body_is_read(
    pool: Pool, tokens: dict[str, str | None]
) -> None:
    services = api_services(pool)
    for operation in OPERATIONS:
        for kind, token in tokens.items():
            if kind.startswith("no "):
                status, problem = await status_of(services, operation, token)
                assert (status, problem["status"]) == (401, 401), (named(operation), kind)
            elif not Role(kind).allows(operation.role):
                status, problem = await status_of(services, operation, token)
                assert (status, problem["status"]) == (403, 403), (named(operation), kind)
                assert operation.role in problem["detail"]
    assert await audit_rows(pool) == []


def test_every_call_that_changes_something_needs_more_than_the_role_read() -> None:
    assert [named(operation) for operation in CHANGING if operation.role is Role.READ] == []


def test_what_only_administrators_may_do_is_exactly_this() -> None:
    areas = {operation.path.split("/")[1] for operation in OPERATIONS if operation.role is Role.ADMIN}
    assert areas >= {"repositories", "tokens", "channels", "audit"}
    assert areas.isdisjoint({"products", "images", "deliveries", "notices"})


# ---------------------------------------------------------------- every change leaves one line


@dataclass
class Scene:
    """What there is to change."""

    pool: Pool
    github: LocalGitHub
    slack: LocalSlack

    async def repository(self) -> str:
        async with transaction(self.pool) as conn:
            made = await insert_repository(
                conn,
                repo="acme/other",
                image_name="other",
                tag_pattern="*",
                recipe=Recipe(),
                on_moved_tag=MovedTagPolicy.REBUILD,
            )
        assert made is not None
        return f"/repositories/{made.id}"

    async def channel(self) -> str:
        async with transaction(self.pool) as conn:
            made = await insert(
                conn, VAULT, name="ops", kind=ChannelKind.SLACK, url=self.slack.url, events=None, enabled=True
            )
        assert made is not None
        return f"/channels/{made.id}"

    async def image(self) -> str:
        await self.github.create_repository("acme/bre", {"Dockerfile": "FROM busybox\n"})
        await self.github.tag("acme/bre", "v1.0.0")
        image_id, _ = await queue_build(self.pool, tag="v1.0.0")
        return f"/images/{image_id}"

    async def delivery(self) -> str:
        body = b'{"zen": "x"}'
        parsed = parse_event("ping", "application/json", body)
        async with transaction(self.pool) as conn:
            await take_in(conn, guid="g", event="ping", content_type="application/json", body=body, parsed=parsed)
            return f"/deliveries/{await conn.fetchval('select max(id) from deliveries')}"

    async def token(self) -> str:
        await token_for(self.pool, Role.READ, name="to be revoked")
        async with transaction(self.pool) as conn:
            return f"/tokens/{await conn.fetchval('select max(id) from tokens')}"


RECIPES: Final[dict[str, Callable[[Scene], Awaitable[str]]]] = {
    "change_repository": Scene.repository,
    "delete_repository": Scene.repository,
    "cancel_build": Scene.image,
    "rebuild_image": Scene.image,
    "create_image": Scene.image,
    "replay_delivery": Scene.delivery,
    "change_channel": Scene.channel,
    "delete_channel": Scene.channel,
    "test_channel": Scene.channel,
    "revoke_token": Scene.token,
}
BODIES: Final[dict[str, dict[str, Any]]] = {
    "register": {"repo": "acme/bre"},
    "change_repository": {"tag_pattern": "v*"},
    "create_image": {"repo": "acme/bre", "tag": "v1.0.0", "image_name": "another"},
    "create_channel": {"name": "new", "kind": "slack", "url": "https://chat.example.org/hooks/1"},
    "change_channel": {"enabled": False},
    "create_token": {"name": "ci", "role": "deploy"},
}


@pytest.fixture
async def scene(pool: Pool, tmp_path: Path) -> AsyncIterator[Scene]:
    async with LocalGitHub.start(tmp_path, webhook_secret="s") as github, LocalSlack.start() as slack:
        yield Scene(pool, github, slack)


@pytest.mark.parametrize("operation", HERE, ids=lambda operation: operation.id)
async def test_a_change_leaves_one_line_in_the_audit_log_and_a_refused_one_none(
    scene: Scene, operation: Operation
) -> None:
    make, body = RECIPES.get(operation.id), BODIES.get(operation.id)
    made = await make(scene) if make else ""
    path = operation.path.replace("/" + operation.path.split("/")[1] + "/{id}", made)
    github = GitHubClient.open(api_url=scene.github.url)
    services = api_services(scene.pool, github=github)
    token = await token_for(scene.pool, operation.role, name="the caller")
    async with asking(services, token) as api:
        for refused in (
            await api.request(operation.method, operation.path.replace("{id}", "999"), json=body and {"x": 1}),
            await api.request(operation.method, path, content=b"{", headers={"Authorization": "Bearer x"}),
        ):
            assert 400 <= refused.status_code < 500, refused.text
        assert await audit_rows(scene.pool) == []
        answer = await api.request(operation.method, path, json=body)
    await github.close()
    assert answer.status_code == operation.status, answer.text
    [row] = await audit_rows(scene.pool)
    assert (row["actor"], row["via"], row["address"], row["action"]) == ("the caller", "api", ADDRESS, operation.id)
    assert (row["token_id"] is not None, row["subject_name"] != "") == (True, True)


def test_no_change_is_left_out() -> None:
    left_out = {operation.id for operation in HERE} - set(RECIPES) - set(BODIES)
    assert left_out == set(), "say how they are called in RECIPES or BODIES, or where their own tests are"


# ---------------------------------------------------------------- tokens


async def made(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/tokens", json={"name": "ci", "role": "deploy"} | fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_token_is_shown_once_and_only_its_hash_is_stored(pool: Pool) -> None:
    services = api_services(pool)
    async with asking(services) as api:
        answer = await api.post("/tokens", json={"name": "ci", "role": "deploy", "expires_at": "2999-12-31T23:59:59Z"})
        assert answer.headers["cache-control"] == "no-store"
        new = answer.json()
        token = new.pop("token")
        assert (await api.get("/tokens")).json() == [new]
        assert (new["name"], new["role"], new["expires_at"]) == ("ci", "deploy", "2999-12-31T23:59:59.000Z")
        assert (new["last_used_at"], new["revoked_at"]) == (None, None)
    async with asking(services, token) as api:
        assert (await api.get("/images")).status_code == 200
        assert (await api.get("/tokens")).status_code == 403
    async with asking(services) as api:
        assert (await api.get("/tokens")).json()[0]["last_used_at"] is not None
    async with transaction(pool) as conn:
        stored = [
            row["t"]
            for row in await conn.fetch("select t::text from tokens t union all select a::text from audit_log a")
        ]
        assert await conn.fetchval("select hash from tokens") == hash_of(token)
    assert not any(token in row for row in stored)


async def test_a_revoked_token_is_refused_at_once_and_its_name_is_free_again(pool: Pool) -> None:
    services = api_services(pool)
    async with asking(services) as api:
        new = await made(api)
        async with asking(services, new["token"]) as other:
            assert (await other.get("/images")).status_code == 200
            assert (await api.delete(f"/tokens/{new['id']}")).status_code == 204
            assert (await other.get("/images")).status_code == 401
        assert (await api.delete(f"/tokens/{new['id']}")).status_code == 204, "it is gone, as was asked"
        assert (await made(api))["id"] != new["id"]
        assert (await api.delete("/tokens/999")).status_code == 404
    assert [row["action"] for row in await audit_rows(pool)] == ["create_token", "revoke_token", "create_token"]


async def test_an_expired_token_is_refused_at_once(pool: Pool) -> None:
    services = api_services(pool)
    async with asking(services) as api:
        new = await made(api, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    async with asking(services, new["token"]) as api:
        assert (await api.get("/images")).status_code == 200
        async with transaction(pool) as conn:
            await conn.execute("update tokens set expires_at = now()")
        assert (await api.get("/images")).status_code == 401


@pytest.mark.parametrize("name", ["ci", "admin", "Admin"])
async def test_two_valid_tokens_never_share_a_name_nor_is_one_called_as_the_administrator(
    pool: Pool, name: str
) -> None:
    async with asking(api_services(pool)) as api:
        await made(api)
        answer = await api.post("/tokens", json={"name": name, "role": "read"})
    assert (answer.status_code, refused_fields(answer)) == (409, ["name"])
    assert len(await audit_rows(pool)) == 1


BAD_NAMES: Final = [
    "",
    " ",
    " x",
    "x ",
    "a\nb",
    "a\x00b",
    "a\u202eb",
    "a\u200bb",
    "\u2028",
    "é 漢字",
    "\uff41dmin",
    "x" * 101,
    "x" * 1_000_000,
    7,
    None,
    [],
    {},
]
BAD_TIMES: Final = [
    "2001-01-01T00:00:00Z", "tomorrow", "2030-01-01", "2030-01-01T00:00:00", "2030-02-30T00:00:00Z", "1893456000",
    1893456000, True, [], "9999-12-31T23:59:59-14:00", "٢٠٣٠-01-01T00:00:00Z",
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", value) for value in BAD_NAMES),
        *(("role", value) for value in ("", "root", "ADMIN", "admin\n", 1, None, ["read"], "'; drop table tokens; --")),
        *(("expires_at", value) for value in BAD_TIMES),
        *(("token", value) for value in ("mine",)),
        *(("hash", value) for value in ("00",)),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_wrong_field_is_refused_by_name_and_no_token_is_made(pool: Pool, field: str, value: Any) -> None:
    async with asking(api_services(pool)) as api:
        answer = await api.post("/tokens", json={"name": "ci", "role": "read"} | {field: value})
        assert (answer.status_code, refused_fields(answer)) == (422, [field])
        assert len(answer.content) < 2000, "what is refused is not repeated"
        assert (await api.get("/tokens")).json() == []
    assert await audit_rows(pool) == []


@pytest.mark.parametrize("name", ["'; drop table tokens; --", "$(id)", "{{7*7}}", "<script>", "../..", "%00"])
async def test_a_name_is_text_and_nothing_else(pool: Pool, name: str) -> None:
    async with asking(api_services(pool)) as api:
        assert (await made(api, name=name))["name"] == name
        assert [token["name"] for token in (await api.get("/tokens")).json()] == [name]
        assert (await api.get("/audit", params={"subject": "token"})).json()[0]["subject_name"] == name


async def test_tokens_are_listed_by_pages(pool: Pool) -> None:
    for number in range(5):
        await token_for(pool, Role.READ, name=f"t{number}")
    async with asking(api_services(pool)) as api:
        answer, seen = await api.get("/tokens", params={"limit": 2}), []
        while True:
            seen += [token["name"] for token in answer.json()]
            if "next" not in answer.links:
                break
            answer = await api.get(answer.links["next"]["url"])
    assert seen == ["t4", "t3", "t2", "t1", "t0"]


async def test_no_token_is_ever_written_to_the_log(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    services = api_services(pool)
    with structlog.testing.capture_logs() as events, caplog.at_level(logging.DEBUG):
        async with asking(services) as api:
            new = await made(api)
            await api.post("/tokens", json={"name": "ci", "role": new["token"]})
        async with asking(services, new["token"]) as api:
            await api.get("/images")
            await api.get("/tokens")
        async with asking(services, new["token"] + "x") as api:
            await api.get("/images")
    written = repr(events) + "".join(record.getMessage() for record in caplog.records)
    assert new["token"] not in written
    assert ADMIN_TOKEN not in written
