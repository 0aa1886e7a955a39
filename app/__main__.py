"""The command line: reads arguments and settings, and leaves the work to ``app.serving``, or to a running server
(``app.cli``).

Exit codes: 0 done, 1 something needed does not work, 2 the settings or arguments are wrong; the client commands have
more (``app.cli.ending``).
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from app.cli.commands import CLIENT_COMMANDS
from app.cli.ending import MEANINGS
from app.cli.help import ExampleCommand, ExampleGroup
from app.errors import AppError, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from app.settings import Settings

Result = TypeVar("Result")


def admin_token_file() -> Path:
    """Where a server of this machine keeps its administrator's token, by the settings of this environment."""
    from app.settings import default_data_dir  # noqa: PLC0415

    return Path(os.environ.get("TAGSHIP_DATA_DIR", "").strip() or default_data_dir()) / "admin-token"


@click.group(
    cls=ExampleGroup,
    commands=CLIENT_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "obj": admin_token_file},
    examples=(
        "tagship doctor",
        "tagship serve",
        "tagship build acme/bre-payments v1.4.0 --follow",
        "tagship deploy allianz bre-payments:v1.4.0",
    ),
    exit_codes=MEANINGS,
)
@click.version_option(package_name="tagship")
def main() -> None:
    """Push a tag, ship the image.

    serve, worker, migrate and doctor are the service, set up by the environment (see the README). The other commands
    ask a running one: TAGSHIP_URL says where it is (http://127.0.0.1:8004), TAGSHIP_TOKEN who asks; beside the server
    the administrator's token is found in TAGSHIP_DATA_DIR.
    """


@main.command(cls=ExampleCommand, examples=("tagship serve", "TAGSHIP_PORT=8080 tagship serve --no-workers"))
@click.option("--no-workers", is_flag=True, help="Answer requests only; `tagship worker` elsewhere does the work.")
def serve(*, no_workers: bool) -> None:
    """Run the web application and, unless told not to, the workers."""
    from app.serving import serve as run  # noqa: PLC0415 - the import takes a second that --help should not

    _run(run(_settings(), with_workers=not no_workers))


@main.command(cls=ExampleCommand, examples=("tagship worker", "tagship worker --port 9004"))
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Answer /metrics, /healthz and /readyz on this port of TAGSHIP_HOST, and nothing else.",
)
def worker(port: int | None) -> None:
    """Run the workers only."""
    from app.serving import work  # noqa: PLC0415

    _run(work(_settings(), port=port))


@main.command("migrate", cls=ExampleCommand, examples=("tagship migrate",))
def migrate_command() -> None:
    """Bring the database's schema up to date."""
    from app.main import database  # noqa: PLC0415
    from app.postgres.migrate import migrate  # noqa: PLC0415

    async def run() -> None:
        async with database(_settings()) as dsn:
            applied = await migrate(dsn)
        click.echo("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")

    _run(run())


@main.command(cls=ExampleCommand, examples=("tagship doctor",))
def doctor() -> None:
    """Look at every part; say what is wrong and how to mend it."""
    from app.doctor import examine  # noqa: PLC0415

    async def run() -> bool:
        findings = await examine(_settings())
        for found in findings:
            mark = "ok  " if found.ok else ("FAIL" if found.needed else "warn")
            click.echo(f"{mark} {found.part:<9} {found.sentence}")
        return all(found.ok or not found.needed for found in findings)

    if not _run(run()):
        sys.exit(1)


def _settings() -> Settings:
    """The settings of the environment, with logging set up by them; exit 2 with every problem when they are wrong."""
    from app.log import configure_logging  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    try:
        settings = load_settings(os.environ)
    except SettingsInvalid as error:
        for problem in error.problems:
            click.echo(f"tagship: {problem}", err=True)
        sys.exit(2)
    configure_logging(settings.tagship_log_format, secrets=settings.secret_values())
    return settings


def _run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; a failure we know is one sentence and exit 1."""
    try:
        return asyncio.run(coroutine)
    except SettingsInvalid as error:
        for problem in error.problems:
            click.echo(f"tagship: {problem}", err=True)
        sys.exit(2)
    except AppError as error:
        click.echo(f"tagship: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
