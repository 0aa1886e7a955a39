"""/api/v1/deliveries: what GitHub sent, what became of it, and deciding it anew."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import Response, StreamingResponse

from app.access import audit
from app.api.answering import answer, page
from app.api.asking import found, missing, path_id, query
from app.api.auth import act_of
from app.api.schema.deliveries import DeliveryDetailOut, DeliveryOut, DeliveryQuery, ReplayOut
from app.api.services import services_of
from app.deliveries import inbox
from app.deliveries.model import DeliveryState
from app.deliveries.reading import read_event, read_payload
from app.deliveries.store import Accepted, subject_of
from app.errors import PayloadInvalid
from app.github.payload import JSON_TYPE
from app.postgres.pool import transaction
from app.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from app.deliveries.model import Delivery

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
TEXT_CHARACTERS: Final = 10_000


async def list_deliveries(request: Request) -> Response:
    """200 a page of the inbox, newest first, without bodies; by ``state``, ``repo`` and ``event``."""
    asked = query(request, DeliveryQuery)
    async with transaction(services_of(request).pool) as conn:
        listed = await inbox.list_page(conn, **asked.model_dump())
    return page(request, listed, DeliveryOut.of, asked.limit)


async def read_delivery(request: Request) -> Response:
    """200 the delivery with its payload; a body that is no JSON is shown as text, its first 10,000 characters."""
    delivery, pool = await _delivery(request), services_of(request).pool
    shown = DeliveryOut.of(delivery).model_dump() | {"content_type": delivery.content_type}
    plain_json = delivery.content_type.partition(";")[0].strip().lower() == JSON_TYPE
    if delivery.size_bytes > inbox.PART_BYTES and plain_json and delivery.state is not DeliveryState.FAILED:
        # It was JSON when it was taken in, so it can go out as it is stored, without ever being in memory as a whole.
        frame = _frame(shown, None)
        return StreamingResponse(_spliced(frame, inbox.body_parts(pool, delivery)), media_type=JSON)
    if delivery.size_bytes <= inbox.PART_BYTES:
        try:
            payload = await read_payload(delivery.content_type, await inbox.whole_body(pool, delivery))
        except PayloadInvalid:
            pass
        else:
            return Response(_frame(shown, None) + payload + b"}", media_type=JSON)
    beginning = await anext(inbox.body_parts(pool, delivery), b"")
    text = beginning.decode(errors="replace")[:TEXT_CHARACTERS]
    return Response(_frame(shown, text) + b"null}", media_type=JSON)


async def read_body(request: Request) -> Response:
    """200 the body of the delivery byte for byte as GitHub signed it, as a file."""
    delivery = await _delivery(request)
    headers = {
        "Content-Length": str(delivery.size_bytes),
        "Content-Disposition": f'attachment; filename="delivery-{delivery.id}.txt"',
    }
    parts = inbox.body_parts(services_of(request).pool, delivery)
    return StreamingResponse(parts, media_type=BYTES, headers=headers)


async def replay_delivery(request: Request) -> Response:
    """202 what became of it: the stored delivery is decided anew, with the registrations of today, and builds are
    queued where they are needed: never one for a commit that is being built or has been. 409 when its body makes no
    sense.
    """
    delivery, pool = await _delivery(request), services_of(request).pool
    try:
        body = await inbox.whole_body(pool, delivery)
        parsed = await read_event(delivery.event, delivery.content_type, body)
    except PayloadInvalid as error:
        sentence = f"delivery {delivery.id} cannot be decided anew: {error}"
        raise Problem(HTTPStatus.CONFLICT, sentence) from None
    async with transaction(pool) as conn:
        if not await inbox.lock(conn, delivery.id):
            raise missing("delivery", delivery.id)
        outcome = await inbox.replay(conn, delivery.id, parsed)
        queued = list(outcome.builds) if isinstance(outcome, Accepted) else []
        subject = subject_of(delivery.id, delivery.guid, parsed)
        await audit.record(conn, act_of(request), subject, guid=delivery.guid, builds=queued)
    replayed = ReplayOut(
        delivery=delivery.guid,
        outcome="accepted" if queued else "ignored",
        builds=[int(build) for build in queued],
        reason=None if isinstance(outcome, Accepted) else outcome.reason,
    )
    return answer(replayed, HTTPStatus.ACCEPTED)


async def _delivery(request: Request) -> Delivery:
    delivery_id = path_id(request, "delivery")
    async with transaction(services_of(request).pool) as conn:
        return found(await inbox.read(conn, delivery_id), "delivery", delivery_id)


def _frame(shown: dict[str, object], text: str | None) -> bytes:
    """The JSON of a delivery up to its payload, which comes last."""
    whole = DeliveryDetailOut.model_validate(shown | {"payload_text": text, "payload": None}).model_dump_json()
    return whole.removesuffix("null}").encode()


async def _spliced(frame: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield frame
    async for part in parts:
        yield part
    yield b"}"
