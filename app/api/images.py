"""/api/v1/images: what was built, what is being built, and building by hand."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, StreamingResponse

from app.api.asking import json_body, missing, path_id, query
from app.api.paging import page
from app.api.schema.base import dump_all
from app.api.schema.images import (
    BuildOut,
    ImageDetailQuery,
    ImageIn,
    ImageOut,
    ImageQuery,
    ImageWithLogOut,
    TagOut,
    TagQuery,
    TagsOut,
)
from app.api.services import services_of
from app.builds import store
from app.builds.log import stored_log
from app.builds.model import Cause, Image, default_image_name
from app.postgres.pool import transaction
from app.problems import Problem
from app.repositories import store as repositories
from app.repositories.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from app.builds.model import ImageId
    from app.postgres.pool import Connection
    from app.repositories.model import Repository


async def github_tags(request: Request) -> Response:
    """200 the repository's tags, newest first; 404 when there is no such repository."""
    asked = query(request, TagQuery)
    tags = await services_of(request).github.list_tags(asked.repo)
    return JSONResponse(TagsOut(tags=[TagOut.of(tag) for tag in tags]).model_dump(mode="json"))


async def create_image(request: Request) -> Response:
    """201 the image, pending; 404 when GitHub knows no such repository or tag, 409 when ``name:tag`` exists."""
    wanted = await json_body(request, ImageIn)
    services = services_of(request)
    found = await services.github.resolve_commit(wanted.repo, wanted.tag)
    name = wanted.image_name or default_image_name(wanted.repo)
    async with transaction(services.pool) as conn:
        ref = f"refs/tags/{wanted.tag}"
        image_id = await store.insert_image(conn, name=name, tag=wanted.tag, repo=wanted.repo, ref=ref)
        if image_id is None:
            raise await _exists(conn, name, wanted.tag)
        registration = await _registration(conn, wanted.repo, name)
        await store.enqueue(
            conn,
            image_id,
            cause=Cause.API,
            commit=wanted.commit_sha or found.sha,
            recipe=registration.recipe if registration else Recipe(),
            repository_id=registration.id if registration else None,
        )
        image = await _image(conn, image_id)
    shown = ImageOut.of(image).model_dump(mode="json")
    return JSONResponse(shown, HTTPStatus.CREATED, {"Location": f"/api/v1/images/{image_id}"})


async def list_images(request: Request) -> Response:
    """200 a page, newest first, with a ``Link`` to the next when there may be one."""
    asked = query(request, ImageQuery)
    async with transaction(services_of(request).pool) as conn:
        found = await store.list_images(
            conn, name=asked.name, status=asked.status, before=asked.before, limit=asked.limit
        )
    return page(request, [ImageOut.of(image) for image in found], asked.limit, found[-1].id if found else None)


async def read_image(request: Request) -> Response:
    """200 the image with the complete log of its latest build; ``?log=false`` leaves that out."""
    asked = query(request, ImageDetailQuery)
    image_id = path_id(request, "image")
    services = services_of(request)
    async with transaction(services.pool) as conn:
        image = await _image(conn, image_id)
    shown = ImageOut.of(image).model_dump(mode="json")
    if not asked.log:
        return JSONResponse(shown)
    log = stored_log(services.pool, image.latest_build_id)
    first = await anext(log, "")  # what goes wrong here is still answered as a problem
    frame = ImageWithLogOut.model_validate(shown | {"build_log": ""}).model_dump_json()
    return StreamingResponse(_with_log(frame, first, log), media_type="application/json")


async def _with_log(frame: str, first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    """The JSON ``frame``, which ends with an empty log, with the log filled in part by part: it may be far too large to
    be written at once.
    """
    yield frame.removesuffix('"}') + _inside_json(first)
    async for part in rest:
        yield _inside_json(part)
    yield '"}'


def _inside_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


async def list_builds(request: Request) -> Response:
    """200 every attempt to make the image, newest first."""
    image_id = path_id(request, "image")
    async with transaction(services_of(request).pool) as conn:
        await _image(conn, image_id)
        found = await store.builds_of(conn, image_id)
    return JSONResponse(dump_all([BuildOut.of(build, delivery) for build, delivery in found]))


async def cancel(request: Request) -> Response:
    """202 the image; its build is cancelled, or its worker asked to stop. 409 when there is nothing to cancel."""
    image_id = path_id(request, "image")
    async with transaction(services_of(request).pool) as conn:
        image = await _locked(conn, image_id)
        if not await store.cancel(conn, image.latest_build_id):
            raise Problem(HTTPStatus.CONFLICT, f"image {image_id} is {image.build_status}: there is nothing to cancel")
        image = await _image(conn, image_id)
    return JSONResponse(ImageOut.of(image).model_dump(mode="json"), HTTPStatus.ACCEPTED)


async def rebuild(request: Request) -> Response:
    """202 the image, pending again at the commit its tag has now; 404 when GitHub has no such tag any more."""
    image_id = path_id(request, "image")
    services = services_of(request)
    async with transaction(services.pool) as conn:
        image = await _image(conn, image_id)
    commit = (await services.github.resolve_commit(image.github_repo, image.tag)).sha
    async with transaction(services.pool) as conn:
        image = await _locked(conn, image_id)
        registration = await _registration(conn, image.github_repo, image.name)
        latest = await store.read(conn, image.latest_build_id)
        assert latest is not None
        await store.enqueue(
            conn,
            image.id,
            cause=Cause.REBUILD,
            commit=commit,
            recipe=registration.recipe if registration else latest.recipe,
            repository_id=registration.id if registration else None,
        )
        image = await _image(conn, image_id)
    return JSONResponse(ImageOut.of(image).model_dump(mode="json"), HTTPStatus.ACCEPTED)


async def _registration(conn: Connection, repo: str, image_name: str) -> Repository | None:
    """The registration that says how this repository becomes an image of that name."""
    found = await repositories.registrations_of(conn, repo)
    return next((registration for registration in found if registration.image_name == image_name), None)


async def _exists(conn: Connection, name: str, tag: str) -> Problem:
    image_id = await store.image_id_of(conn, name, tag)
    detail = f"image {name}:{tag} exists; POST /api/v1/images/{image_id}/rebuild builds it again"
    return Problem(HTTPStatus.CONFLICT, detail, id=image_id)


async def _image(conn: Connection, image_id: int | ImageId) -> Image:
    image = await store.read_image(conn, image_id)
    if image is None:
        raise missing("image", image_id)
    return image


async def _locked(conn: Connection, image_id: int) -> Image:
    image = await store.lock_image(conn, image_id)
    if image is None:
        raise missing("image", image_id)
    return image
