"""Slack's form: Block Kit, and ``text`` for what draws no blocks, which therefore tells everything that matters. Pure.

Only ``&``, ``<`` and ``>`` are escaped, as Slack's reference asks; that takes the power from ``<!channel>`` in the name
of a tag, and ``verbatim`` from ``@here``.
"""

from __future__ import annotations

from typing import Any, Final

from slack_sdk.models.blocks import Block, ContextBlock, MarkdownTextObject, SectionBlock

from app.receivers.message import Bold, Code, Line, Message, fitting

LONGEST_SECTION: Final = 3000
# Over all blocks; undocumented, and Slack answers msg_blocks_too_long above about 13,200 (slackapi/bolt-js 2509).
LONGEST_MESSAGE: Final = 12_000
ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def payload(message: Message) -> dict[str, Any]:
    """The JSON body for an incoming webhook of Slack, or of what takes Slack's."""
    message = fitting(message, _fits)
    blocks = [_section(text) for text in _sections(message)]
    if footer := _footer(message):
        blocks.append(ContextBlock(elements=[MarkdownTextObject(text=footer, verbatim=True)]))
    return {"text": "\n".join(_texts(message)), "blocks": [block.to_dict() for block in blocks]}


def escape(text: str) -> str:
    """A text without power, which also begins or ends no block of code."""
    return text.replace("```", "'''").translate(ESCAPES)


def _fits(message: Message) -> bool:
    texts = [*_texts(message), _footer(message)]
    return max(map(_units, texts)) <= LONGEST_SECTION and sum(map(_units, texts)) <= LONGEST_MESSAGE


def _texts(message: Message) -> list[str]:
    """Headline, lines and log, each as one text."""
    texts = [f"{message.icon.code} {_line(message.headline)}", *map(_line, message.lines)]
    if message.log:
        title = f"{escape(message.log_of)}:\n" if message.log_of else ""
        log = escape("\n".join(message.log))
        texts.append(f"{title}```{log}```")
    return texts


def _sections(message: Message) -> list[str]:
    """The texts, with as many in a section as it takes."""
    sections: list[str] = []
    for text in _texts(message):
        if sections and not text.endswith("```") and _units(sections[-1]) + 1 + _units(text) <= LONGEST_SECTION:
            sections[-1] += f"\n{text}"
        else:
            sections.append(text)
    return sections


def _section(text: str) -> Block:
    return SectionBlock(text=MarkdownTextObject(text=text, verbatim=True))


def _line(line: Line) -> str:
    return "".join(map(_part, line))


def _part(part: str | Bold | Code) -> str:
    match part:
        case Bold(text):
            return f"*{escape(text)}*"
        case Code(text):
            return f"`{escape(text.replace('`', chr(39)))}`"
        case str():
            return escape(part)


def _footer(message: Message) -> str:
    link = f"<{message.link.url}|{escape(message.link.title)}>" if message.link else ""
    return ", ".join(text for text in (_line(message.footer), link) if text)


def _units(text: str) -> int:
    """Its length as JavaScript counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
