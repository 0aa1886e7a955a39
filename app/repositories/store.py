"""The repositories table, and what others tell the looks at them: that one is wanted, and which tags are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.postgres.queries import load_queries
from app.queue.wake import wake
from app.repositories.model import MovedTagPolicy, Repository, RepositoryId

if TYPE_CHECKING:
    import asyncpg

    from app.postgres.pool import Connection
    from app.repositories.recipe import Recipe

SQL: Final = load_queries("repositories")

LOOKS: Final = "looks"
"""The topic that wakes whoever looks at repositories."""


async def insert(
    conn: Connection,
    *,
    repo: str,
    image_name: str,
    tag_pattern: str,
    recipe: Recipe,
    on_moved_tag: MovedTagPolicy,
    backfill: bool = False,
) -> Repository | None:
    """Register a repository and ask for its first look; None when another registration already makes an image of that
    name. With ``backfill`` that look builds every matching tag.
    """
    row = await conn.fetchrow(
        SQL.insert_repository,
        repo,
        image_name,
        tag_pattern,
        recipe.dockerfile,
        recipe.context,
        recipe.target,
        dict(recipe.build_args),
        on_moved_tag,
        backfill,
    )
    if row is None:
        return None
    await ask_look(conn, repo)
    return _repository(row)


async def hold_registration(conn: Connection, image_name: str) -> Repository | None:
    """The registration that makes images of that name, kept from being deleted until the transaction ends."""
    row = await conn.fetchrow(SQL.hold_repository_named, image_name)
    return _repository(row) if row else None


async def registrations_of(conn: Connection, repo: str) -> list[Repository]:
    """Every registration of one GitHub repository, whatever the case of its name, oldest first."""
    return [_repository(row) for row in await conn.fetch(SQL.repositories_of, repo)]


async def list_page(conn: Connection, *, repo: str | None, before: int | None, limit: int) -> list[Repository]:
    """A page of registrations, newest first, behind the registration ``before``; of one GitHub repository or of all."""
    return [_repository(row) for row in await conn.fetch(SQL.list_repositories, repo, before, limit)]


async def read(conn: Connection, repository_id: int) -> Repository | None:
    row = await conn.fetchrow(SQL.read_repository, repository_id)
    return _repository(row) if row else None


async def lock(conn: Connection, repository_id: int) -> Repository | None:
    """The registration, which nobody else changes until the transaction ends."""
    row = await conn.fetchrow(SQL.lock_repository, repository_id)
    return _repository(row) if row else None


async def update(
    conn: Connection,
    repository_id: int,
    *,
    image_name: str,
    tag_pattern: str,
    recipe: Recipe,
    on_moved_tag: MovedTagPolicy,
    backfill: bool,
) -> Repository:
    """Change a locked registration. Raises asyncpg's ``UniqueViolationError`` when the image name is taken."""
    row = await conn.fetchrow(
        SQL.update_repository,
        repository_id,
        image_name,
        tag_pattern,
        recipe.dockerfile,
        recipe.context,
        recipe.target,
        dict(recipe.build_args),
        on_moved_tag,
        backfill,
    )
    assert row is not None
    return _repository(row)


async def delete(conn: Connection, repository_id: int) -> Repository | None:
    """Forget a registration; None when there is none. Builds and images that came of it stay."""
    row = await conn.fetchrow(SQL.delete_repository, repository_id)
    if row is None:
        return None
    await conn.execute(SQL.forget_look, row["repo"])
    return _repository(row)


async def ask_look(conn: Connection, repo: str) -> None:
    """Let the tags of a repository be listed soon, whatever is known of them."""
    await conn.execute(SQL.ask_look, repo)
    await wake(conn, LOOKS)


async def note_seen(conn: Connection, repo: str, tag: str, commit: str | None) -> None:
    """From now on no look takes this tag at this commit for a new one. It holds the tag until the transaction ends."""
    await conn.execute(SQL.note_seen_tag, repo, tag, commit)


def _repository(row: asyncpg.Record) -> Repository:
    fields = {name: row[name] for name in Repository.__slots__}
    fields["id"] = RepositoryId(row["id"])
    fields["on_moved_tag"] = MovedTagPolicy(row["on_moved_tag"])
    return Repository(**fields)
