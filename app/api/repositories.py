"""/api/v1/repositories: which GitHub repositories are watched, and how their tags become images."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from app.api.asking import json_body, missing, path_id
from app.api.schema.base import dump_all
from app.api.schema.repositories import RepositoryIn, RepositoryOut
from app.api.services import services_of
from app.builds.model import default_image_name
from app.postgres.pool import transaction
from app.problems import Problem
from app.repositories import store
from app.repositories.recipe import Recipe

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def register(request: Request) -> Response:
    """201 the registration; 409 when another registration makes an image of that name."""
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
        )
    if made is None:
        raise Problem(
            HTTPStatus.CONFLICT,
            f"image_name: another registration makes images named {image_name}; give this one its own image_name",
            errors=[{"loc": ["image_name"], "msg": "is taken"}],
        )
    shown = RepositoryOut.of(made).model_dump(mode="json")
    return JSONResponse(shown, HTTPStatus.CREATED, {"Location": f"/api/v1/repositories/{made.id}"})


async def list_repositories(request: Request) -> Response:
    async with transaction(services_of(request).pool) as conn:
        found = await store.list_all(conn)
    return JSONResponse(dump_all([RepositoryOut.of(repository) for repository in found]))


async def read_repository(request: Request) -> Response:
    repository_id = path_id(request, "repository")
    async with transaction(services_of(request).pool) as conn:
        found = await store.read(conn, repository_id)
    if found is None:
        raise missing("repository", repository_id)
    return JSONResponse(RepositoryOut.of(found).model_dump(mode="json"))
