"""The local GitHub as a program: ``python -m tests.fakes.github --root DIR --webhook-url URL --webhook-secret S``.

It prints one line when it is ready and one for each webhook it has sent; it stops on SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from tests.fakes.github import LocalGitHub
from tests.fakes.github_hooks import Hooks, Sent


def main() -> None:
    asyncio.run(_run(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.github", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="where the repositories live; kept between runs")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--webhook-url", required=True)
    parser.add_argument("--webhook-secret", required=True)
    parser.add_argument("--token", help="required of every request when given")
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="OWNER/NAME=FOLDER",
        help="make this repository from the files of FOLDER, unless it exists",
    )
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    hooks = Hooks(arguments.webhook_url, arguments.webhook_secret, _tell)
    starting = LocalGitHub.start(
        arguments.root,
        webhook_secret=arguments.webhook_secret,
        token=arguments.token,
        port=arguments.port,
        hooks=hooks,
    )
    async with starting as github:
        for given in arguments.repository:
            repo, _, folder = given.partition("=")
            if github.state.repository(repo) is None:
                await github.create_repository(repo, _files(Path(folder)))
        print(f"READY GITHUB_API_URL={github.url}", *map(github.remote_url, _names(github)), flush=True)
        await stop.wait()


def _names(github: LocalGitHub) -> list[str]:
    return [repository.full_name for repository in github.state.repositories.values()]


def _files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def _tell(sent: Sent) -> None:
    attempt = sent.attempts[-1]
    answer = f"{attempt.status} {attempt.body[:200]}" if attempt.status else f"no answer ({attempt.body})"
    print(f"webhook {sent.event} {sent.payload.get('ref', '')} {sent.guid}: {answer}", flush=True)
