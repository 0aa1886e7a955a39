"""Images as people list, make and cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.builds import store
from app.builds.model import BuildState, Source
from app.github.client import GitHubClient
from app.postgres.pool import transaction
from app.repositories.recipe import Recipe
from tests.api_client import api_services, asking, audit_rows
from tests.factories import COMMIT, built_image, claimed_build, queue_build
from tests.fakes.github import LocalGitHub

if TYPE_CHECKING:
    from pathlib import Path

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
        await store.enqueue(conn, image_id, source=Source.API, commit=COMMIT, recipe=Recipe())
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


async def test_no_image_is_made_under_the_name_of_another_repositorys(pool: Pool, tmp_path: Path) -> None:
    async with LocalGitHub.start(tmp_path, webhook_secret="s") as github:
        for repo in ("acme/bre", "mallory/bre"):
            await github.create_repository(repo, {"Dockerfile": "FROM busybox\n"})
            await github.tag(repo, "v1.0.0")
        client = GitHubClient.open(api_url=github.url)
        async with asking(api_services(pool, github=client)) as api:
            assert (await api.post("/repositories", json={"repo": "acme/bre"})).status_code == 201
            for body in ({"repo": "mallory/bre"}, {"repo": "mallory/bre", "image_name": "bre"}):
                refused = await api.post("/images", json=body | {"tag": "v1.0.0"})
                assert refused.status_code == 409
                assert refused.json()["errors"][0]["loc"] == ["image_name"]
            own = await api.post("/images", json={"repo": "ACME/bre", "tag": "v1.0.0", "image_name": "bre"})
            assert own.status_code == 201
            assert len((await api.get("/images")).json()) == 1
        await client.close()


async def test_asking_twice_to_cancel_is_one_change(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with asking(api_services(pool)) as api:
        answers = [(await api.post(f"/images/{claimed.image_id}/cancel")).status_code for _ in range(3)]
    assert answers == [202, 202, 202]
    assert [row["action"] for row in await audit_rows(pool)] == ["cancel_build"]
