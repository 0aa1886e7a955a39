"""Queue the builds of what a look has found, inside the transaction that writes down that it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from app.access import audit
from app.access.model import Act, Subject, Via
from app.builds import store as builds
from app.builds.model import Source
from app.reconcile import store
from app.reconcile.model import is_behind, registrations_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.builds.model import BuildId
    from app.postgres.pool import Connection
    from app.reconcile.model import Findings, FoundTag
    from app.repositories.model import Repository

log = structlog.get_logger(__name__)

ACT: Final = Act("tagship", None, Via.RECONCILE, None, "find_tag")


async def queue_builds(conn: Connection, tags: Iterable[FoundTag], findings: Findings) -> int:
    """Queue what these tags lead to, each with its line in the audit log; how many builds that were.

    Images are locked by name and tag, each after the commit of the tag was written down.
    """
    pairs = [(registration, tag) for tag in tags for registration in registrations_for(tag, findings)]
    wanted = sorted(await _without_deleted(conn, pairs), key=lambda pair: (pair[0].image_name, pair[1].name))
    queued: dict[str, list[BuildId]] = {}
    found: dict[str, tuple[Repository, FoundTag]] = {}
    for registration, tag in wanted:
        build_id = await _queue_one(conn, registration, tag)
        if build_id is not None:
            queued.setdefault(tag.name, []).append(build_id)
            found[tag.name] = (registration, tag)
    for name, ids in queued.items():
        registration, tag = found[name]
        subject = Subject("repository", registration.id, f"{registration.repo}@{name}")
        await audit.record(conn, ACT, subject, commit=tag.commit, builds=ids)
        log.info("tag_found", repo=registration.repo, tag=name, commit=tag.commit, builds=ids)
    return sum(len(ids) for ids in queued.values())


async def _without_deleted(
    conn: Connection, pairs: list[tuple[Repository, FoundTag]]
) -> list[tuple[Repository, FoundTag]]:
    """The pairs whose image nobody is deleting: a look brings nothing back."""
    tags: dict[str, list[str]] = {}
    for registration, tag in pairs:
        tags.setdefault(registration.image_name, []).append(tag.name)
    images = {name: await store.images_named(conn, name, asked) for name, asked in tags.items()}
    return [(registration, tag) for registration, tag in pairs if not images[registration.image_name].get(tag.name)]


async def _queue_one(conn: Connection, registration: Repository, tag: FoundTag) -> BuildId | None:
    assert tag.commit is not None, "only tags that were asked about are built"
    image_id, latest = await builds.upsert_image(
        conn, name=registration.image_name, tag=tag.name, repo=registration.repo, ref=f"refs/tags/{tag.name}"
    )
    if not is_behind(latest, tag.commit):
        return None
    return await builds.enqueue(
        conn,
        image_id,
        source=Source.RECONCILE,
        commit=tag.commit,
        recipe=registration.recipe,
        repository_id=registration.id,
    )
