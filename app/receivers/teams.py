"""The form of a Workflows webhook of Microsoft Teams: a message with one Adaptive Card. Pure.

Foreign text stands in text runs only, which are no Markdown. What the card would take for a function, ``{{DATE(…)}}``,
is parted.
"""

from __future__ import annotations

import json
from typing import Any, Final

from app.receivers.message import Bold, Code, Line, Message, Part, Tone, fitting, plain_line, text_of

MOST_BYTES: Final = 28_000  # Teams takes 28 KB
CARD: Final = "application/vnd.microsoft.card.adaptive"
SCHEMA: Final = "http://adaptivecards.io/schemas/adaptive-card.json"
STYLES: Final = {Tone.GOOD: "good", Tone.BAD: "attention", Tone.NEUTRAL: "default"}
WORD_JOINER: Final = "\N{WORD JOINER}"


def payload(message: Message) -> dict[str, Any]:
    """The JSON body for a webhook of Teams Workflows."""
    message = fitting(message, lambda it: len(json.dumps(_payload(it))) <= MOST_BYTES)
    return _payload(message)


def _payload(message: Message) -> dict[str, Any]:
    card: dict[str, Any] = {
        "$schema": SCHEMA,
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": _text(plain_line(message.headline)),
        "msteams": {"width": "Full"},
        "body": _body(message),
    }
    if message.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": message.link.title, "url": message.link.url}]
    return {"type": "message", "attachments": [{"contentType": CARD, "contentUrl": None, "content": card}]}


def _body(message: Message) -> list[dict[str, Any]]:
    headline = _block((f"{message.icon.character} ", *message.headline))
    body: list[dict[str, Any]] = [
        {"type": "Container", "style": STYLES[message.tone], "bleed": True, "items": [headline]},
        *map(_block, message.lines),
    ]
    if message.log:
        title = [_block((f"{message.log_of}:",))] if message.log_of else []
        log = [_block((Code(line or " "),), spacing="None") for line in message.log]
        body.append({"type": "Container", "style": "emphasis", "items": [*title, *log]})
    if message.footer:
        body.append(_block(message.footer, isSubtle=True))
    return body


def _block(line: Line, *, isSubtle: bool = False, **more: str) -> dict[str, Any]:  # noqa: N803 - the card's own name
    runs = [_run(part) | ({"isSubtle": True, "size": "Small"} if isSubtle else {}) for part in line if text_of(part)]
    return {"type": "RichTextBlock", "inlines": runs} | more


def _run(part: Part) -> dict[str, Any]:
    match part:
        case Bold(text):
            return {"type": "TextRun", "text": _text(text), "weight": "Bolder"}
        case Code(text):
            return {"type": "TextRun", "text": _text(text), "fontType": "Monospace"}
        case str():
            return {"type": "TextRun", "text": _text(part)}


def _text(text: str) -> str:
    while "{{" in text:
        text = text.replace("{{", f"{{{WORD_JOINER}{{")
    return text
