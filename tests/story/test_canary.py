"""Secrets never come out: each is planted, much is done that works and much that fails, and then everything that came
out of it is searched.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import secrets
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.log import configure_logging
from tests.fakes.slack import LocalSlack
from tests.ports import free_port
from tests.registry import PASSWORD, USERNAME, LocalRegistry, local_registry
from tests.waiting import until
from tests.world import SECRET, TOKEN, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from app.engine.client import Engine
    from tests.world import World

pytestmark = pytest.mark.timeout(400)

BROKEN: Final = {"Dockerfile": "FROM busybox\nENV RUN=@RUN@\nRUN env; cat /proc/self/environ; echo no; exit 3\n"}


def canary(name: str) -> str:
    return f"canary-{name}-{secrets.token_hex(12)}"


def forms(value: str) -> set[str]:
    """The ways in which a value may be written; in base64 at each of the three places where it may begin."""
    data = value.encode()
    packed = set()
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
        packed |= {text[4 if shift else 0 : -2], text[4 if shift else 0 : -2].replace("+", "-").replace("/", "_")}
    return {value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1], data.hex(), *packed}


class Planted:
    """The secrets of one story, and what came out of it: texts by where they were found."""

    def __init__(self) -> None:
        names = ("github", "channel", "env", "database", "build-url", "bad-url", "bad-env", "bad-token", "bad-json")
        self.values = {name: canary(name) for name in names}
        self.values |= {"registry": PASSWORD, "webhook": SECRET, "admin": TOKEN, "key": canary("key")}
        self.out: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def leaks(self) -> list[str]:
        """Which secret stands where."""
        return [
            f"{name} in {place}: …{text[max(text.index(form) - 100, 0) : text.index(form) + 20]!r}"
            for name, value in self.values.items()
            for form in forms(value)
            for place, text in self.out.items()
            if form in text
        ]


@pytest.fixture
def planted() -> Planted:
    return Planted()


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """What the process logs, down to what nobody switches on."""
    written = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(configure_logging.__kwdefaults__ or {}, "level", logging.DEBUG)
        patch.setattr(sys, "stderr", written)
        yield written
    configure_logging("console")


@pytest.fixture
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalRegistry]:
    async with local_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def settings(planted: Planted, registry: LocalRegistry) -> dict[str, str]:
    return {
        "GITHUB_TOKEN": planted["github"],
        "REGISTRY": f"{registry.host}/team",
        "REGISTRY_USERNAME": USERNAME,
        "REGISTRY_PASSWORD": PASSWORD,
        "TAGSHIP_SECRET_KEY": planted["key"],
        "TAGSHIP_LOG_FORMAT": "json",
    }


def with_password(dsn: str, password: str) -> str:
    """The same database, with a password in its address, which a server that trusts us does not look at."""
    parts = urlsplit(dsn)
    if parts.password is not None:
        return dsn
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{password}@{host}").geturl()


@pytest.mark.parametrize("before", ["", "x", "xy", "user:"])
def test_a_secret_is_found_in_every_form(planted: Planted, before: str) -> None:
    value = planted["env"]
    written = [f"{before}{value}", quote(f"{before}/{value}"), f"{before}{value}".encode().hex()]
    written.append(base64.b64encode(f"{before}{value}, and more".encode()).decode())
    for text in written:
        planted.out = {"here": f"something {text} else"}
        assert planted.leaks(), text
    planted.out = {"here": f"something {value[:-8]} else"}
    assert planted.leaks() == []


async def test_no_secret_comes_out_whatever_works_and_whatever_fails(
    tmp_path: Path,
    database: str,
    engine: Engine,
    registry: LocalRegistry,
    settings: dict[str, str],
    planted: Planted,
) -> None:
    dsn = with_password(database, planted["database"])
    with everything_logged() as written:
        await the_story(tmp_path, dsn, registry, settings, planted)
    planted.out["the log"] = written.getvalue()
    for event in ("build_failed", "request_crashed", "notice_failed", "wrong_tokens_throttled"):
        assert event in planted.out["the log"], f"the story did not come to {event}"
    assert len(planted.out) > 40
    assert planted.leaks() == []


async def the_story(
    folder: Path, dsn: str, registry: LocalRegistry, settings: dict[str, str], planted: Planted
) -> None:
    async with LocalSlack.start() as other, new_world(folder, dsn, **settings) as world:
        slack_path = urlsplit(world.slack.url).path.rpartition("/")[2]
        planted.values["slack"] = slack_path
        await what_works(world, planted, other)
        await what_fails(world, planted, registry)
        await what_is_refused(world, planted)
        await what_crashes(world)
        planted.values |= {f"archive {number}": token for number, token in enumerate(world.github.state.archive_tokens)}
        await answers(world, planted)
        await programs(world, planted, settings | {"DATABASE_URL": dsn, "TAGSHIP_DATA_DIR": str(folder / "data")})
        planted.out["the database"] = await database_dump(world)
        messages = [message.payload for slack in (world.slack, other) for message in slack.messages]
        planted.out["notices"] = json.dumps(messages)
        assert len(messages) > 5
        while world.slack.unread:
            await world.told()


async def what_works(world: World, planted: Planted, other: LocalSlack) -> None:
    """A tag becomes a product with secret values; a channel whose address is a secret is told."""
    for name, url in (("well", other.url), ("gone", f"http://127.0.0.1:{free_port()}/hook")):
        body = {"name": name, "kind": "slack", "url": f"{url}?key={planted['channel']}"}
        await world.post("/channels", body, 201)
    signs = {"name": "signs", "kind": "webhook", "url": f"{other.url}?key={planted['channel']}"}
    signed = await world.post("/channels", signs, 201)
    planted.values["signing"] = signed["secret"].removeprefix("whsec_")
    issued = await world.post("/tokens", {"name": "issued", "role": "read"}, 201)
    planted.values["issued"] = issued["token"]
    product = await world.running("allianz", env_vars={"CUSTOMER": "allianz", "PASSWORD": planted["env"]}, track="^1")
    await world.api.patch(f"/products/{product['id']}", json={"replicas": 1, "name": "Allianz AG"})
    tested = await world.post("/channels/1/test", None, 200)
    assert tested["sent"]


async def what_fails(world: World, planted: Planted, registry: LocalRegistry) -> None:
    """A recipe that is wrong, receivers that refuse and repeat what they were sent, a registry that shuts us out."""
    world.slack.fail_next(500, world.slack.url)
    world.slack.fail_next(404, f"no {world.slack.url}")
    await world.release("v1.1.0", BROKEN)
    await world.image_is("v1.1.0", "failed")
    planted.values["registry, later"] = registry.change_password()
    await world.release("v1.2.0")
    await world.image_is("v1.2.0", "failed")

    async def given_up() -> bool:
        return bool(await world.get("/notices?state=failed"))

    await until(given_up, "a notice has failed")


async def what_is_refused(world: World, planted: Planted) -> None:
    """Requests that hold a secret in the wrong place; their answers are searched, too."""
    shape = {"name": "x", "slug": "x", "port": free_port()}
    sent: list[tuple[str, Any]] = [
        ("/channels", {"name": "x", "kind": "slack", "url": f"https://u:{planted['bad-url']}@h/"}),
        ("/channels", {"name": "x", "kind": "slack", "url": f"ftp://h/{planted['bad-url']}"}),
        ("/channels", {"name": "x", "kind": "slack", "url": f"http://169.254.169.254/{planted['bad-url']}"}),
        ("/products", shape | {"env_vars": {"A": planted["bad-env"] + "{{"}}),
        ("/products", shape | {"env_vars": {"A": planted["bad-env"] + "\x00"}}),
        ("/products", shape | {"env_vars": {"A": [planted["bad-env"]]}}),
        ("/tokens", {"name": "issued", "role": planted["bad-json"]}),
    ]
    for number, (path, body) in enumerate(sent):
        answer = await world.api.post(path, json=body)
        assert answer.is_client_error, answer.text
        planted.out[f"refusal {number} of {path}"] = answer.text
    broken = await world.api.post("/products", content=f'{{"env_vars": "{planted["bad-json"]}')
    headers = {"Authorization": f"Bearer {planted['bad-token']}"}
    wrong = [await world.api.get("/images", headers=headers) for _ in range(12)]
    assert {answer.status_code for answer in wrong} == {401, 429}
    forged = await world.outside.post(
        f"{world.url}/webhooks/github", content=b"{}", headers={"X-Hub-Signature-256": "sha256=" + "0" * 64}
    )
    for name, answer in (
        ("broken JSON", broken),
        ("wrong token", wrong[0]),
        ("throttled", wrong[-1]),
        ("forged", forged),
    ):
        planted.out[name] = f"{answer.headers}{answer.text}"


async def what_crashes(world: World) -> None:
    """A handler and a worker that meet a table which is not there."""
    async with world.services.pool.acquire() as conn:
        await conn.execute("alter table audit_log rename to elsewhere")
        answer = await world.api.post("/channels", json={"name": "y", "kind": "slack", "url": "http://127.0.0.1:9/x"})
        await conn.execute("alter table elsewhere rename to audit_log")
    assert answer.status_code == 500, answer.text


async def answers(world: World, planted: Planted) -> None:
    """Every GET of the OpenAPI document, of each thing that there is."""
    document = (await world.outside.get(f"{world.url}/openapi.json")).json()
    asked = {"/images/github-tags": f"?repo={world.repo}", "/images/{name}/impact": "?tag=v9.0.0"}
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        below = path.removeprefix("/api/v1")
        for number in range(1, 5) if "{id}" in path else (0,):
            filled = below.replace("{id}", str(number)).replace("{name}", world.image) + asked.get(below, "")
            for accept in ("application/json", "text/plain", "text/event-stream"):
                answer = await world.api.get(filled, headers={"Accept": accept})
                assert answer.status_code != 500, answer.text
                planted.out[f"GET {filled} as {accept}"] = f"{answer.headers}{answer.text}"
    for part in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        planted.out[part] = (await world.outside.get(world.url + part)).text


async def programs(world: World, planted: Planted, settings: dict[str, str]) -> None:
    """The doctor, also with settings that do not work, and the command line."""
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    planted.values |= {f"app key {number}": line for number, line in enumerate(pem.splitlines()[1:-1])}
    service = settings | {
        "GITHUB_API_URL": world.github.url,
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "SLACK_WEBHOOK_URL": world.slack.url,
        "TAGSHIP_API_TOKEN": TOKEN,
    }
    app = {name: text for name, text in service.items() if name != "GITHUB_TOKEN"}
    app |= {"GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": pem}
    away = with_password(f"postgresql://tagship@127.0.0.1:{free_port()}/tagship", planted["database"])
    client = {"TAGSHIP_URL": world.url, "TAGSHIP_TOKEN": TOKEN}
    runs: list[tuple[str, dict[str, str]]] = [
        ("doctor", service),
        ("doctor", app),
        ("doctor", service | {"DATABASE_URL": away, "DOCKER_HOST": "unix:///nowhere"}),
        ("serve", service | {"DATABASE_URL": away}),
        ("serve", service | {"TAGSHIP_PORT": TOKEN, "GITHUB_APP_PRIVATE_KEY": planted["key"]}),
        (f"ps allianz-{world.run} --json", client),
        ("ps --json", client),
        ("rollback nobody --json", client),
        (f"impact {world.image}:v9.0.0 --json", client | {"TAGSHIP_TOKEN": planted["bad-token"]}),
        (f"build {world.repo} v1.0.0 --json", client),
    ]
    said = await asyncio.gather(*(run(arguments.split(), environment) for arguments, environment in runs))
    for number, ((arguments, _), text) in enumerate(zip(runs, said, strict=True)):
        assert text.strip(), arguments
        planted.out[f"tagship {arguments} ({number})"] = text


async def run(arguments: list[str], environment: dict[str, str]) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *arguments),
        env=kept | {"HOME": "/nonexistent"} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(program.communicate(), 120)
    return said.decode()


async def database_dump(world: World) -> str:
    """Every row of every table as text; what is sealed is in it as it is stored."""
    async with world.services.pool.acquire() as conn:
        tables = await conn.fetch("select tablename from pg_tables where schemaname = 'public'")
        rows = [
            row["text"] for table in tables for row in await conn.fetch(f'select t::text as text from "{table[0]}" t')
        ]
    assert any("v1:" in row for row in rows), "something is sealed"
    return "\n".join(rows)
