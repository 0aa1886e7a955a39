"""A message in the form of its channel's kind: what is posted, to the byte. Pure but for the secret's signature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from app.notices.model import ChannelKind, NoticeEvent, Subject
from app.notices.text import gathered, message_of
from app.receivers import discord, mattermost, slack, teams, webhook
from app.receivers.message import log_line, one_line, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from app.notices.model import Told
    from app.receivers.message import Message

PEOPLE: Final[dict[ChannelKind, Callable[[Message], dict[str, Any]]]] = {
    ChannelKind.SLACK: slack.payload,
    ChannelKind.MATTERMOST: mattermost.payload,
    ChannelKind.DISCORD: discord.payload,
    ChannelKind.TEAMS: teams.payload,
}
MOST_LOG_LINES: Final = 50


def body_of(kind: ChannelKind, told: Sequence[Told], public_url: str) -> bytes:
    """The body of one message about these, which are one or several. Raises one of ``UNREADABLE`` for facts that are
    not as this version writes them.
    """
    messages = [message_of(one, public_url) for one in told]
    message = messages[0] if len(messages) == 1 else gathered(messages, public_url)
    if kind is ChannelKind.WEBHOOK:
        name = type_of(told[0].event) if len(told) == 1 else webhook.SEVERAL
        events = [_event(one, about, public_url) for one, about in zip(told, messages, strict=True)]
        return _encoded(webhook.payload(name, told[0].created_at, plain(message), events))
    return _encoded(PEOPLE[kind](message))


def trial_body(kind: ChannelKind, message: Message, at: datetime) -> bytes:
    """The body of a message that is about no event."""
    if kind is ChannelKind.WEBHOOK:
        return _encoded(webhook.payload(webhook.TEST, at, plain(message), []))
    return _encoded(PEOPLE[kind](message))


def type_of(event: NoticeEvent) -> str:
    """The type of an event in messages to programs.

    >>> type_of(NoticeEvent.ROLLOUT_DONE)
    'rollout.done'
    """
    return str(event).replace("_", ".", 1)


def _event(told: Told, message: Message, public_url: str) -> dict[str, Any]:
    """One event for programs; see ``WebhookEvent`` in the OpenAPI document for what the fields say."""
    facts = told.facts
    about_build = told.subject is Subject.BUILD
    return {
        "id": told.id,
        "type": type_of(told.event),
        "at": told.created_at.isoformat(),
        "text": plain(message),
        "link": message.link.url if message.link else f"{public_url}/",
        "build_id": told.subject_id if about_build else facts.get("build_id"),
        "image": _text(f"{facts['name']}:{facts['tag']}" if about_build else facts["image"]),
        "image_id": facts.get("image_id"),
        "github_repo": _text(facts.get("github_repo")),
        "commit_sha": _text(facts.get("commit_sha" if about_build else "commit")),
        "seconds": facts.get("seconds"),
        "error": _text(facts.get("error")),
        "log": [log_line(line) for line in facts.get("log_tail", ())][-MOST_LOG_LINES:],
        "products": _products(told, public_url),
    }


def _products(told: Told, public_url: str) -> list[dict[str, Any]]:
    """The product of a rollout, or those that a build set going."""
    products = told.facts.get("products", ()) if told.subject is Subject.BUILD else (told.facts,)
    return [
        {
            "product_id": product["product_id"],
            "rollout_id": product["rollout_id"],
            "slug": _text(product["slug"]),
            "name": _text(product["product"]),
            "state": product["state"],
            "error": _text(product.get("error")),
            "output": _output(product),
            "link": f"{public_url}/products/{product['product_id']:d}",
        }
        for product in products
    ]


def _output(product: Mapping[str, Any]) -> list[str]:
    """The last lines of what the first task that failed wrote."""
    task: Mapping[str, Any] = next(iter(product.get("task_errors", ())), {})
    return [log_line(line) for line in str(task.get("output", "")).splitlines()][-MOST_LOG_LINES:]


def _text(value: object) -> str | None:
    return None if value is None else one_line(value)


def _encoded(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload).encode()
