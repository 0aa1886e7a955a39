"""``token``: who may use the API, and for what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from app.cli import find
from app.cli.help import ClientCommand, ExampleGroup
from app.cli.options import Duration, client
from app.cli.text import distance, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.cli.options import Call

ROLES = ("read", "deploy", "admin")


@click.group(
    cls=ExampleGroup,
    examples=(
        "tagship token create ci --role deploy --expires-in 90d",
        "tagship token list",
        "tagship token revoke ci",
    ),
)
def token() -> None:
    """Make, list and revoke tokens; this needs one of an administrator."""


@token.command(
    cls=ClientCommand,
    examples=(
        "tagship token create ci --role deploy --expires-in 90d",
        "TAGSHIP_TOKEN=$(tagship token create dashboard --role read)",
    ),
)
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it is good for; each includes the last.")
@click.option("--expires-in", type=Duration(), help="How long it is valid, as in 12h or 90d; without it, for ever.")
@client
def create(call: Call, *, name: str, role: str, expires_in: int | None) -> None:
    """Make a token and print it to stdout: it is shown this once only."""
    body: dict[str, Any] = {"name": name, "role": role}
    if expires_in is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_in)
        body["expires_at"] = expires_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    answer = call.api.send("POST", "/tokens", body)
    made = call.api.value(answer)
    until = f" until {made['expires_at']}" if made.get("expires_at") else ""
    call.screen.say(f"token {made['id']} ({made['name']}, {made['role']}) is valid{until}; it is not shown again:")
    if call.screen.as_json:
        call.screen.document(answer.content)
    else:
        click.echo(made["token"])


@token.command("list", cls=ClientCommand, examples=("tagship token list", "tagship token list --json"))
@client
def list_tokens(call: Call) -> None:
    """List tokens, newest first; never what they are."""
    found, raw = call.api.items("/tokens")
    if call.screen.as_json:
        call.screen.document(raw)
        return
    now = datetime.now(UTC)
    rows = [
        (
            one["id"],
            one["name"],
            one["role"],
            standing(one, now),
            distance(one.get("created_at"), now),
            distance(one.get("last_used_at"), now),
        )
        for one in found
    ]
    call.screen.table(("id", "name", "role", "valid", "age", "last used"), rows, "there are no tokens")


@token.command(cls=ClientCommand, examples=("tagship token revoke ci", "tagship token revoke 7"))
@click.argument("id_or_name")
@client
def revoke(call: Call, *, id_or_name: str) -> None:
    """Revoke a token for ever; from now on the server refuses it. With --json nothing is printed: the answer is
    empty.
    """
    token_id = find.token(call.api, id_or_name)
    call.screen.document(call.api.send("DELETE", f"/tokens/{token_id}").content)
    call.screen.say(f"token {id_or_name} is revoked")


def standing(token: Mapping[str, Any], now: datetime) -> str:
    """Whether a token is valid at ``now``, and for how long."""
    if token.get("revoked_at"):
        return "revoked"
    expires_at = moment(token.get("expires_at"))
    if expires_at is None:
        return "for ever"
    return "expired" if expires_at <= now else f"for {distance(token['expires_at'], now)}"
