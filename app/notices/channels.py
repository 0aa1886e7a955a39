"""The channels table: where notices go. An address is the whole credential: it is stored sealed, for its row only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from app.notices.model import Channel, ChannelId, ChannelKind, NoticeEvent
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from app.notices.model import ClaimedMessage
    from app.postgres.pool import Connection
    from app.sealing import Vault

SQL: Final = load_queries("channels")

SETTINGS_CHANNEL: Final = "slack"
MOST_IN_BURST: Final = 10
BURST_S: Final = 10.0  # Slack wants one message a second on average, and bears short bursts


def seal_url(vault: Vault, channel_id: int, url: str) -> str:
    """An address as it is stored."""
    return vault.seal(url.encode(), _context(channel_id))


def open_url(vault: Vault, channel_id: int, sealed: str) -> SecretStr:
    """The address itself. Raises ``SealBroken`` when the key is another one."""
    return SecretStr(vault.open(sealed, _context(channel_id)).decode())


def seal_secret(vault: Vault, channel_id: int, secret: str) -> str:
    """A signing secret as it is stored."""
    return vault.seal(secret.encode(), _secret_context(channel_id))


def url_of(vault: Vault, target: Channel | ClaimedMessage, settings_url: SecretStr | None) -> SecretStr | None:
    """Where messages for a channel go; None when that is in settings that this process was not given. Raises
    ``SealBroken``.
    """
    if target.url_sealed is None:
        return settings_url
    return open_url(vault, _id_of(target), target.url_sealed)


def secret_of(vault: Vault, target: Channel | ClaimedMessage) -> SecretStr | None:
    """What messages for a channel are signed with; None when they are not signed. Raises ``SealBroken``."""
    if target.secret_sealed is None:
        return None
    return SecretStr(vault.open(target.secret_sealed, _secret_context(_id_of(target))).decode())


async def ensure_settings_channel(conn: Connection) -> None:
    """Make sure of the channel of SLACK_WEBHOOK_URL; one that a person switched off stays off, one that switched itself
    off gets another chance.
    """
    await conn.execute(SQL.ensure_settings_channel, SETTINGS_CHANNEL, ChannelKind.SLACK)


async def insert(
    conn: Connection,
    vault: Vault,
    *,
    name: str,
    kind: ChannelKind,
    url: str,
    events: Sequence[NoticeEvent] | None = None,
    images: Sequence[str] = (),
    products: Sequence[str] = (),
    secret: str | None = None,
    enabled: bool = True,
) -> Channel | None:
    """Make a channel; None when the name is taken. ``secret`` is for kinds that sign."""
    made = await conn.fetchval(SQL.insert_channel, name, kind)
    if made is None:
        return None
    channel = await lock(conn, made)
    assert channel is not None
    whole = replace(
        channel,
        url_sealed=seal_url(vault, made, url),
        secret_sealed=seal_secret(vault, made, secret) if secret is not None else None,
        events=tuple(events) if events is not None else None,
        images=tuple(images),
        products=tuple(products),
        enabled=enabled,
    )
    return await update(conn, whole)


async def update(conn: Connection, channel: Channel) -> Channel:
    """Write name, address, secret, choice and switch of a locked channel.

    Raises asyncpg's ``UniqueViolationError`` when another channel has the name.
    """
    row = await conn.fetchrow(
        SQL.update_channel,
        channel.id,
        channel.name,
        channel.url_sealed,
        channel.events,
        channel.enabled,
        list(channel.images),
        list(channel.products),
        channel.secret_sealed,
    )
    assert row is not None
    return _channel(row)


async def switch_off(conn: Connection, channel_id: int, url_sealed: str | None, reason: str) -> str | None:
    """Send nothing more to an address that is gone, until a person switches the channel on; its name.

    None when the channel has another address by now, or is off.
    """
    name: str | None = await conn.fetchval(SQL.switch_channel_off, channel_id, url_sealed, reason)
    return name


async def pause(conn: Connection, channel_id: int, seconds: float) -> None:
    """Leave a receiver alone for so long, as it asked."""
    await conn.execute(SQL.pause_channel, channel_id, seconds)


async def count_message(conn: Connection, channel_id: int) -> None:
    """A message went out: a channel that has had many within seconds rests, and what waits meanwhile is gathered."""
    await conn.execute(SQL.count_message, channel_id, MOST_IN_BURST, BURST_S)


async def delete(conn: Connection, channel_id: int) -> bool:
    """Forget a channel and everything that was or would be sent to it; False for the one of the settings."""
    return await conn.fetchrow(SQL.delete_channel, channel_id) is not None


async def list_page(conn: Connection, *, before: int | None, limit: int) -> list[Channel]:
    """A page of channels, newest first, behind the channel ``before``."""
    return [_channel(row) for row in await conn.fetch(SQL.list_channels, before, limit)]


async def read(conn: Connection, channel_id: int) -> Channel | None:
    row = await conn.fetchrow(SQL.read_channel, channel_id)
    return _channel(row) if row else None


async def lock(conn: Connection, channel_id: int) -> Channel | None:
    """The channel, which nobody else changes until the transaction ends."""
    row = await conn.fetchrow(SQL.lock_channel, channel_id)
    return _channel(row) if row else None


def _channel(row: asyncpg.Record) -> Channel:
    fields = {name: row[name] for name in Channel.__slots__}
    fields["id"], fields["kind"] = ChannelId(row["id"]), ChannelKind(row["kind"])
    fields["events"] = None if row["events"] is None else tuple(NoticeEvent(event) for event in row["events"])
    fields["images"], fields["products"] = tuple(row["images"]), tuple(row["products"])
    return Channel(**fields)


def _id_of(target: Channel | ClaimedMessage) -> int:
    return target.id if isinstance(target, Channel) else target.channel_id


def _context(channel_id: int) -> str:
    return f"the address of channel {channel_id}"


def _secret_context(channel_id: int) -> str:
    return f"the signing secret of channel {channel_id}"
