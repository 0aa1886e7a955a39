"""``completion``: the script by which a shell completes this program's commands, options, products and images."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from app.cli.help import ExampleCommand

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "tagship"
VARIABLE = "_TAGSHIP_COMPLETE"


@click.command(
    cls=ExampleCommand,
    examples=(
        "tagship completion bash > ~/.local/share/bash-completion/completions/tagship",
        'eval "$(tagship completion zsh)"',
        "tagship completion fish > ~/.config/fish/completions/tagship.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the completion script for SHELL.

    Products and images are completed by asking the server, with TAGSHIP_URL and TAGSHIP_TOKEN as always.
    """
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(context.find_root().command, {}, PROGRAM, VARIABLE).source())
