"""Logs of many rows, as they are served: never much of them at once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, cast

from app.api.logs import resume_after
from app.api.services import Services
from app.builds import store
from app.builds.log import follow_log
from app.postgres.listen import Wakeups
from app.postgres.pool import transaction
from app.receivers.client import Sender
from app.sealing import Vault
from app.settings import load_settings
from app.web import create_app
from tests.factories import claimed_build

if TYPE_CHECKING:
    from starlette.types import Message

    from app.builds.model import ClaimedBuild
    from app.engine.client import Engine
    from app.github.client import GitHubClient
    from app.postgres.pool import Pool

TOKEN = "0123456789abcdef"
ROW = 'a "quoted" line, a \\ and an é\n\t'.ljust(64 * 1024, "x")
ROWS = 49
MOST_AT_ONCE = 2 * 2**20


async def parts_of(pool: Pool, path: str, accept: str = "*/*") -> tuple[int, list[bytes]]:
    """Status and body of a GET, in the parts in which the application sent it."""
    services = Services(
        settings=load_settings({}),
        pool=pool,
        engine=cast("Engine", None),
        github=cast("GitHubClient", None),
        wakeups=Wakeups(""),
        vault=Vault.from_secret("x"),
        api_token=TOKEN,
        stalled=list,
        stopping=asyncio.Event(),
        sender=Sender(),
        registry=None,
    )
    sent: list[Message] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {TOKEN}".encode()), (b"accept", accept.encode())],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await create_app(services)(scope, receive, send)
    return sent[0]["status"], [message["body"] for message in sent[1:]]


async def build_with_log(pool: Pool, rows: int) -> ClaimedBuild:
    claimed = await claimed_build(pool)
    for seq in range(1, rows + 1):
        async with transaction(pool) as conn:
            assert await store.append_log(conn, claimed.lease, seq, ROW)
    return claimed


async def test_an_image_with_a_long_log_is_sent_in_parts_that_make_one_document(pool: Pool) -> None:
    claimed = await build_with_log(pool, ROWS)
    status, parts = await parts_of(pool, f"/api/v1/images/{claimed.image_id}")
    assert status == 200
    image = json.loads(b"".join(parts))
    assert (image["id"], image["build_status"], image["tag"]) == (claimed.image_id, "building", claimed.tag)
    assert image["build_log"] == ROW * ROWS
    assert max(map(len, parts)) < MOST_AT_ONCE


async def test_an_image_without_a_log_is_the_same_document(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    _, parts = await parts_of(pool, f"/api/v1/images/{claimed.image_id}")
    image = json.loads(b"".join(parts))
    assert image.pop("build_log") == ""
    scope = f"/api/v1/images/{claimed.image_id}/log"
    assert b"".join((await parts_of(pool, scope, "text/plain"))[1]) == b""
    assert image["id"] == claimed.image_id


async def test_a_missing_image_is_a_problem_and_no_half_a_document(pool: Pool) -> None:
    status, parts = await parts_of(pool, "/api/v1/images/1")
    assert status == 404
    assert json.loads(b"".join(parts))["status"] == 404


async def test_a_long_log_as_text_is_sent_in_parts(pool: Pool) -> None:
    claimed = await build_with_log(pool, ROWS)
    _, parts = await parts_of(pool, f"/api/v1/images/{claimed.image_id}/log", "text/plain")
    assert b"".join(parts).decode() == ROW * ROWS
    assert max(map(len, parts)) < MOST_AT_ONCE


async def test_a_long_log_is_followed_row_by_row(pool: Pool) -> None:
    claimed = await build_with_log(pool, ROWS)
    async with transaction(pool) as conn:
        assert await store.fail(conn, claimed.lease, "for a reason")
    seen = [piece.seq async for piece in follow_log(pool, Wakeups(""), claimed.id, 0)]
    assert seen == list(range(1, ROWS + 1))


def test_no_place_in_a_log_lies_beyond_what_a_row_can_be() -> None:
    assert resume_after("7.12", 7) == 12
    for strange in ("7.9999999999999999999", f"7.{2**63}", "7.-1", "7.x", "7.", "8.12", ""):
        assert resume_after(strange, 7) == 0
