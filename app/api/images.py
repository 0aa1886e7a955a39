"""/api/v1/images: what was built, what is being built, and building by hand."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.access import audit
from app.access.model import Subject
from app.api.answering import answer, answer_all, page
from app.api.asking import found, json_body, path_id, query
from app.api.auth import act_of
from app.api.retention import upkeep_of
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
    UnfinishedOut,
)
from app.api.services import services_of
from app.builds import store
from app.builds.log import stored_log
from app.builds.model import Image, Source, default_image_name
from app.errors import AppError
from app.postgres.pool import transaction
from app.problems import Problem, field_problem
from app.repositories import store as repositories
from app.repositories.recipe import Recipe
from app.retention import store as retention

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from app.api.services import Services
    from app.builds.model import ImageId
    from app.postgres.pool import Connection

log = structlog.get_logger(__name__)

SHOWN_PRODUCTS: Final = 5


async def github_tags(request: Request) -> Response:
    """200 the repository's tags, newest first; 404 when there is no such repository."""
    asked = query(request, TagQuery)
    tags = await services_of(request).github.list_tags(asked.repo)
    return answer(TagsOut(tags=[TagOut.of(tag) for tag in tags]))


async def create_image(request: Request) -> Response:
    """201 the image, pending; a missing ``commit_sha`` is the one that the tag has now. 404 when GitHub knows no such
    repository, tag or commit, 409 when ``name:tag`` exists, or when images of that name are made of another repository:
    products that track the name would run somebody else's code.
    """
    wanted = await json_body(request, ImageIn)
    services = services_of(request)
    tagged = await services.github.resolve_commit(wanted.repo, wanted.tag)
    if wanted.commit_sha not in {None, tagged.sha}:
        await _need_commit(services, wanted.repo, str(wanted.commit_sha))
    name = wanted.image_name or default_image_name(wanted.repo)
    async with transaction(services.pool) as conn:
        registration = await repositories.hold_registration(conn, name)
        if registration is not None and not registration.is_of(wanted.repo):
            sentence = f"images named {name} are made of {registration.repo} here; give this one another name"
            raise field_problem("image_name", sentence, status=HTTPStatus.CONFLICT)
        await repositories.note_seen(conn, wanted.repo, wanted.tag, tagged.sha)
        ref = f"refs/tags/{wanted.tag}"
        image_id = await store.insert_image(conn, name=name, tag=wanted.tag, repo=wanted.repo, ref=ref)
        if image_id is None:
            raise await _exists(conn, name, wanted.tag)
        await store.enqueue(
            conn,
            image_id,
            source=Source.API,
            commit=wanted.commit_sha or tagged.sha,
            recipe=registration.recipe if registration else Recipe(),
            repository_id=registration.id if registration else None,
        )
        image = await _image(conn, image_id)
        await audit.record(conn, act_of(request), _subject(image), repo=image.github_repo, commit=image.commit_sha)
    return answer(ImageOut.of(image), HTTPStatus.CREATED, location=f"/images/{image_id}")


async def list_images(request: Request) -> Response:
    """200 a page, newest first, with a ``Link`` to the next when there may be one; ``name``, ``tag``, ``repo`` and
    ``status`` narrow it down.
    """
    asked = query(request, ImageQuery)
    async with transaction(services_of(request).pool) as conn:
        listed = await store.list_images(
            conn,
            name=asked.name,
            tag=asked.tag,
            repo=asked.repo,
            status=asked.status,
            before=asked.before,
            limit=asked.limit,
        )
    return page(request, listed, ImageOut.of, asked.limit)


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
        listed = await store.builds_of(conn, image_id)
    return answer_all([BuildOut.of(build, delivery) for build, delivery in listed])


async def cancel_build(request: Request) -> Response:
    """202 the image; its build is cancelled, or its worker asked to stop. 409 when there is nothing to cancel."""
    image_id = path_id(request, "image")
    async with transaction(services_of(request).pool) as conn:
        image = await _locked(conn, image_id)
        asked = await store.cancel(conn, image.latest_build_id)
        if asked is store.Cancel.NOTHING:
            raise Problem(HTTPStatus.CONFLICT, f"image {image_id} is {image.build_status}: there is nothing to cancel")
        if asked is store.Cancel.ASKED:
            await audit.record(conn, act_of(request), _subject(image), build=image.latest_build_id)
        image = await _image(conn, image_id)
    return answer(ImageOut.of(image), HTTPStatus.ACCEPTED)


async def rebuild_image(request: Request) -> Response:
    """202 the image, pending again at the commit its tag has now; 404 when GitHub has no such tag any more."""
    image_id = path_id(request, "image")
    services = services_of(request)
    async with transaction(services.pool) as conn:
        image = await _image(conn, image_id)
    commit = (await services.github.resolve_commit(image.github_repo, image.tag)).sha
    async with transaction(services.pool) as conn:
        registration = await repositories.hold_registration(conn, image.name)
        image = await _locked(conn, image_id)
        if registration is not None and not registration.is_of(image.github_repo):
            registration = None
        latest = await store.read(conn, image.latest_build_id)
        assert latest is not None
        await store.enqueue(
            conn,
            image.id,
            source=Source.REBUILD,
            commit=commit,
            recipe=registration.recipe if registration else latest.recipe,
            repository_id=registration.id if registration else None,
        )
        image = await _image(conn, image_id)
        await audit.record(conn, act_of(request), _subject(image), build=image.latest_build_id, commit=commit)
    return answer(ImageOut.of(image), HTTPStatus.ACCEPTED)


async def delete_image(request: Request) -> Response:
    """204: the record, its builds and logs are gone, and so is what they made, from engine and registry.

    202 when that could not be finished at once: the image is gone for everybody, and what is left follows by itself.
    409 while a build of it waits or runs, while products are pinned to it or run it (``products`` names them), and
    while another container on the engine uses it. A rollback to it is not possible afterwards.
    """
    image_id = path_id(request, "image")
    services = services_of(request)
    upkeep = upkeep_of(services)
    async with transaction(services.pool) as conn:
        image = await _image(conn, image_id)
        _refuse(image, await retention.obstacles(conn, image_id))
        built = await retention.built_images(conn, image_id)
    for here in (await upkeep.on_engine(built)).values():
        if here.held_by is not None:
            detail = f"the container {here.held_by} on the engine uses image {image.name}:{image.tag}; remove it first"
            raise Problem(HTTPStatus.CONFLICT, detail)
    async with transaction(services.pool) as conn:
        image = await _locked(conn, image_id)
        _refuse(image, await retention.delete(conn, image))
        await audit.record(conn, act_of(request), _subject(image))
    try:
        left = [one.reason for one in await upkeep.finish(image_id)]
    except AppError as error:
        left = [str(error)]
    if left:
        log.warning("deletion_unfinished", image_id=image_id, reason=left[0])
        detail = f"image {image.name}:{image.tag} is gone; what it left behind follows by itself: {left[0]}"
        return answer(UnfinishedOut(detail=detail), HTTPStatus.ACCEPTED)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _refuse(image: Image, obstacles: retention.Busy | list[retention.InUse]) -> None:
    """Raise the 409 of an image that cannot be deleted now."""
    name = f"image {image.name}:{image.tag}"
    if isinstance(obstacles, retention.Busy):
        raise Problem(HTTPStatus.CONFLICT, f"{name} is being built; cancel that first")
    if obstacles:
        slugs = ", ".join(product.slug for product in obstacles[:SHOWN_PRODUCTS])
        more = f" and {len(obstacles) - SHOWN_PRODUCTS} more" if len(obstacles) > SHOWN_PRODUCTS else ""
        products = [{"id": product.id, "slug": product.slug, "name": product.name} for product in obstacles]
        detail = f"{name} is what products are pinned to or run: {slugs}{more}"
        raise Problem(HTTPStatus.CONFLICT, detail, products=products)


async def _need_commit(services: Services, repo: str, sha: str) -> None:
    if not await services.github.has_commit(repo, sha):
        raise field_problem("commit_sha", f"{repo} has no commit {sha} on GitHub", status=HTTPStatus.NOT_FOUND)


def _subject(image: Image) -> Subject:
    return Subject("image", image.id, f"{image.name}:{image.tag}")


async def _exists(conn: Connection, name: str, tag: str) -> Problem:
    image_id = await store.image_id_of(conn, name, tag)
    detail = f"image {name}:{tag} exists; POST /api/v1/images/{image_id}/rebuild builds it again"
    return Problem(HTTPStatus.CONFLICT, detail, id=image_id)


async def _image(conn: Connection, image_id: int | ImageId) -> Image:
    return found(await store.read_image(conn, image_id), "image", image_id)


async def _locked(conn: Connection, image_id: int) -> Image:
    return found(await store.lock_image(conn, image_id), "image", image_id)
