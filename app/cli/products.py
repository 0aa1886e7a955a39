"""``deploy``, ``rollback``, ``start``, ``stop``, ``ps`` and ``impact``: what runs where."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from app.cli import find
from app.cli.help import ClientCommand
from app.cli.options import IMAGE, PRODUCT, EnvPair, client, waiting
from app.cli.text import commit, distance
from app.cli.waiting import ROLLOUT_RUNS, settle_rollout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.cli.options import Call, Waiting

SHORT_IMAGE = len("sha256:") + 12
WHAT_MOVES = {True: "rolls out", False: "moves its pin; it does not run"}


@click.command(
    cls=ClientCommand,
    examples=(
        "tagship deploy allianz bre-payments:v1.4.0",
        "tagship deploy allianz --env LOG_LEVEL=debug --env API_KEY --replicas 3",
        "tagship deploy allianz",
    ),
)
@click.argument("product", type=PRODUCT)
@click.argument("image", required=False, type=IMAGE)
@click.option(
    "--env",
    "-e",
    type=EnvPair(),
    multiple=True,
    help="Set this variable, and leave the others; NAME alone takes the value of this shell.",
)
@click.option("--replicas", type=click.IntRange(min=1), help="How many containers shall run.")
@waiting
@client
def deploy(
    call: Call,
    *,
    product: str,
    image: str | None,
    env: tuple[tuple[str, str], ...],
    replicas: int | None,
    waiting: Waiting,
) -> None:
    """Make PRODUCT (a slug or id) run IMAGE (an id or name:tag), with these variables and replicas.

    A stopped product is started. With nothing but its name, all its containers are replaced. Done is: every replica
    runs exactly that image and has stayed up.
    """
    found = find.product(call.api, product)
    path = f"/products/{found['id']}"
    changes: dict[str, Any] = {}
    if image is not None:
        changes["image_id"] = find.image(call.api, image)["id"]
    if env:
        changes["env_vars"] = found["env_vars"] | dict(env)  # the values that come masked are kept by their masks
    if replicas is not None:
        changes["replicas"] = replicas
    if not changes:
        _order(call, f"{path}/redeploy", waiting)
        return
    before = _newest_rollout(call, path)
    changed = call.api.value(call.api.send("PATCH", path, changes))
    newest, last_id = _newest_rollout(call, path), before["id"] if before else 0
    if newest is not None and goes_already(changed, newest, last_id):
        if newest["id"] == last_id and newest["state"] == "done":
            call.screen.say(f"nothing changes; `tagship deploy {found['slug']}` replaces its containers all the same")
        settle_rollout(call, call.api.get(f"/rollouts/{newest['id']}"), waiting)
        return
    _order(call, f"{path}/{'start' if changed['status'] == 'stopped' else 'redeploy'}", waiting)


def goes_already(product: Mapping[str, Any], newest: Mapping[str, Any], before: int) -> bool:
    """Whether a changed product needs no order any more: its newest rollout came of the change, is still under way
    with it, or has made true all that is wanted. ``before`` is the id of the newest rollout before the change.
    """
    if newest["id"] > before:
        return True
    if newest["kind"] != "deploy" or newest["image_id"] != product["image_id"]:
        return False
    return newest["state"] in ROLLOUT_RUNS or (newest["state"] == "done" and product["status"] == "running")


def _newest_rollout(call: Call, path: str) -> dict[str, Any] | None:
    found = call.api.value(call.api.get(f"{path}/rollouts", limit=1), list)
    return found[0] if found else None


def _order(call: Call, path: str, waiting: Waiting, body: Mapping[str, Any] | None = None) -> None:
    """Ask for a rollout and see it through."""
    settle_rollout(call, call.api.send("POST", path, body), waiting)


@click.command(
    cls=ClientCommand,
    examples=("tagship rollback allianz", "tagship rollback allianz --to 41"),
)
@click.argument("product", type=PRODUCT)
@click.option("--to", type=click.IntRange(min=1), help="The id of a rollout that was done; without it, the one before.")
@waiting
@client
def rollback(call: Call, *, product: str, to: int | None, waiting: Waiting) -> None:
    """Make PRODUCT run again what it ran before."""
    found = find.product(call.api, product)
    _order(call, f"/products/{found['id']}/rollback", waiting, {} if to is None else {"to": to})


@click.command(cls=ClientCommand, examples=("tagship start allianz", "tagship start allianz --no-wait"))
@click.argument("product", type=PRODUCT)
@waiting
@client
def start(call: Call, *, product: str, waiting: Waiting) -> None:
    """Start PRODUCT as it is configured."""
    _order(call, f"/products/{find.product(call.api, product)['id']}/start", waiting)


@click.command(cls=ClientCommand, examples=("tagship stop allianz",))
@click.argument("product", type=PRODUCT)
@waiting
@client
def stop(call: Call, *, product: str, waiting: Waiting) -> None:
    """Stop PRODUCT; it keeps its configuration and its port."""
    _order(call, f"/products/{find.product(call.api, product)['id']}/stop", waiting)


@click.command(cls=ClientCommand, examples=("tagship ps", "tagship ps allianz", "tagship ps --json"))
@click.argument("product", required=False, type=PRODUCT)
@client
def ps(call: Call, *, product: str | None) -> None:
    """List products, or the containers of PRODUCT."""
    if product is not None:
        _tasks(call, find.product(call.api, product))
        return
    found, raw = call.api.items("/products")
    if call.screen.as_json:
        call.screen.document(raw)
        return
    now = datetime.now(UTC)
    rows = [
        (
            one["slug"],
            shown_image(one),
            one["status"],
            one["replicas"],
            one["port"],
            distance((one.get("live") or {}).get("since") or one.get("updated_at"), now),
        )
        for one in found
    ]
    call.screen.table(("product", "image", "status", "replicas", "port", "since"), rows, "there are no products")


def shown_image(product: Mapping[str, Any]) -> str:
    """The image that a product is to run, and the one that it runs where that is another."""
    wanted, runs = str(product["image_name"]), (product.get("live") or {}).get("image_name")
    return wanted if runs in {None, wanted} else f"{wanted} (runs {runs})"


def _tasks(call: Call, product: Mapping[str, Any]) -> None:
    found, raw = call.api.items(f"/products/{product['id']}/tasks")
    if call.screen.as_json:
        call.screen.document(raw)
        return
    now = datetime.now(UTC)
    rows = [
        (
            task["slot"],
            task["node"],
            task["state"],
            task["image_name"] or task["image"][:SHORT_IMAGE],
            commit(task["commit_sha"]),
            distance(task["since"], now),
            task["error"] or None,
        )
        for task in found
    ]
    nothing = f"{product['slug']} has no containers; it is {product['status']}"
    call.screen.table(("replica", "node", "state", "image", "commit", "since", "error"), rows, nothing)


@click.command(cls=ClientCommand, examples=("tagship impact bre-payments:v1.5.0",))
@click.argument("image", metavar="NAME:TAG")
@client
def impact(call: Call, *, image: str) -> None:
    """Show which products would move if this tag were built now; nothing is changed."""
    name, tag = find.split_image(image)
    answer = call.api.get(f"/images/{find.path_part(name)}/impact", tag=tag)
    if call.screen.as_json:
        call.screen.document(answer.content)
        return
    found = call.api.value(answer)
    moves = [(one["slug"], one["from"], one["to"], WHAT_MOVES[bool(one["runs"])]) for one in found["moves"]]
    stays = [(one["slug"], one["pinned_to"], one["pinned_to"], f"stays: {one['reason']}") for one in found["stays"]]
    call.screen.table(("product", "from", "to", "then"), moves + stays, f"no product runs any tag of {name}")
