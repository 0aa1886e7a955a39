"""What is looked at when somebody asks how Tagship is: every part in a sentence, and how to mend it. The command
`tagship doctor` opens the parts by itself; a running process has them open.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import asyncpg

from app.errors import AppError
from app.postgres.migrate import plan, read_migrations
from app.postgres.queries import sql_folder
from app.reconcile.hooks import PATH, our_hook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from app.deliveries.model import Delivery
    from app.engine.client import Engine
    from app.github.answers import Hook, HookResponse
    from app.github.client import GitHubClient
    from app.postgres.pool import Connection, Dedicated
    from app.registry.client import RegistryClient
    from app.reports.store import Refusal
    from app.repositories.model import Repository
    from app.settings import Settings

MIB: Final = 1024**2
GIB: Final = 1024**3
LEAST_FREE_BYTES: Final = 2 * GIB
MOST_REFUSALS: Final = 100
PATIENCE_S: Final = 60.0  # an embedded server may have to be started first
LONGEST_MESSAGE: Final = 200
UNAUTHORIZED: Final = 401
GITHUB_COM: Final = "https://api.github.com"
PRIVATE_NAMES: Final = (".local", ".internal", ".localhost", ".test")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``needed`` parts that fail make ``doctor`` fail; others are advice."""

    part: str
    ok: bool
    sentence: str
    needed: bool = True


async def tried(part: str, look: Callable[[], Awaitable[Finding]], *, patience_s: float = PATIENCE_S) -> Finding:
    """What a look found, or why it could not be had within the time that anybody waits for it."""
    try:
        async with asyncio.timeout(patience_s):
            return await look()
    except AppError as error:
        return Finding(part, ok=False, sentence=str(error))
    except TimeoutError:
        return Finding(part, ok=False, sentence=f"it gave no answer within {patience_s:.0f} s")


async def database_finding(settings: Settings, conn: Connection | Dedicated) -> Finding:
    """Which database answers, and whether it has our schema."""
    version = await conn.fetchval("show server_version")
    waiting = len(plan(read_migrations(sql_folder() / "migrations"), await _applied(conn)))
    kind = "embedded" if settings.database_url is None else "from DATABASE_URL"
    schema = f"{waiting} migration{'s' * (waiting != 1)} to apply, run `tagship migrate`" if waiting else "up to date"
    return Finding("database", ok=True, sentence=f"PostgreSQL {version}, {kind}, schema: {schema}")


async def _applied(conn: Connection | Dedicated) -> dict[int, tuple[str, str]]:
    """Name and checksum of each migration that the database has had, by version."""
    if await conn.fetchval("select to_regclass('schema_migrations')") is None:
        return {}
    rows = await conn.fetch("select version, name, checksum from schema_migrations")
    return {row["version"]: (row["name"], row["checksum"]) for row in rows}


async def engine_finding(engine: Engine) -> Finding:
    """Which engine answers, and where."""
    info = await engine.describe()
    version = ".".join(map(str, info.api_version))
    return Finding("engine", ok=True, sentence=f"Docker {info.version} (API {version}) at {engine.host}")


async def swarm_finding(settings: Settings, engine: Engine) -> Finding:
    """Whether the swarm can run what we build."""
    info = await engine.describe()
    if not info.swarm_active or not info.swarm_manager:
        return Finding(
            "swarm", ok=False, sentence="the engine is not a manager of a swarm; run `docker swarm init` on it"
        )
    if info.nodes > 1 and settings.registry is None:
        sentence = f"{info.nodes} nodes, and images are only on this engine: set REGISTRY, or remove the other nodes"
        return Finding("swarm", ok=False, sentence=sentence)
    if not info.ipvs:
        sentence = "active; this kernel lacks IPVS, so ports answer only with publish_mode host"
        return Finding("swarm", ok=True, sentence=sentence)
    nodes = "one node" if info.nodes == 1 else f"{info.nodes} nodes"
    return Finding("swarm", ok=True, sentence=f"active, {nodes}")


async def github_finding(github: GitHubClient) -> Finding:
    """Whether GitHub answers us, and as whom."""
    return Finding("github", ok=True, sentence=await github.check())


async def reports_finding(settings: Settings, read: Callable[[], Awaitable[list[Refusal]]]) -> Finding:
    """Whether builds and rollouts are told to GitHub, and where it refused that; advice at most."""
    if settings.tagship_github_reports == "off":
        return Finding("reports", ok=True, sentence="GitHub is told nothing: TAGSHIP_GITHUB_REPORTS is off")
    if not settings.reports_to_github:
        sentence = "GitHub is told nothing: that needs GITHUB_TOKEN or a GitHub App"
        return Finding("reports", ok=True, sentence=sentence)
    try:
        refused = await read()
    except (AppError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        sentence = "where GitHub refuses reports is not known without the database"
        return Finding("reports", ok=False, sentence=sentence, needed=False)
    if not refused:
        return Finding("reports", ok=True, sentence="builds are commit statuses on GitHub, and rollouts deployments")
    first = refused[0]
    count = f"{MOST_REFUSALS} or more" if len(refused) == MOST_REFUSALS else str(len(refused))
    since, again = (f"{time:%Y-%m-%d %H:%M} UTC" for time in (first.refused_at, first.retry_at))
    sentence = (
        f"GitHub refused {count} kind{'s' * (len(refused) != 1)} of report, so they are left out: {first.kind} of"
        f" {first.repo} since {since}, tried again at {again} ({first.reason}); let our credentials write commit"
        " statuses and deployments, or set TAGSHIP_GITHUB_REPORTS=off"
    )
    return Finding("reports", ok=False, sentence=sentence, needed=False)


async def registry_finding(registry: RegistryClient | None) -> Finding:
    """Whether the registry takes our images."""
    if registry is None:
        return Finding("registry", ok=True, sentence="none configured; images stay on this engine")
    return Finding("registry", ok=True, sentence=await registry.check())


REFUSES_ALL: Final = "no secret: set GITHUB_WEBHOOK_SECRET, or every delivery is refused"


def webhook_finding(settings: Settings) -> Finding:
    """Whether deliveries can be checked, and where they go."""
    if not settings.webhook_secrets:
        return Finding("webhook", ok=False, sentence=REFUSES_ALL)
    return Finding("webhook", ok=True, sentence=f"deliveries go to {settings.public_url}{PATH}")


def secret_finding(settings: Settings) -> Finding:
    """Whether there is a secret by which deliveries can be checked."""
    if not settings.webhook_secrets:
        return Finding("secret", ok=False, sentence=REFUSES_ALL)
    return Finding("secret", ok=True, sentence="GITHUB_WEBHOOK_SECRET is set; GitHub must have the same")


async def disk_finding(settings: Settings, engine: Engine) -> Finding:
    """Room for our own files, and for the engine's where they are on this machine; advice, for it may suffice."""
    places = [(_free_bytes(settings.tagship_data_dir), str(settings.tagship_data_dir))]
    if (folder := await _data_of(engine)) is not None:
        places.append((_free_bytes(folder), f"{folder} (the engine's)"))
    said = ", ".join(f"{_size(free)} free under {place}" for free, place in places)
    short = [place for free, place in places if free < LEAST_FREE_BYTES]
    if not short:
        return Finding("disk", ok=True, sentence=said)
    return Finding("disk", ok=False, sentence=f"only {said}; make room under {' and '.join(short)}", needed=False)


async def _data_of(engine: Engine) -> Path | None:
    """Where the engine keeps its images, if it can be looked at: it runs here, and we may."""
    if not engine.host.startswith("unix://"):
        return None
    try:
        told = (await engine.call("describe itself", "info")).get("DockerRootDir")
    except AppError:
        return None
    return Path(told) if told and os.access(told, os.R_OK | os.X_OK) else None


def _free_bytes(folder: Path) -> int:
    """What is free where the folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"


def reachable_finding(settings: Settings) -> Finding:
    """Whether GitHub could know our address at all: github.com only knows the internet, a server of one's own may stand
    beside us.
    """
    url, host = settings.public_url, urlsplit(settings.public_url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        is_here = host == "localhost" or host.endswith(".localhost")
        is_public = "." in host and not host.endswith(PRIVATE_NAMES)
    else:
        is_here, is_public = address.is_loopback or address.is_unspecified, address.is_global
    if settings.github_api_url == GITHUB_COM and not is_public:
        sentence = f"{url} is no address of the internet: GitHub cannot deliver to it; set TAGSHIP_PUBLIC_URL"
    elif is_here:
        sentence = f"{url} leads to this machine only: a GitHub elsewhere cannot deliver to it; set TAGSHIP_PUBLIC_URL"
    else:
        return Finding("address", ok=True, sentence=f"people and GitHub reach this at {url}")
    return Finding("address", ok=False, sentence=sentence, needed=False)


def look_finding(repository: Repository) -> Finding:
    """Whether GitHub lists the repository's tags for us."""
    if repository.look_error is not None:
        return Finding("tags", ok=False, sentence=repository.look_error)
    if repository.last_looked_at is None:
        return Finding("tags", ok=True, sentence="GitHub has not been asked for its tags yet")
    sentence = f"GitHub listed its tags at {repository.last_looked_at:%Y-%m-%d %H:%M:%S} UTC"
    return Finding("tags", ok=True, sentence=sentence)


def hook_findings(hooks: Sequence[Hook], repo: str, public_url: str) -> list[Finding]:
    """Whether one of a repository's webhooks delivers its tags to us, and how we answered it last."""
    hook = our_hook(hooks, public_url)
    if hook is None:
        sentence = f"{repo} has no webhook that leads to {public_url}{PATH}; add it on GitHub: Settings, Webhooks"
        return [Finding("webhook", ok=False, sentence=sentence)]
    if not hook.config.url.startswith(f"{public_url}/"):
        sentence = f"its webhook leads to another Tagship; ours is {public_url}{PATH}"
        return [Finding("webhook", ok=False, sentence=sentence)]
    return [_hook_finding(hook), *_answer_findings(hook.last_response)]


def _hook_finding(hook: Hook) -> Finding:
    if not hook.active:
        return Finding("webhook", ok=False, sentence="its webhook is switched off; make it active on GitHub")
    if hook.events and not {"push", "*"} & set(hook.events):
        sentence = "its webhook does not send pushes; choose the push event on GitHub"
        return Finding("webhook", ok=False, sentence=sentence)
    return Finding("webhook", ok=True, sentence="GitHub has its webhook, active, and sends pushes here")


def _answer_findings(last: HookResponse | None) -> list[Finding]:
    """What GitHub got for the webhook's last delivery; nothing of a webhook that delivered none. Advice, since whatever
    was wrong may be mended meanwhile.
    """
    if last is None or last.code is None:
        return []
    if 200 <= last.code < 300:  # noqa: PLR2004
        return [Finding("answer", ok=True, sentence=f"GitHub's last delivery was answered {last.code}")]
    if last.code == UNAUTHORIZED:
        sentence = "GitHub's last delivery was refused: its secret is not one of GITHUB_WEBHOOK_SECRET"
    else:
        told = f" ({last.message[:LONGEST_MESSAGE]})" if last.message else ""
        sentence = (
            f"GitHub's last delivery failed with {last.code}{told}; Recent Deliveries on the webhook's page at GitHub"
            " show what it got"
        )
    return [Finding("answer", ok=False, sentence=sentence, needed=False)]


def unseen_hook_finding() -> Finding:
    """Without credentials nobody is shown a repository's webhooks."""
    sentence = "without GITHUB_TOKEN or a GitHub App it is not known whether GitHub has a webhook that leads here"
    return Finding("webhook", ok=False, sentence=sentence, needed=False)


def ping_finding(arrived: Delivery | None, waited_s: float) -> Finding:
    """Whether the ping that GitHub was asked for has come."""
    if arrived is None:
        sentence = (
            f"GitHub's ping did not arrive within {waited_s:.0f} s; Recent Deliveries on the webhook's page at GitHub"
            " show what it got"
        )
        return Finding("ping", ok=False, sentence=sentence)
    return Finding("ping", ok=True, sentence="GitHub's ping arrived, signed with the right secret")


def last_delivery_finding(last: Delivery | None) -> Finding:
    """What came last by the webhook."""
    if last is None:
        sentence = "nothing has come from it yet: push a tag, or press Redeliver on the webhook's page at GitHub"
        return Finding("delivery", ok=False, sentence=sentence, needed=False)
    what = f"the last one came at {last.received_at:%Y-%m-%d %H:%M:%S} UTC and was {last.state}"
    return Finding("delivery", ok=True, sentence=f"{what}: {last.reason}" if last.reason else what)
