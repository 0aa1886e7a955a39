"""Removing what a build made from a real engine: what holds it, whose names it has; and shrinking the build cache."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.engine.build import stream_build
from app.engine.client import Engine
from app.engine.image import inspect_image, list_images, tag_image
from app.engine.prune import build_cache_bytes, holders, prune_build_cache
from app.engine.shape import Builder, BuildRequest
from app.retention.model import BuiltImage
from app.retention.purge import remove_from_engine
from tests.docker import private_dockerd
from tests.engine.yard import TEST_LABEL, eventually, tar_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.yard import Yard


async def made(yard: Yard, *lines: str) -> BuiltImage:
    """An image on the engine, and the row of its build."""
    build_id = secrets.randbelow(10**9)
    request = yard.request(Builder.BUILDKIT)
    request = replace(request, labels={**request.labels, "tagship.build": str(build_id)})
    done = await yard.run_build(request, {"Dockerfile": yard.dockerfile(*lines)})
    [name] = request.tags
    return BuiltImage(
        build_id, 1, "x", "v1", name, done.image_id, done.image_id, 1, datetime.now(UTC), live=True, busy=False
    )


async def container(yard: Yard, image: str, *, started: bool = False, **labels: str) -> str:
    body: dict[str, Any] = {"Image": image, "Cmd": ["true"], "Labels": {TEST_LABEL: yard.run} | labels}
    made = await yard.engine.call("make a container", "containers/create", "POST", body=body)
    path = f"containers/{made['Id']}"
    if started:
        await yard.engine.call("start it", f"{path}/start", "POST")

        async def over() -> bool:
            return bool((await yard.engine.call("look", f"{path}/json"))["State"]["Status"] == "exited")

        await eventually(over)
    return str(made["Id"])


async def test_what_a_build_made_is_removed_with_its_name(yard: Yard) -> None:
    built = await made(yard)
    assert await remove_from_engine(yard.engine, built) is None
    assert await inspect_image(yard.engine, built.exact_ref) is None
    assert await remove_from_engine(yard.engine, built) is None, "a second time there is nothing to do"


async def test_what_does_not_carry_the_label_of_the_build_is_left_alone(yard: Yard) -> None:
    built = await made(yard)
    assert await remove_from_engine(yard.engine, replace(built, build_id=built.build_id + 1)) is None
    assert await inspect_image(yard.engine, built.image_ref) is not None


async def test_the_cache_is_measured_for_several_at_once(yard: Yard) -> None:
    sizes = await asyncio.gather(*(build_cache_bytes(yard.engine) for _ in range(8)))
    assert all(size >= 0 for size in sizes)


async def test_the_names_that_others_gave_stay(yard: Yard) -> None:
    built, theirs = await made(yard), f"{yard.name('theirs')}:v9"
    await tag_image(yard.engine, built.exact_ref, theirs)
    assert await remove_from_engine(yard.engine, built) is None
    found = await inspect_image(yard.engine, built.exact_ref)
    assert found is not None
    assert found.tags == (theirs,)


async def test_a_name_that_a_newer_image_has_taken_stays_with_it(yard: Yard) -> None:
    built, newer = await made(yard), await made(yard)
    await tag_image(yard.engine, newer.exact_ref, built.image_ref)
    assert await remove_from_engine(yard.engine, built) is None
    found = await inspect_image(yard.engine, built.image_ref)
    assert found is not None
    assert found.id == newer.exact_ref
    assert await inspect_image(yard.engine, built.exact_ref) is None


@pytest.mark.parametrize("started", [False, True])
async def test_a_container_of_somebody_else_holds_an_image_also_when_it_has_ended(yard: Yard, started: bool) -> None:
    built = await made(yard)
    container_id = await container(yard, built.exact_ref, started=started)
    try:
        assert "the container" in str(await remove_from_engine(yard.engine, built))
        assert await inspect_image(yard.engine, built.image_ref) is not None
    finally:
        await yard.engine.call("clean up", f"containers/{container_id}", "DELETE")
    assert await remove_from_engine(yard.engine, built) is None


@pytest.mark.parametrize("started", [False, True])
async def test_a_task_of_ours_holds_its_image_until_it_is_over(yard: Yard, started: bool) -> None:
    built = await made(yard)
    container_id = await container(yard, built.exact_ref, started=started, **{"tagship.product": "axa"})
    try:
        held = any(holder.image_id == built.exact_ref for holder in await holders(yard.engine))
        assert held == (not started)
        assert (await remove_from_engine(yard.engine, built) is None) == started
    finally:
        await yard.engine.call("clean up", f"containers/{container_id}", "DELETE")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tsp-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def test_the_build_cache_is_shrunk_to_its_limit(short_folder: Path) -> None:
    megabyte = 1_000_000
    async with private_dockerd(short_folder) as private, Engine.open(private.host) as engine:
        for number in range(3):
            request = BuildRequest(Builder.BUILDKIT, "Dockerfile", (f"big:v{number}",), f"b{number}")
            files = {"Dockerfile": "FROM scratch\nCOPY big /\n", "big": secrets.token_hex(megabyte)}
            async with aclosing(stream_build(engine, request, tar_chunks(files))) as events:
                async for _ in events:
                    pass
        size = await build_cache_bytes(engine)
        assert size > 5 * megabyte
        reclaimed = await prune_build_cache(engine, 3 * megabyte)
        left = await build_cache_bytes(engine)
        assert left <= 3 * megabyte
        assert reclaimed >= size - left > 0
        assert len(await list_images(engine)) == 3, "images are not the cache"
