"""/api/v1/repositories: which GitHub repositories are watched, and how their tags become images."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import asyncpg
from starlette.responses import Response

from app.access import audit
from app.access.model import Subject
from app.api.answering import answer, page
from app.api.asking import found, json_body, path_id, query
from app.api.auth import act_of
from app.api.schema.repositories import RepositoryIn, RepositoryOut, RepositoryPatch, RepositoryQuery
from app.api.services import services_of
from app.builds.model import default_image_name
from app.postgres.pool import transaction
from app.problems import Problem
from app.repositories import store
from app.repositories.recipe import Recipe

if TYPE_CHECKING:
    from starlette.requests import Request

    from app.repositories.model import Repository


async def register(request: Request) -> Response:
    """201 the registration; 409 when another registration makes an image of that name. Tags that GitHub has already are
    built with ``backfill`` only. Whether GitHub has such a repository is looked up afterwards: ``look_error`` says so.
    """
    wanted = await json_body(request, RepositoryIn)
    image_name = wanted.image_name or default_image_name(wanted.repo)
    recipe = Recipe(wanted.dockerfile, wanted.context, wanted.target, wanted.build_args)
    async with transaction(services_of(request).pool) as conn:
        made = await store.insert(
            conn,
            repo=wanted.repo,
            image_name=image_name,
            tag_pattern=wanted.tag_pattern,
            recipe=recipe,
            on_moved_tag=wanted.on_moved_tag,
            backfill=wanted.backfill,
        )
        if made is None:
            raise _taken(image_name)
        await audit.record(conn, act_of(request), _subject(made), image_name=made.image_name)
    return answer(RepositoryOut.of(made), HTTPStatus.CREATED, location=f"/repositories/{made.id}")


async def list_repositories(request: Request) -> Response:
    """200 a page of registrations, newest first; ``?repo=`` for those of one GitHub repository."""
    asked = query(request, RepositoryQuery)
    async with transaction(services_of(request).pool) as conn:
        listed = await store.list_page(conn, repo=asked.repo, before=asked.before, limit=asked.limit)
    return page(request, listed, RepositoryOut.of, asked.limit)


async def read_repository(request: Request) -> Response:
    """200 the registration."""
    repository_id = path_id(request, "repository")
    async with transaction(services_of(request).pool) as conn:
        repository = found(await store.read(conn, repository_id), "repository", repository_id)
    return answer(RepositoryOut.of(repository))


async def change_repository(request: Request) -> Response:
    """200 the registration; what is queued already is built as it was queued. With ``backfill`` every matching tag that
    has no image is built. 409 when another registration makes an image of that name.
    """
    patch = await json_body(request, RepositoryPatch)
    repository_id = path_id(request, "repository")
    try:
        async with transaction(services_of(request).pool) as conn:
            before = found(await store.lock(conn, repository_id), "repository", repository_id)
            given = {name: getattr(patch, name) for name in patch.model_fields_set}
            after = {name: getattr(before, name) for name in RepositoryPatch.model_fields} | given
            recipe = Recipe(**{name: after.pop(name) for name in Recipe.__slots__})
            changed = await store.update(conn, repository_id, recipe=recipe, **after)
            if given.get("backfill"):
                await store.ask_look(conn, changed.repo)
            await audit.record(conn, act_of(request), _subject(changed), given=sorted(given))
    except asyncpg.UniqueViolationError:
        raise _taken(patch.image_name) from None
    return answer(RepositoryOut.of(changed))


async def delete_repository(request: Request) -> Response:
    """204: its tags are ignored from now on. Images that came of it stay, and so do builds, also those that wait."""
    repository_id = path_id(request, "repository")
    async with transaction(services_of(request).pool) as conn:
        deleted = found(await store.delete(conn, repository_id), "repository", repository_id)
        await audit.record(conn, act_of(request), _subject(deleted), image_name=deleted.image_name)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _subject(repository: Repository) -> Subject:
    return Subject("repository", repository.id, repository.repo)


def _taken(image_name: str) -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        f"image_name: another registration makes images named {image_name}; give this one its own image_name",
        errors=[{"loc": ["image_name"], "msg": "is taken"}],
    )
