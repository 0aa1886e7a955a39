"""Discord's form: one embed, and nobody is ever called by name. Pure."""

from __future__ import annotations

from typing import Any, Final

from app.receivers.message import Bold, Code, Line, Message, Tone, fitting, plain_line

# discord.com/developers/docs/resources/message, "Embed Limits"
LONGEST_DESCRIPTION: Final = 4096
LONGEST_FOOTER: Final = 2048
LONGEST_EMBED: Final = 6000
COLOURS: Final = {Tone.GOOD: 0x2E7D32, Tone.BAD: 0xC62828, Tone.NEUTRAL: 0x607D8B}
ESCAPES: Final = str.maketrans({character: f"\\{character}" for character in "\\`*_~|<>[]@"})


def payload(message: Message) -> dict[str, Any]:
    """The JSON body for a webhook of Discord."""
    message = fitting(message, _fits)
    embed: dict[str, Any] = {"description": _description(message), "color": COLOURS[message.tone]}
    if message.footer:
        embed["footer"] = {"text": plain_line(message.footer)}  # Discord reads no Markdown there
    return {"allowed_mentions": {"parse": []}, "embeds": [embed]}


def _fits(message: Message) -> bool:
    description, footer = _units(_description(message)), _units(plain_line(message.footer))
    return description <= LONGEST_DESCRIPTION and footer <= LONGEST_FOOTER and description + footer <= LONGEST_EMBED


def _description(message: Message) -> str:
    lines = [f"{message.icon.character} {_line(message.headline)}", *map(_line, message.lines)]
    if message.log:
        title = [f"{message.log_of.translate(ESCAPES)}:"] if message.log_of else []
        lines += [*title, "```", *(line.replace("`", "'") for line in message.log), "```"]
    if message.link:
        lines.append(f"[{message.link.title.translate(ESCAPES)}](<{message.link.url}>)")
    return "\n".join(lines)


def _line(line: Line) -> str:
    return "".join(map(_part, line))


def _part(part: str | Bold | Code) -> str:
    match part:
        case Bold(text):
            return f"**{text.translate(ESCAPES)}**"
        case Code(text):
            return f"`{text.replace('`', chr(39))}`"
        case str():
            return part.translate(ESCAPES)


def _units(text: str) -> int:
    """Its length as JavaScript counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
