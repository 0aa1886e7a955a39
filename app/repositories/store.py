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


async def registrations_of(conn: Connection, repo: str) -> list[Repository]:
    """Every registration of one GitHub repository, whatever the case of its name, oldest first."""
    return [_repository(row) for row in await conn.fetch(SQL.repositories_of, repo)]


async def list_all(conn: Connection) -> list[Repository]:
    """Every registration, newest first."""
    return [_repository(row) for row in await conn.fetch(SQL.list_repositories)]


async def read(conn: Connection, repository_id: int) -> Repository | None:
    row = await conn.fetchrow(SQL.read_repository, repository_id)
    return _repository(row) if row else None


def _repository(row: asyncpg.Record) -> Repository:
    fields = {name: row[name] for name in Repository.__slots__}
    fields["id"] = RepositoryId(row["id"])
    fields["on_moved_tag"] = MovedTagPolicy(row["on_moved_tag"])
    return Repository(**fields)
