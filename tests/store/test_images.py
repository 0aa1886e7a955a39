"""Images as people list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.builds import store
from app.builds.model import BuildState, Cause
from app.postgres.pool import transaction
from app.repositories.recipe import Recipe
from tests.factories import COMMIT, built_image, queue_build

if TYPE_CHECKING:
    from app.postgres.pool import Pool


async def tags(pool: Pool, **filters: object) -> list[str]:
    async with transaction(pool) as conn:
        return [image.tag for image in await store.list_images(conn, **filters)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["v3", "v2", "v1", "v1"]),
        ({"name": "bre"}, ["v3", "v2", "v1"]),
        ({"tag": "v1"}, ["v1", "v1"]),
        ({"name": "bre", "tag": "v1"}, ["v1"]),
        ({"status": BuildState.PENDING}, ["v3"]),
        ({"repo": "Acme/Shop"}, ["v1"]),
        ({"repo": "acme/none"}, []),
        ({"limit": 2}, ["v3", "v2"]),
    ],
)
async def test_images_are_listed_newest_first_and_narrowed_down(
    pool: Pool, filters: dict[str, object], found: list[str]
) -> None:
    async with transaction(pool) as conn:
        image_id, _ = await store.upsert_image(conn, name="shop", tag="v1", repo="acme/shop", ref="refs/tags/v1")
        await store.enqueue(conn, image_id, cause=Cause.API, commit=COMMIT, recipe=Recipe())
        await conn.execute("update builds set state = 'failed', error = 'x', finished_at = now()")
    await built_image(pool, tag="v1")
    await built_image(pool, tag="v2")
    await queue_build(pool, tag="v3")
    assert await tags(pool, **filters) == found


async def test_pages_follow_one_another_without_loss(pool: Pool) -> None:
    ids = [(await queue_build(pool))[0] for _ in range(5)]
    seen: list[int] = []
    before = None
    while True:
        async with transaction(pool) as conn:
            page = await store.list_images(conn, before=before, limit=2)
        if not page:
            break
        seen += [image.id for image in page]
        before = seen[-1]
    assert seen == ids[::-1]
