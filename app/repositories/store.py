"""The repositories table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.postgres.queries import load_queries
from app.repositories.model import MovedTagPolicy, Repository, RepositoryId

if TYPE_CHECKING:
    import asyncpg

    from app.postgres.pool import Connection
    from app.repositories.recipe import Recipe

SQL: Final = load_queries("repositories")


async def insert(
    conn: Connection, *, repo: str, image_name: str, tag_pattern: str, recipe: Recipe, on_moved_tag: MovedTagPolicy
) -> Repository | None:
    """Register a repository; None when another registration already makes an image of that name."""
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
    )
    return _repository(row) if row else None


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
    )
    assert row is not None
    return _repository(row)


async def delete(conn: Connection, repository_id: int) -> Repository | None:
    """Forget a registration; None when there is none. Builds and images that came of it stay."""
    row = await conn.fetchrow(SQL.delete_repository, repository_id)
    return _repository(row) if row else None


def _repository(row: asyncpg.Record) -> Repository:
    fields = {name: row[name] for name in Repository.__slots__}
    fields["id"] = RepositoryId(row["id"])
    fields["on_moved_tag"] = MovedTagPolicy(row["on_moved_tag"])
    return Repository(**fields)
