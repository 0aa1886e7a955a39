"""``build``, ``logs`` and ``images``: from a tag to an image."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from app.cli import find
from app.cli.ending import NotDone, Refused
from app.cli.help import ClientCommand
from app.cli.options import IMAGE, PRODUCT, client, waiting
from app.cli.text import commit, distance, size
from app.cli.waiting import follow, look_at_image, watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from app.cli.options import Call, Waiting

CONFLICT = 409
STATES = ("pending", "building", "success", "failed", "cancelled")


@click.command(
    cls=ClientCommand,
    examples=(
        "tagship build acme/bre-payments v1.4.0",
        "tagship build acme/bre-payments v1.4.0 --follow",
        "tagship build acme/bre-payments v1.4.0 --rebuild --no-wait --json",
    ),
)
@click.argument("repo")
@click.argument("tag")
@click.option("--image-name", help="The image's name; without it, the repository's in lower case.")
@click.option("--commit", "commit_sha", help="The commit to build (40 hex digits); without it, the tag's.")
@click.option("--rebuild", is_flag=True, help="When the image exists, build it again at the tag's present commit.")
@click.option("--follow", "-f", "followed", is_flag=True, help="Print the log while it is built.")
@waiting
@client
def build(
    call: Call,
    *,
    repo: str,
    tag: str,
    image_name: str | None,
    commit_sha: str | None,
    rebuild: bool,
    followed: bool,
    waiting: Waiting,
) -> None:
    """Build the image of a repository's TAG; REPO is owner/name on GitHub.

    Done is: the image has been built.
    """
    if followed and not waiting.wait:
        raise click.UsageError("--follow waits for the end: it does not go with --no-wait")
    if followed and waiting.timeout_s is not None:
        raise click.UsageError("--follow prints to the end: it does not go with --timeout")
    wanted = {"repo": repo, "tag": tag, "image_name": image_name, "commit_sha": commit_sha}
    answer = _begin(call, {name: value for name, value in wanted.items() if value is not None}, rebuild=rebuild)
    image = call.api.value(answer)
    call.screen.say(f"image {image['id']}, {image['name']}:{image['tag']} at {commit(image['commit_sha']) or tag}")
    if not waiting.wait:
        if call.screen.as_json:
            call.screen.document(answer.content)
        return
    _finish(call, image, waiting, followed=followed)


def _begin(call: Call, wanted: Mapping[str, Any], *, rebuild: bool) -> httpx.Response:
    """Ask for the build; when there is such an image already, only with ``rebuild``."""
    try:
        return call.api.send("POST", "/images", wanted)
    except Refused as refused:
        image_id = refused.problem.get("id")
        if refused.status != CONFLICT or not isinstance(image_id, int):
            raise
        if not rebuild:
            advice = "; with --rebuild it is built again"
            raise Refused(CONFLICT, {"detail": f"this image exists, as image {image_id}"}, advice) from None
        return call.api.send("POST", f"/images/{image_id}/rebuild")


def _finish(call: Call, image: Mapping[str, Any], waiting: Waiting, *, followed: bool) -> None:
    """Wait for the end of the image's build and say it; ``NotDone`` unless there is an image."""
    if followed:
        follow(call, f"/images/{image['id']}/log", lambda event: call.screen.log(event.data))
    answer = watch(call, f"/images/{image['id']}?log=false", look_at_image, waiting)
    if call.screen.as_json:
        call.screen.document(answer.content)
    ended = call.api.value(answer)
    name = f"{ended['name']}:{ended['tag']}"
    if ended["build_status"] != "success":
        advice = "" if followed else f"; `tagship logs {name}` prints its log"
        raise NotDone(f"the build of {name} {ended['build_status']}: {ended.get('build_error') or '-'}{advice}")
    call.screen.say(f"{name} is built, {size(ended.get('size_bytes')) or 'size unknown'}")


@click.command(
    cls=ClientCommand,
    examples=(
        "tagship logs bre-payments:v1.4.0",
        "tagship logs 12 -f",
        "tagship logs --product allianz -f",
    ),
)
@click.argument("image", required=False, type=IMAGE)
@click.option("--product", type=PRODUCT, help="The output of this product's containers, by slug or id.")
@click.option("--tail", type=click.IntRange(min=0), help="Of a product: the last so many lines of each container.")
@click.option("--follow", "-f", "followed", is_flag=True, help="Go on while there is more to come.")
@client
def logs(call: Call, *, image: str | None, product: str | None, tail: int | None, followed: bool) -> None:
    """Print the build log of IMAGE (an id or name:tag), or a product's output.

    Following a build ends with it: 0 when there is an image, 1 when not. Following a product ends when it is stopped,
    or with Ctrl-C.
    """
    if (image is None) == (product is None):
        raise click.UsageError("name an IMAGE, or a product with --product")
    if product is not None:
        if call.screen.as_json:
            raise click.UsageError("containers print text: --json does not go with --product")
        _product_logs(call, find.product(call.api, product), tail, followed=followed)
        return
    if tail is not None:
        raise click.UsageError("--tail goes with --product only")
    assert image is not None
    found = find.image(call.api, image)
    if followed:
        _followed_build(call, found)
    elif call.screen.as_json:
        call.screen.document(call.api.get(f"/images/{found['id']}").content)
    else:
        with call.api.text(f"/images/{found['id']}/log") as parts:
            call.screen.log_parts(parts)


def _followed_build(call: Call, image: Mapping[str, Any]) -> None:
    state = follow(call, f"/images/{image['id']}/log", lambda event: call.screen.log(event.data))
    if call.screen.as_json:
        call.screen.document(call.api.get(f"/images/{image['id']}").content)
    if state != "success":
        raise NotDone(f"the build of {image['name']}:{image['tag']} {state or 'is gone'}")


def _product_logs(call: Call, product: Mapping[str, Any], tail: int | None, *, followed: bool) -> None:
    path = f"/products/{product['id']}/logs"
    if followed:
        over = follow(call, path, lambda event: call.screen.log(event.data), follow="true", tail=tail)
        call.screen.say(f"{product['slug']}: {over or 'there is no more'}")
        return
    with call.api.text(path, tail=tail) as parts:
        call.screen.log_parts(parts)


@click.command(
    cls=ClientCommand,
    examples=(
        "tagship images",
        "tagship images --name bre-payments --status failed",
        "tagship images --limit 1 --json",
    ),
)
@click.option("--name", help="Only images of this name.")
@click.option("--status", type=click.Choice(STATES), help="Only images whose build stands so.")
@click.option("--limit", type=click.IntRange(min=1), help="The newest so many; without it, all.")
@client
def images(call: Call, *, name: str | None, status: str | None, limit: int | None) -> None:
    """List images, newest first."""
    found, raw = call.api.items("/images", limit=limit, name=name, status=status)
    if call.screen.as_json:
        call.screen.document(raw)
        return
    now = datetime.now(UTC)
    rows = [
        (
            image["id"],
            f"{image['name']}:{image['tag']}",
            image["build_status"],
            commit(image.get("commit_sha")),
            size(image.get("size_bytes")),
            distance(image.get("built_at"), now),
        )
        for image in found
    ]
    call.screen.table(("id", "image", "status", "commit", "size", "built"), rows, "there are no such images")
