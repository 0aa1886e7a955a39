"""Every client command, to be put below the program's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.cli.builds import build, images, logs
from app.cli.completion import completion
from app.cli.products import deploy, impact, ps, rollback, start, stop
from app.cli.tokens import token

if TYPE_CHECKING:
    import click

CLIENT_COMMANDS: Final[tuple[click.Command, ...]] = (
    build,
    logs,
    images,
    deploy,
    rollback,
    start,
    stop,
    ps,
    impact,
    token,
    completion,
)
