"""Deliveries: what builds, what does not, and what each is answered."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.octokit import examples
from tests.world import SECRET, new_world

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from app.engine.client import Engine
    from tests.world import World


def signature(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def deliver(world: World, body: bytes, guid: str = "g-1", event: str = "push", **headers: str) -> httpx.Response:
    """POST a delivery as GitHub does; headers given here replace those."""
    sent = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": signature(body),
    }
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.outside.post(f"{world.url}/webhooks/github", content=body, headers=sent)


async def builds(world: World) -> int:
    async with world.services.pool.acquire() as conn:
        count: int = await conn.fetchval("select count(*) from builds")
    return count


async def last_answer(world: World) -> dict[str, Any]:
    """What the newest push delivery was answered."""
    return [sent for sent in world.github.deliveries if sent.event == "push"][-1].answer


async def test_a_redelivered_tag_builds_nothing_new(world: World) -> None:
    await world.register()
    await world.release("v1.0.0")
    pushed = [sent for sent in world.github.deliveries if sent.event == "push"][-1]
    again = await world.github.redeliver(pushed.guid)
    assert again.status == 200
    assert json.loads(again.body)["outcome"] == "duplicate"
    await world.image_is("v1.0.0", "success")
    assert await builds(world) == 1
    assert "built in" in await world.told()


async def test_an_annotated_tag_builds_the_commit_that_it_points_to(world: World) -> None:
    await world.register()
    commit = await world.release("v1.0.0", annotated=True)
    image = await world.image_is("v1.0.0", "success")
    assert image["commit_sha"] == commit
    assert "built in" in await world.told()


async def test_a_moved_tag_builds_again_and_a_deleted_one_changes_nothing(world: World) -> None:
    product = await world.running("allianz")

    moved_to = await world.github.commit(world.repo, {"VERSION": "v1.0.0-again"})
    await world.github.tag(world.repo, "v1.0.0", force=True)
    rollout = await world.rollout_of(product, "image_built")
    assert rollout["state"] == "done"
    assert rollout["commit_sha"] == moved_to
    assert (await world.page(product))["version"] == "v1.0.0-again"
    await world.told_together("built in", "1 of 1 product running", "Allianz")

    await world.github.delete_tag(world.repo, "v1.0.0")
    answer = await last_answer(world)
    assert answer["outcome"] == "ignored"
    assert "was deleted" in answer["reason"]
    assert (await world.page(product))["version"] == "v1.0.0-again"
    assert await builds(world) == 2


async def test_branches_and_unregistered_repositories_are_ignored_with_their_reason(world: World) -> None:
    await world.release("v1.0.0")
    reasons = [sent.answer["reason"] for sent in world.github.deliveries]
    assert any("branch main" in reason for reason in reasons)
    assert any("is not registered" in reason for reason in reasons)
    assert await builds(world) == 0


@pytest.mark.parametrize("tag", ["v1.0+a", "rel/1", "$(id)", "v1;rm", "é"])
async def test_any_tag_that_git_allows_becomes_an_image(world: World, tag: str) -> None:
    await world.register()
    commit = await world.release(tag)
    image = await world.image_is(tag, "success")
    assert image["commit_sha"] == commit
    assert image["github_ref"] == f"refs/tags/{tag}"
    assert await world.services.engine.call("look", f"images/{image['image_ref']}/json")
    assert "built in" in await world.told()


async def test_forged_and_unreadable_deliveries_are_refused_and_build_nothing(world: World) -> None:
    await world.register()
    body = b'{"ref": "refs/tags/v1"}'
    refused = {
        "no signature": (await deliver(world, body, X_Hub_Signature_256="")).status_code,
        "wrong secret": (await deliver(world, body, X_Hub_Signature_256=signature(body, "other"))).status_code,
        "sha1": (await deliver(world, body, X_Hub_Signature_256="sha1=" + "0" * 40)).status_code,
        "other body": (await deliver(world, body, X_Hub_Signature_256=signature(b"{}"))).status_code,
    }
    assert refused == dict.fromkeys(refused, 401)
    raw = [(b"X-Hub-Signature-256", b"sha256=\xc3\xa9" * 8)]
    answer = await world.outside.post(f"{world.url}/webhooks/github", content=body, headers=raw)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    unreadable = await deliver(world, b"not json", guid="g-2")
    assert unreadable.status_code == 400
    assert await builds(world) == 0


async def test_a_body_over_25_mib_is_refused(world: World) -> None:
    body = b" " * (25 * 1024 * 1024 + 1)
    assert (await deliver(world, body)).status_code == 413


async def test_every_octokit_example_is_answered_and_only_pushed_tags_of_its_repository_build(world: World) -> None:
    """Six examples create ``simple-tag``; the others delete it, push a branch or are other events. All six name one
    commit that our GitHub does not have: each build has failed before the next is delivered, so all six build.
    """
    await world.post("/repositories", {"repo": "Codertocat/Hello-World"}, 201)
    built, wrong = [], []
    for number, (source, event, payload) in enumerate(examples()):
        answer = await deliver(world, json.dumps(payload).encode(), guid=f"octokit-{number}", event=event)
        if answer.status_code == 202:
            assert event == "push"
            assert (payload["ref"], payload["deleted"]) == ("refs/tags/simple-tag", False)
            assert "hello-world:simple-tag* could not be built" in await world.told()
            built.append(source)
        elif answer.status_code != 200 or answer.json()["outcome"] != "ignored":
            wrong.append((source, event, answer.status_code, answer.text))
    assert not wrong
    assert built == ["api.github.com", "ghes-33", "ghes-34", "ghes-34", "ghes-35", "ghes-35"]
    assert await builds(world) == len(built)


async def test_a_webhook_that_sends_forms_builds_as_well(world: World) -> None:
    world.github.hooks.form = "form"
    await world.register()
    commit = await world.release("v1.0+a&b=é")
    image = await world.image_is("v1.0+a&b=é", "success")
    assert image["commit_sha"] == commit
    assert "built in" in await world.told()


async def test_while_a_secret_is_rotated_both_are_good(tmp_path: Path, database: str, engine: Engine) -> None:
    async with new_world(tmp_path, database, GITHUB_WEBHOOK_SECRET=f"the new one, {SECRET}") as world:
        body = b'{"zen": "x"}'
        for number, secret in enumerate([SECRET, "the new one"]):
            signed = signature(body, secret)
            answer = await deliver(world, body, guid=f"g-{number}", event="ping", X_Hub_Signature_256=signed)
            assert (answer.status_code, answer.json()["outcome"]) == (200, "ignored")
        both = signature(body, f"the new one, {SECRET}")
        assert (await deliver(world, body, X_Hub_Signature_256=both)).status_code == 401


async def test_without_a_secret_every_delivery_is_refused_and_says_what_to_set(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    async with new_world(tmp_path, database, GITHUB_WEBHOOK_SECRET="") as world:
        await world.register()
        for signed in (signature(b"{}"), signature(b"{}", ""), ""):
            answer = await deliver(world, b"{}", X_Hub_Signature_256=signed)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert "GITHUB_WEBHOOK_SECRET" in answer.json()["detail"]
        assert await builds(world) == 0
