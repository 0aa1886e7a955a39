"""``kill -9`` and SIGTERM while an image is pushed to a registry: the next process pushes it, and the registry has what
is on record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fault.ending import BUILDS, only, shipped
from tests.fault.scene import new_scene
from tests.fault.succession import Succession
from tests.postgres import fresh_database
from tests.registry import PASSWORD, USERNAME, LocalRegistry, local_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.engine.client import Engine


@pytest.fixture(scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalRegistry]:
    async with local_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
async def succession(
    tmp_path_factory: pytest.TempPathFactory, server: str, template: str, engine: Engine, registry: LocalRegistry
) -> AsyncIterator[Succession]:
    """A succession whose images go to the registry."""
    settings = {"REGISTRY": registry.host, "REGISTRY_USERNAME": USERNAME, "REGISTRY_PASSWORD": PASSWORD}
    async with (
        fresh_database(server, template) as database,
        new_scene(tmp_path_factory.mktemp("scene"), database, **settings) as scene,
        Succession(scene) as made,
    ):
        yield made


@pytest.mark.parametrize("checkpoint", ["push_started", "image_pushed"])
async def test_what_a_killed_process_pushed_is_pushed_again(
    succession: Succession, registry: LocalRegistry, checkpoint: str
) -> None:
    tag = await succession.broken_at(checkpoint)
    before = await succession.log_of(tag)
    await succession.now.kill()
    next_one = await succession.follow()
    await shipped(succession.scene, next_one, succession.product, tag, attempt=2, before=before)
    await is_in_registry(succession, registry, tag)


async def test_a_stopped_push_is_handed_back_and_pushed_by_the_next(
    succession: Succession, registry: LocalRegistry
) -> None:
    tag = await succession.broken_at("push_started")
    await succession.now.terminate()
    before = await succession.log_before_next_attempt(tag)
    next_one = await succession.follow()
    await shipped(succession.scene, next_one, succession.product, tag, attempt=2, before=before)
    await is_in_registry(succession, registry, tag)


async def is_in_registry(succession: Succession, registry: LocalRegistry, tag: str) -> None:
    """The registry's tag is the digest on record."""
    build = only(await succession.scene.rows(BUILDS, succession.scene.image, tag))
    async with registry.client() as client:
        assert await client.digest_of(succession.scene.image, tag) == build["digest"]
