"""/api/v1/channels: whom to tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
from starlette.responses import Response

from app.access import audit
from app.access.model import Subject
from app.api.answering import answer, page
from app.api.asking import found, json_body, path_id, query
from app.api.auth import act_of
from app.api.schema.base import PageQuery
from app.api.schema.channels import ChannelIn, ChannelOut, ChannelPatch, ChannelTestOut
from app.api.services import services_of
from app.errors import NoticeNotSent
from app.mask import MASK
from app.notices import channels as store
from app.notices import store as notices
from app.notices.outgoing import trial_body
from app.notices.text import greeting
from app.postgres.pool import transaction
from app.problems import Problem, field_problem
from app.receivers.guard import AddressRefused
from app.receivers.signing import new_secret, signed_headers
from app.sealing import SealBroken

if TYPE_CHECKING:
    from pydantic import SecretStr
    from starlette.requests import Request

    from app.api.services import Services
    from app.notices.model import Channel, ChannelKind
    from app.sealing import Vault


async def create_channel(request: Request) -> Response:
    """201 the channel; 409 when the name is taken, and for a ``secret`` where nothing is signed. ``kind`` is the form
    of message that the receiver takes; Rocket.Chat takes Slack's. It is told about every event of every image and
    product that it does not choose among. A ``webhook`` gets what this document's ``webhooks`` describe, signed per
    Standard Webhooks; the secret that was made for it because none was given is shown in this answer and never again.
    """
    wanted = await json_body(request, ChannelIn)
    if wanted.name == store.SETTINGS_CHANNEL:
        raise _taken(wanted.name)
    if wanted.secret is not None and not wanted.kind.signs:
        raise _signs_nothing(wanted.kind)
    services = services_of(request)
    await _refuse_private(services, wanted.url)
    fresh = new_secret() if wanted.kind.signs and wanted.secret is None else None
    fields = {name: getattr(wanted, name) for name in type(wanted).model_fields}
    async with transaction(services.pool) as conn:
        made = await store.insert(conn, services.vault, **fields | {"secret": fresh or wanted.secret})
        if made is None:
            raise _taken(wanted.name)
        told = {name: getattr(made, name) for name in ("kind", "events", "images", "products", "enabled")}
        await audit.record(conn, act_of(request), _subject(made), **told)
    return answer(ChannelOut.of(made, made=fresh), HTTPStatus.CREATED, location=f"/channels/{made.id}")


async def list_channels(request: Request) -> Response:
    """200 a page of channels, newest first; the one of SLACK_WEBHOOK_URL is among them."""
    asked = query(request, PageQuery)
    async with transaction(services_of(request).pool) as conn:
        listed = await store.list_page(conn, before=asked.before, limit=asked.limit)
    return page(request, listed, ChannelOut.of, asked.limit)


async def read_channel(request: Request) -> Response:
    """200 the channel, its address and its secret masked."""
    return answer(ChannelOut.of(await _channel(request)))


async def change_channel(request: Request) -> Response:
    """200 the channel. Switching it off fails what waits for it; the mask as ``url`` or ``secret`` keeps what is there,
    and null as ``secret`` has a new one made, which is shown in this answer and never again. 409 for a name that is
    taken, for a ``secret`` where nothing is signed, and for name and address of the channel of SLACK_WEBHOOK_URL.
    """
    patch = await json_body(request, ChannelPatch)
    channel_id, services = path_id(request, "channel"), services_of(request)
    if patch.url != MASK:
        await _refuse_private(services, patch.url)
    fresh = new_secret() if patch.secret is None else None
    try:
        async with transaction(services.pool) as conn:
            before = found(await store.lock(conn, channel_id), "channel", channel_id)
            after = await store.update(conn, changed(services.vault, before, patch, fresh))
            if not after.enabled:
                await notices.fail_stranded(conn)
            kept = {name for name in ("url", "secret") if getattr(patch, name) == MASK}
            given = sorted(patch.model_fields_set - kept)
            await audit.record(conn, act_of(request), _subject(after), given=given, enabled=after.enabled)
    except asyncpg.UniqueViolationError:
        raise _taken(patch.name) from None
    return answer(ChannelOut.of(after, made=fresh))


async def delete_channel(request: Request) -> Response:
    """204: gone, with all notices that were or would be sent to it. 409 for the channel of SLACK_WEBHOOK_URL."""
    channel_id = path_id(request, "channel")
    async with transaction(services_of(request).pool) as conn:
        channel = found(await store.lock(conn, channel_id), "channel", channel_id)
        if not await store.delete(conn, channel_id):
            raise Problem(
                HTTPStatus.CONFLICT,
                f"the channel {channel.name} is the one of SLACK_WEBHOOK_URL and cannot be deleted; "
                "switch it off (enabled: false), or unset that",
            )
        await audit.record(conn, act_of(request), _subject(channel))
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def test_channel(request: Request) -> Response:
    """200 what became of a test message, which is sent now, also when the channel is off: ``sent`` says whether the
    receiver took it. 409 when there is no address to send it to.
    """
    channel, services = await _channel(request), services_of(request)
    url, secret = _address(services, channel)
    now = datetime.now(UTC)
    body = trial_body(channel.kind, greeting(channel.name, services.settings.public_url), now)
    headers = signed_headers(secret.get_secret_value(), f"msg_{uuid4().hex}", now, body) if secret else {}
    try:
        said = await services.sender.post(url, body, headers=headers, trusted=channel.from_settings)
        told = ChannelTestOut(sent=True, status=said.status, answer=said.word)
    except NoticeNotSent as error:
        told = ChannelTestOut(sent=False, status=error.status, answer=str(error))
    async with transaction(services.pool) as conn:
        await audit.record(conn, act_of(request), _subject(channel), sent=told.sent, answer=told.status)
    return answer(told)


def changed(vault: Vault, before: Channel, patch: ChannelPatch, fresh: str | None = None) -> Channel:
    """The channel after a patch: only what it names changes; ``fresh`` takes the place of a secret that is null. Raises
    the 409 for what the settings say, and for a secret where nothing is signed.
    """
    given = {name: getattr(patch, name) for name in patch.model_fields_set}
    url, secret = given.pop("url", MASK), given.pop("secret", MASK)
    if before.from_settings:
        for name, same in (("url", url == MASK), ("name", given.get("name", before.name) == before.name)):
            if not same:
                raise field_problem(name, "belongs to SLACK_WEBHOOK_URL of the settings", status=HTTPStatus.CONFLICT)
    elif given.get("name") == store.SETTINGS_CHANNEL:
        raise _taken(store.SETTINGS_CHANNEL)
    given |= {name: tuple(given[name]) for name in ("events", "images", "products") if given.get(name) is not None}
    if url != MASK:
        given["url_sealed"] = store.seal_url(vault, before.id, url)
    if secret != MASK:
        if not before.kind.signs:
            raise _signs_nothing(before.kind)
        given["secret_sealed"] = store.seal_secret(vault, before.id, secret or fresh or new_secret())
    return replace(before, **given)


async def _channel(request: Request) -> Channel:
    channel_id = path_id(request, "channel")
    async with transaction(services_of(request).pool) as conn:
        return found(await store.read(conn, channel_id), "channel", channel_id)


async def _refuse_private(services: Services, url: str) -> None:
    """Raise the 422 for an address to which nothing would be sent."""
    try:
        await services.sender.check(url)
    except AddressRefused as error:
        raise field_problem("url", str(error)) from None


def _address(services: Services, channel: Channel) -> tuple[SecretStr, SecretStr | None]:
    """Where a message goes, and what it is signed with; raises the 409 where there is none, or it does not open."""
    try:
        url = store.url_of(services.vault, channel, services.settings.slack_webhook_url)
        secret = store.secret_of(services.vault, channel)
    except SealBroken as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None
    if url is None:
        raise Problem(HTTPStatus.CONFLICT, "this process has no SLACK_WEBHOOK_URL, which this channel goes by")
    return url, secret


def _subject(channel: Channel) -> Subject:
    return Subject("channel", channel.id, channel.name)


def _taken(name: str) -> Problem:
    return field_problem("name", f"another channel is named {name}", status=HTTPStatus.CONFLICT)


def _signs_nothing(kind: ChannelKind) -> Problem:
    sentence = f"a channel of the kind {kind} signs nothing; leave the secret out"
    return field_problem("secret", sentence, status=HTTPStatus.CONFLICT)
