"""Mattermost's form: one attachment in Markdown. It ignores Slack's blocks and takes Slack's ``<!channel>``. Pure."""

from __future__ import annotations

from typing import Any, Final

from app.receivers.message import Bold, Code, Line, Message, Tone, fitting, plain

LONGEST_TEXT: Final = 12_000  # a post holds 16,383 characters
COLOURS: Final = {Tone.GOOD: "#2e7d32", Tone.BAD: "#c62828", Tone.NEUTRAL: "#607d8b"}
ZERO_WIDTH_SPACE: Final = "\N{ZERO WIDTH SPACE}"
# Backslashes as CommonMark has them. Slack's <…> is looked for before Markdown is read, so < and > are entities; and a
# name after @ is looked for in the text that comes out, so it is parted from its sign.
ESCAPES: Final = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_~[]|$"}
    | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": f"@{ZERO_WIDTH_SPACE}"}
)
IN_CODE: Final = str.maketrans({"`": "'", "@": f"@{ZERO_WIDTH_SPACE}", "<": f"<{ZERO_WIDTH_SPACE}"})


def payload(message: Message) -> dict[str, Any]:
    """The JSON body for an incoming webhook of Mattermost."""
    message = fitting(message, lambda it: len(_text(it)) <= LONGEST_TEXT)
    fallback = plain(message).translate(IN_CODE)
    return {"attachments": [{"fallback": fallback, "color": COLOURS[message.tone], "text": _text(message)}]}


def _text(message: Message) -> str:
    lines = [f"{message.icon.code} {_line(message.headline)}", *map(_line, message.lines)]
    if message.log:
        title = [f"{message.log_of.translate(ESCAPES)}:"] if message.log_of else []
        lines += [*title, "```", *(line.translate(IN_CODE) for line in message.log), "```"]
    link = f"[{message.link.title.translate(ESCAPES)}]({message.link.url})" if message.link else ""
    if footer := ", ".join(text for text in (_line(message.footer), link) if text):
        lines.append(footer)
    return "\n".join(lines)


def _line(line: Line) -> str:
    return "".join(map(_part, line))


def _part(part: str | Bold | Code) -> str:
    match part:
        case Bold(text):
            return f"**{text.translate(ESCAPES)}**"
        case Code(text):
            return f"`{text.translate(IN_CODE)}`"
        case str():
            return part.translate(ESCAPES)
