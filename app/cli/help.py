"""Commands whose help shows examples, and what their exit codes mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from app.cli.ending import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ExampleCommand(click.Command):
    """A command that must show examples; ``exit_codes`` are listed below them."""

    def __init__(
        self, *args: Any, examples: Sequence[str], exit_codes: Mapping[int, str] | None = None, **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.examples, self.exit_codes = examples, exit_codes or {}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the examples and the exit codes behind the options."""
        _write(formatter, self.examples, self.exit_codes)


class ExampleGroup(ExampleCommand, click.Group):
    """A group that must show examples, too."""


class ClientCommand(ExampleCommand):
    """A command that asks a running server: it ends with one of ``app.cli.ending``'s exit codes."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, exit_codes=MEANINGS, **attributes)


def _write(formatter: click.HelpFormatter, examples: Sequence[str], exit_codes: Mapping[int, str]) -> None:
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{' ' * formatter.current_indent}{example}\n")
    if exit_codes:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in exit_codes.items()])
