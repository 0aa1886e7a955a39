"""The edge of the API: odd and wrong tokens, what every answer tells a browser, streams whose token is taken back."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import httpx
import pytest
import structlog
from pydantic import ValidationError

from app.access.model import Role, new_token
from app.api import auth
from app.api.asking import invalid
from app.api.auth import MOST_WRONG
from app.api.docs import FILES
from app.api.operations import OPERATIONS
from app.api.schema.channels import ChannelIn
from app.postgres.pool import create_pool, transaction
from app.web import create_app
from tests.api_client import ADMIN_TOKEN, api_services, asking, token_for
from tests.factories import claimed_build
from tests.fakes.bad_wire import bad_wire
from tests.fakes.serving import serve
from tests.fault.process import Tagship
from tests.lag import longest_hold, shortest_of
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.api.services import Services
    from app.postgres.pool import Pool

ODD: Final = {
    "nothing": b"",
    "no scheme": ADMIN_TOKEN.encode(),
    "another scheme": b"Basic " + ADMIN_TOKEN.encode(),
    "no token": b"Bearer",
    "blanks": b"Bearer    ",
    "latin": "Bearer é".encode("latin-1"),
    "utf-8": "Bearer 🔑".encode(),
    "nul": b"Bearer \x00",
    "bytes": b"Bearer \xff\xfe",
    "surrogate": b"Bearer \xed\xa0\x80",
    "two": b"Bearer a, Bearer " + ADMIN_TOKEN.encode(),
    "one more": b"Bearer " + ADMIN_TOKEN.encode() + b"x",
    "one less": b"Bearer " + ADMIN_TOKEN.encode()[:-1],
    "huge": b"Bearer " + b"x" * 1_000_000,
    "sql": b"Bearer ' or true --",
}


@asynccontextmanager
async def served(services: Services, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """The application behind a real socket."""
    async with (
        serve(create_app(services)) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE_S) as client,
    ):
        yield client
    await services.sender.close()


# ---------------------------------------------------------------- wrong tokens


@pytest.mark.parametrize("header", ODD.values(), ids=ODD)
async def test_an_odd_authorization_is_a_401_like_any_other(pool: Pool, header: bytes) -> None:
    async with asking(api_services(pool)) as api:
        answer = await api.get("/images", headers={b"Authorization": header})
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def wrong(api: httpx.AsyncClient, times: int) -> list[int]:
    found = []
    for _ in range(times):
        answer = await api.get("/images", headers={"Authorization": f"Bearer {new_token()}"})
        found.append(answer.status_code)
    return found


async def test_after_ten_wrong_tokens_the_next_is_a_429_that_asks_no_database(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_S", 1e6)  # however slow this machine is
    async with bad_wire(database) as wire:
        wired = await create_pool(wire.dsn, size=2)
        async with asking(api_services(wired)) as api:
            with structlog.testing.capture_logs() as logged:
                assert await wrong(api, MOST_WRONG + 1) == [401] * MOST_WRONG + [429]
            wire.broken_beginnings = 1_000
            refused = await api.get("/images", headers={"Authorization": "Bearer tagship_wrong"})
        await wired.close()
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.json()["detail"].startswith("too many wrong tokens")
    assert [entry["event"] for entry in logged] == ["wrong_tokens_throttled"]
    assert "tagship_" not in str(logged)


async def test_right_tokens_of_the_same_address_keep_working(pool: Pool) -> None:
    old = await token_for(pool, Role.READ, name="old")
    async with asking(api_services(pool)) as api:
        await wrong(api, MOST_WRONG + 1)
        for token in (ADMIN_TOKEN, old):
            assert (await api.get("/images", headers={"Authorization": f"Bearer {token}"})).status_code == 200
        async with transaction(pool) as conn:
            await conn.execute("update tokens set revoked_at = now() where name = 'old'")
        assert (await api.get("/images", headers={"Authorization": f"Bearer {old}"})).status_code in {401, 429}
        assert await wrong(api, 1) == [429]


async def test_other_addresses_are_not_asked_to_wait(pool: Pool) -> None:
    app = create_app(api_services(pool))
    for host, expected in (("192.0.2.1", 429), ("192.0.2.2", 401)):
        transport = httpx.ASGITransport(app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://tagship/api/v1") as api:
            assert (await wrong(api, MOST_WRONG + 1 if expected == 429 else 1))[-1] == expected


async def test_asking_without_a_token_counts_for_nothing(pool: Pool) -> None:
    async with asking(api_services(pool)) as api:
        for _ in range(MOST_WRONG + 1):
            assert (await api.get("/images", headers={"Authorization": ""})).status_code == 401
        assert await wrong(api, 1) == [401]


# ---------------------------------------------------------------- what answers tell a browser

EVERYWHERE: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def judge(answer: httpx.Response) -> None:
    where = f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
    for name, value in EVERYWHERE.items():
        assert answer.headers.get_list(name) == [value], where
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy, where
    assert "frame-ancestors 'none'" in policy, where
    assert "unsafe-eval" not in policy, where
    assert [name for name in answer.headers if name.startswith("access-control-")] == [], where


async def test_every_answer_has_the_headers_whatever_it_says(pool: Pool) -> None:
    async with served(api_services(pool), Authorization=f"Bearer {ADMIN_TOKEN}") as client:
        paths = [f"/api/v1{one.path.replace('{id}', '7')}" for one in OPERATIONS if one.method == "GET"]
        paths += ["/healthz", "/readyz", "/nowhere", "/api/v1/nowhere", "/docs", "/openapi.json", "/docs/start.js"]
        seen = set()
        for path in paths:
            answer = await client.get(path)
            judge(answer)
            seen.add(answer.status_code)
            if not path.startswith("/docs"):
                assert answer.headers["Cache-Control"] == "no-store", path
            if not answer.is_success:
                assert answer.headers["content-type"] == "application/problem+json" or path == "/readyz", path
        for answer in (
            await client.get("/api/v1/images", headers={"Authorization": ""}),
            await client.post("/webhooks/github", content=b"{}"),
            await client.post("/api/v1/channels", content=b"{"),
            await client.post("/api/v1/channels", content=b"x" * 2_000_000),
            await client.put("/api/v1/channels"),
            await client.get("/docs/../etc/passwd"),
        ):
            judge(answer)
            seen.add(answer.status_code)
    assert seen >= {200, 400, 401, 404, 405, 413, 500}, "one of what needs an engine crashes without one"


async def test_a_preflight_lets_no_other_origin_in(pool: Pool) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with asking(api_services(pool)) as api:
        for path in ("/api/v1/images", "/webhooks/github", "/openapi.json", "/healthz"):
            for answer in (
                await api.options(f"http://tagship{path}", headers=asked),
                await api.get(f"http://tagship{path}", headers={"Origin": "https://evil.example"}),
            ):
                assert [name for name in answer.headers if name.startswith("access-control-")] == [], path


async def test_https_only_is_said_only_where_people_come_by_https(pool: Pool) -> None:
    for url, said in (("https://tagship.example", True), ("http://tagship.example", False)):
        async with asking(api_services(pool, TAGSHIP_PUBLIC_URL=url)) as api:
            assert ("Strict-Transport-Security" in (await api.get("/images")).headers) is said


async def test_the_page_of_the_documentation_runs_nothing_but_its_own_files(pool: Pool) -> None:
    async with asking(api_services(pool)) as api:
        page = await api.get("http://tagship/docs")
        assert "script-src 'self';" in page.headers["Content-Security-Policy"]
        assert page.text.count("<script") == page.text.count('<script src="docs/')
        assert not re.search(r"\son\w+=|<style|javascript:", page.text)
        for name in FILES:
            assert (await api.get(f"http://tagship/docs/{name}")).status_code == 200


async def test_a_log_as_text_is_plain_text_and_nothing_else(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with asking(api_services(pool)) as api:
        answer = await api.get(f"/images/{claimed.image_id}/log", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    judge(answer)


async def test_the_process_does_not_say_what_serves_it(tmp_path: Path, database: str) -> None:
    environment = {"DATABASE_URL": database, "TAGSHIP_DATA_DIR": str(tmp_path)}
    async with Tagship.start(tmp_path / "log", environment, "serve", "--no-workers", ready=False) as process:

        async def answer() -> httpx.Response | None:
            try:
                return await process.api.get(f"{process.url}/healthz")
            except httpx.TransportError:
                return None

        first = await until(answer, "it answers")
        judge(first)
        assert "server" not in first.headers


# ---------------------------------------------------------------- bodies


async def test_a_body_of_very_many_members_is_refused_before_it_holds_anybody(pool: Pool) -> None:
    body = "{" + ",".join(f'"{number}":1' for number in range(90_000)) + "}"
    async with asking(api_services(pool)) as api:

        async def here() -> None:
            with pytest.raises(ValidationError) as refused:
                ChannelIn.model_validate_json(body)
            invalid(refused.value)

        async def sent() -> None:
            answer = await api.post("/channels", content=body)
            assert (answer.status_code, "3,000 members" in answer.json()["detail"]) == (413, True)

        held = await longest_hold(here)
        assert await shortest_of(3, sent) < held / 3


async def test_a_refusal_does_not_grow_with_what_is_wrong(pool: Pool) -> None:
    many = {f"{number}-{'x' * 300}": number for number in range(2_500)}
    async with asking(api_services(pool)) as api:
        answer = await api.post("/channels", json=many)
    assert answer.status_code == 422
    assert len(answer.content) < 10_000


async def test_as_many_variables_as_a_product_may_have_are_taken(pool: Pool) -> None:
    variables = {f"NAME_{number}": "[{,}]" for number in range(1000)}
    body = {"name": "P", "slug": "p", "port": 1, "env_vars": variables}
    async with asking(api_services(pool)) as api:
        assert (await api.post("/products", json=body)).status_code == 201


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_an_open_stream_ends_when_its_token_does(pool: Pool, how: str) -> None:
    claimed = await claimed_build(pool)
    soon = datetime.now(UTC) + timedelta(hours=1)
    token = await token_for(pool, Role.READ, name="theirs", expires_at=soon if how == "expired" else None)
    path = f"/api/v1/images/{claimed.image_id}/log"
    async with served(api_services(pool)) as client:
        theirs = {"Authorization": f"Bearer {token}"}
        ours = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with client.stream("GET", path, headers=ours) as other, client.stream("GET", path, headers=theirs) as one:
            assert (one.status_code, other.status_code) == (200, 200)
            change = "revoked_at" if how == "revoked" else "expires_at"
            async with transaction(pool) as conn:
                await conn.execute(f"update tokens set {change} = now() where name = 'theirs'")
            async with asyncio.timeout(PATIENCE_S):
                rest = (await one.aread()).decode()
            assert "event: end" not in rest, "the build is not over"
            assert (await client.get(path, headers=theirs)).status_code == 401
            reading = asyncio.create_task(other.aread())
            async with transaction(pool) as conn:
                await conn.execute("update builds set state = 'cancelled', lease_token = null, finished_at = now()")
            assert "event: end" in (await asyncio.wait_for(reading, PATIENCE_S)).decode(), "ours went on to its end"
