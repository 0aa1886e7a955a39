"""How fast deliveries are taken in, beside two programs that do less with them, in one run.

The same signed deliveries of 8 to 25 kB, each for a tag of its own, go over 1 and over 64 connections to

* a bare Starlette application that only verifies the signature,
* one that also inserts the body as one row in a transaction of its own, and
* Tagship with its workers, which stores, decides, queues a build and writes the audit log,

each a process of its own, all with one durable PostgreSQL. Prints latency, throughput, what each is of the others, and
Tagship's memory and longest step of its event loop. No engine is needed.

    python -m tests.bench.burst [DELIVERIES]
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.github.signature import verify_signature
from tests.bench.scratch import scratch
from tests.fault.process import Tagship
from tests.load import PATH, Burst, by_status, send
from tests.memory import watched_memory
from tests.ports import free_port
from tests.postgres import execute
from tests.world import SECRET, TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from tests.load import Figures

DELIVERIES: Final = 3000
CONNECTIONS: Final = (1, 64)
REPOS: Final = tuple(f"acme/load-{number}" for number in range(6))
POOL_SIZE: Final = 20


def bare(dsn: str | None) -> Starlette:
    """An application that verifies, and with a database inserts the body too."""
    pools: list[asyncpg.Pool[asyncpg.Record]] = []

    async def take(request: Request) -> Response:
        body = await request.body()
        verify_signature([SECRET], body, request.headers.get("x-hub-signature-256"))
        if dsn is not None:
            if not pools:
                pools.append(await asyncpg.create_pool(dsn, min_size=POOL_SIZE, max_size=POOL_SIZE))
            async with pools[0].acquire() as conn, conn.transaction():
                await conn.execute("insert into bare (body) values ($1)", body)
        return JSONResponse({"outcome": "accepted"}, 202)

    return Starlette(routes=[Route(PATH, take, methods=["POST"])])


@asynccontextmanager
async def bare_process(*arguments: str) -> AsyncIterator[str]:
    """The address of such an application in a process of its own."""
    port = free_port()
    command = (sys.executable, "-m", "tests.bench.burst", "--bare", str(port), *arguments)
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await answering(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def answering(port: int) -> None:
    """Wait until somebody listens."""
    async with asyncio.timeout(60):
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def tagship(folder: Path, dsn: str) -> AsyncIterator[Tagship]:
    """Tagship with the repositories registered; its builds wait, so that only deliveries are measured."""
    environment = {
        "DATABASE_URL": dsn,
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "TAGSHIP_API_TOKEN": TOKEN,
        "TAGSHIP_SECRET_KEY": "bench-secret-key-0123456789",
        "TAGSHIP_DATA_DIR": str(folder / "data"),
        "TAGSHIP_RETENTION_INTERVAL_H": "0",
    }
    async with Tagship.start(folder / "log", environment, module="tests.fault.probed", ready=False) as process:
        await answering(int(process.url.rpartition(":")[2]))
        await process.api.get(f"{process.url}/healthz")  # it listens before it has migrated
        await execute(dsn, "alter table builds alter column run_after set default now() + interval '1 day'")
        for repo in REPOS:
            await process.post("/repositories", {"repo": repo, "tag_pattern": "v*"})
        yield process


async def measured(url: str, seed: int, count: int, connections: int) -> Figures:
    """The figures of one load, after a short one that warms up."""
    burst = Burst(SECRET, REPOS, seed)
    await send(url, burst.plain(100), connections)
    answers, figures = await send(url, Burst(SECRET, REPOS, seed + 1000).plain(count), connections)
    assert by_status(answers).keys() == {202}, by_status(answers)
    return figures


async def compare(folder: Path, dsn: str, count: int) -> None:
    taken: dict[tuple[str, int], Figures] = {}
    await execute(dsn, "create table bare (id bigint generated always as identity primary key, body bytea not null)")
    for name, arguments in (("verify", ()), ("insert", (dsn,))):
        async with bare_process(*arguments) as url:
            for connections in CONNECTIONS:
                taken[name, connections] = await measured(url, 1, count, connections)
    async with tagship(folder, dsn) as ours, watched_memory(ours.process.pid) as memory:
        for seed, connections in enumerate(CONNECTIONS):
            ours.process.send_signal(signal.SIGUSR1)
            # Other tags each time: a tag and commit that is being built is not built again.
            await execute(dsn, "truncate deliveries, docker_images cascade")
            taken["tagship", connections] = await measured(ours.url, 10 + seed, count, connections)
        await ours.terminate()
        held = ours.events("loop_held")[-1]
    for (name, connections), figures in taken.items():
        print(f"{name:<8}{connections:>3} connections: {figures}")
    for name in ("verify", "insert"):
        print(
            f"tagship / {name}: "
            + ", ".join(
                f"{taken['tagship', n].p50 / taken[name, n].p50:.1f} times the p50 and "
                f"{taken[name, n].per_second / taken['tagship', n].per_second:.1f} times the time with {n}"
                for n in CONNECTIONS
            )
        )
    print(memory)
    print(f"longest step: {held['clock_ms']} ms by the clock ({held['by_clock']}),")
    print(f"              {held['processor_ms']} ms of processor time ({held['by_processor']})")


async def main(count: int) -> None:
    async with scratch() as (folder, dsn):
        await compare(folder, dsn, count)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        application = bare(sys.argv[3] if len(sys.argv) > 3 else None)
        uvicorn.run(application, port=int(sys.argv[2]), http="httptools", access_log=False, log_level="error")
    else:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES))
