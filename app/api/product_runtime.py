"""/api/v1/products/{id}/tasks and /logs: where a product runs, and what its containers say."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Literal

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import StreamingResponse

from app.api.answering import answer_all
from app.api.asking import found, path_id, query
from app.api.lasting import while_token_lasts
from app.api.schema.product_runtime import LogQuery, TaskOut
from app.api.services import services_of
from app.engine.frame import one_line
from app.engine.service import read_service
from app.engine.shape import LABEL_PRODUCT
from app.engine.task_log import seconds_of, service_log
from app.engine.tasks import node_names, slot_of
from app.errors import AppError, EngineRefused
from app.postgres.pool import transaction
from app.products import store
from app.products.model import ProductStatus
from app.rollouts import store as rollouts
from app.rollouts.judge import GONE
from app.rollouts.model import SERVICE_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services
    from app.engine.shape import ServiceSnapshot, TaskSnapshot
    from app.engine.task_log import TaskLine
    from app.products.model import Product

log = structlog.get_logger(__name__)

LOOK_S: Final = 2.0
COMING_S: Final = 0.25
LAST_WORDS_S: Final = 0.5


async def list_tasks(request: Request) -> Response:
    """200 where the product runs and ran, as the swarm has it: what lives first, then the newest; ``commit_sha`` is
    that of the build which made the task's exact image. Empty when there is no service.
    """
    services = services_of(request)
    product = await _product(request)
    service = await _service_of(services, product)
    tasks = sorted(service.tasks, key=_what_lives_first) if service else []
    names = await node_names(services.engine, (task.node_id for task in tasks))
    async with transaction(services.pool) as conn:
        images = await rollouts.images_of(conn, product.id, [task.image for task in tasks])
    return answer_all([_shown(task, names, images) for task in tasks])


async def read_output(request: Request) -> Response:
    """The output of the product's containers, those that died included as long as the engines keep them. As text the
    last ``tail`` lines of each task; with ``follow=true`` then what is written, one event per line.

    An event's data is the line, its id is ``time slot task stream``; a client that comes back with it as
    ``Last-Event-ID`` gets what is behind that time. ``event: end`` says why nothing more comes: ``stopped``,
    ``removed`` or the engine's reason for refusing. Of a product that never ran there is nothing.
    """
    asked, services = query(request, LogQuery), services_of(request)
    product = await _product(request)
    service = await _service_of(services, product)
    if asked.follow:
        after = request.headers.get("last-event-id", "").partition(" ")[0]
        return EventSourceResponse(
            while_token_lasts(
                request, _events(services, product, service, asked.tail, after if seconds_of(after) else "")
            ),
            ping=15,
            send_timeout=30,
            headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
        )
    batches = service_log(services.engine, service.id, tail=asked.tail, follow=False) if service else None
    first = await anext(batches, []) if batches else []  # what goes wrong here is still answered as a problem
    return StreamingResponse(_text(first, batches), media_type="text/plain; charset=utf-8")


async def _product(request: Request) -> Product:
    product_id = path_id(request, "product")
    async with transaction(services_of(request).pool) as conn:
        return found(await store.read(conn, product_id), "product", product_id)


async def _service_of(services: Services, product: Product) -> ServiceSnapshot | None:
    """The product's service; None when there is none, or one of that name that is somebody else's."""
    service = await read_service(services.engine, SERVICE_PREFIX + product.slug)
    return service if service is not None and service.labels.get(LABEL_PRODUCT) == product.slug else None


def _lives(task: TaskSnapshot) -> bool:
    return task.state not in GONE


def _what_lives_first(task: TaskSnapshot) -> tuple[bool, bool, float]:
    return (not _lives(task), task.desired_state in GONE, -task.since.timestamp())


def _shown(task: TaskSnapshot, nodes: dict[str, str], images: dict[str, tuple[str | None, str | None]]) -> TaskOut:
    own = {name: getattr(task, name) for name in TaskOut.model_fields if hasattr(task, name)}
    image_name, commit = images.get(task.image, (None, None))
    node = nodes.get(task.node_id, "")
    return TaskOut.model_validate(own | {"node": node, "image_name": image_name, "commit_sha": commit})


async def _text(first: list[TaskLine], rest: AsyncGenerator[list[TaskLine], None] | None) -> AsyncIterator[str]:
    """The lines as they arrive; what the engine breaks off in the middle ends with a line that says so."""
    yield _joined(first)
    if rest is None:
        return
    try:
        async with aclosing(rest):
            async for lines in rest:
                yield _joined(lines)
    except AppError as error:
        log.warning("product_log_broke_off", reason=str(error))
        yield f"\n[the rest could not be read: {one_line(str(error))}]\n"


def _joined(lines: list[TaskLine]) -> str:
    return "".join(line.text + "\n" * line.ends for line in lines)


async def _events(
    services: Services, product: Product, service: ServiceSnapshot | None, tail: int, after: str
) -> AsyncGenerator[ServerSentEvent | bytes, None]:
    """The lines as events, until there is nothing more to come. When the engine breaks off or this process stops it
    ends without saying so: the client comes back with what it has.
    """
    while service is None:
        if services.stopping.is_set():
            return
        if not await _under_way(services, product):
            yield ServerSentEvent("stopped", event="end")
            return
        await asyncio.sleep(COMING_S)
        with suppress(AppError):
            service = await _service_of(services, product)
    slots = {task.id: task.slot for task in service.tasks}
    over = asyncio.create_task(_until_over(services, product))
    stopping = asyncio.create_task(services.stopping.wait())
    written = service_log(services.engine, service.id, tail=tail, follow=True, after=after)
    try:
        async with aclosing(written), aclosing(_until(written, over, stopping)) as batches:
            async for lines in batches:
                for task in {line.task for line in lines} - set(slots):
                    slots[task] = await slot_of(services.engine, task) if task else 0
                yield b"".join(line_event(line, slots[line.task]) for line in lines)
        if over.done():
            yield ServerSentEvent(over.result(), event="end")
    except EngineRefused as error:  # a log driver that cannot be read, say: coming back would not help
        yield ServerSentEvent(one_line(str(error)), event="end")
    except AppError as error:
        log.warning("product_log_broke_off", product=product.slug, reason=str(error))
    finally:
        over.cancel()
        stopping.cancel()


def line_event(line: TaskLine, slot: int) -> bytes:
    """One line as an event; a carriage return inside it would end the field, as a line end does."""
    text = line.text.replace("\r", "\r\ndata: ")
    return f"id: {line.at} {slot} {line.task} {line.stream}\r\nevent: log\r\ndata: {text}\r\n\r\n".encode()


async def _until(
    batches: AsyncGenerator[list[TaskLine], None], over: asyncio.Task[str], stopping: asyncio.Task[Literal[True]]
) -> AsyncGenerator[list[TaskLine], None]:
    """The batches until they end, or until the process stops; when all is over, what comes at once."""
    coming = asyncio.ensure_future(anext(batches, None))
    try:
        while not stopping.done():
            await asyncio.wait({coming, over, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                await asyncio.wait({coming, stopping}, timeout=LAST_WORDS_S, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done() or (lines := coming.result()) is None:
                return
            yield lines
            coming = asyncio.ensure_future(anext(batches, None))
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, AppError):
            await coming


async def _until_over(services: Services, product: Product) -> str:
    """Wait until the product's containers have nothing more to say, and say why."""
    while True:
        with suppress(AppError):
            service = await _service_of(services, product)
            quiet = service is None or (service.replicas == 0 and not any(_lives(task) for task in service.tasks))
            if quiet and not await _under_way(services, product):
                return "removed" if service is None else "stopped"
        await asyncio.sleep(LOOK_S)


async def _under_way(services: Services, product: Product) -> bool:
    """Whether a rollout of the product is under way: what is quiet now may speak in a moment, or be removed."""
    async with transaction(services.pool) as conn:
        now = await store.read(conn, product.id)
    return now is not None and now.status in {ProductStatus.DEPLOYING, ProductStatus.DELETING}
