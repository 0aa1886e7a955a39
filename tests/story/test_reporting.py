"""GitHub is told what became of a tag, and nothing depends on whether it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.doctor import examine
from app.postgres.pool import transaction
from tests.waiting import until
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine
    from app.findings import Finding


@pytest.fixture
async def world(tmp_path: Path, database: str, engine: Engine) -> AsyncIterator[World]:
    """A Tagship with a token, which the local GitHub lets do anything."""
    async with new_world(tmp_path, database, GITHUB_TOKEN="ghp_of_the_story") as made:
        yield made


async def told(world: World, sha: str, last: str) -> dict[str, Any]:
    """Wait until the newest status of a commit is this one."""

    async def look() -> dict[str, Any] | None:
        found = [one for one in world.github.state.statuses if one["sha"] == sha]
        return found[-1] if found and found[-1]["state"] == last else None

    return await until(look, f"{sha[:7]} is {last} on GitHub")


async def deployed(world: World, product: dict[str, Any], *last: str) -> list[dict[str, Any]]:
    """Wait until the product's deployments, in order, have these as their newest states."""

    async def look() -> list[dict[str, Any]] | None:
        found = world.github.deployments_to(product["slug"])
        states = [one["statuses"][-1]["state"] if one["statuses"] else "" for one in found]
        return found if states == list(last) else None

    return await until(look, f"the deployments of {product['slug']} are {last}")


async def doctor(world: World) -> Finding:
    return next(finding for finding in await examine(world.settings) if finding.part == "reports")


async def test_a_tag_is_a_status_of_its_commit_and_a_rollout_a_deployment(world: World) -> None:
    await world.register()
    first = await world.release("v1.0.0", annotated=True)
    image = await world.image_is("v1.0.0", "success")
    status = await told(world, first, "success")
    assert status["context"] == f"tagship/{world.image}"
    assert status["description"].startswith("built in ")
    assert status["target_url"] == f"{world.settings.public_url}/api/v1/images/{image['id']}"

    product = await world.product("allianz", image["id"], track="v1.*")
    rollout = await world.start(product)
    [deployment] = await deployed(world, product, "success")
    assert deployment["sha"] == first
    assert deployment["statuses"][-1]["log_url"] == f"{world.settings.public_url}/api/v1/rollouts/{rollout['id']}"

    second = await world.release("v1.1.0")
    await deployed(world, product, "inactive", "success")
    await told(world, second, "success")

    broken = await world.release("v1.2.0", {"Dockerfile": "FROM busybox\nENV RUN=@RUN@\nRUN exit 3\n"})
    failed = await told(world, broken, "failure")
    assert failed["description"].startswith("failed: ")
    assert (await doctor(world)).ok
    await world.told_about("v1.0.0* built", "Allianz* runs", "1 of 1 product running", "could not be built")


async def test_a_token_that_may_not_report_changes_nothing_else(world: World) -> None:
    world.github.deny(world.repo, "statuses")
    world.github.deny(world.repo, "deployments", 404, "Not Found")
    product = await world.running("allianz")
    assert (await world.page(product))["version"] == "v1.0.0"

    async def both() -> int | None:
        async with transaction(world.services.pool) as conn:
            count: int = await conn.fetchval("select count(*) from report_refusals")
        return count if count == 2 else None

    await until(both, "both refusals are recorded")
    asked = len(world.github.asked())
    await world.release("v1.1.0")
    await world.image_is("v1.1.0", "success")
    await world.told_about("v1.1.0* built")
    writes = [seen.path for seen in world.github.asked()[asked:] if seen.path.endswith("/deployments")]
    assert writes + [seen.path for seen in world.github.asked()[asked:] if "/statuses/" in seen.path] == []
    assert world.github.state.statuses == world.github.state.deployments == []
    finding = await doctor(world)
    assert (finding.ok, finding.needed) == (False, False)
    assert f"of {world.repo} since" in finding.sentence
    assert "TAGSHIP_GITHUB_REPORTS=off" in finding.sentence


async def test_switched_off_or_without_credentials_nothing_is_told(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    for number, setting in enumerate(({"GITHUB_TOKEN": "ghp_x", "TAGSHIP_GITHUB_REPORTS": "off"}, {})):
        async with new_world(tmp_path / str(number), database, **setting) as world:
            await world.register()
            await world.release("v1.0.0")
            await world.image_is("v1.0.0", "success")
            await world.told_about("built in")
            assert world.github.state.statuses == []
            async with transaction(world.services.pool) as conn:
                assert await conn.fetchval("select count(*) from reports") == 0
            assert (await doctor(world)).sentence.startswith("GitHub is told nothing")
