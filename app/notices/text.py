"""What a notice says, as a Slack-compatible payload: ``text`` for every receiver, ``blocks`` for those that draw
them. Pure.

Only ``&``, ``<`` and ``>`` are escaped, as Slack's reference asks; that also takes the power from ``<!channel>`` in a
tag name. Receivers such as Mattermost ignore blocks, so ``text`` alone must tell everything that matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from slack_sdk.models.blocks import ContextBlock, MarkdownTextObject, SectionBlock

from app.notices.model import NoticeEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTION_CHARACTERS: Final = 3000
TAIL_CHARACTERS: Final = 2400
NAME_CHARACTERS: Final = 200


def slack_payload(event: NoticeEvent, facts: Mapping[str, Any], public_url: str) -> dict[str, Any]:
    """The JSON body for a Slack-compatible incoming webhook."""
    headline, detail, footer = said(event, facts, public_url)
    blocks: list[Any] = [SectionBlock(text=MarkdownTextObject(text=headline[:SECTION_CHARACTERS]))]
    if detail:
        blocks.append(SectionBlock(text=MarkdownTextObject(text=f"```{detail}```")))
    blocks.append(ContextBlock(elements=[MarkdownTextObject(text=footer[:SECTION_CHARACTERS])]))
    return {"text": _text(headline, detail), "blocks": [block.to_dict() for block in blocks]}


def notice_text(event: NoticeEvent, facts: Mapping[str, Any], public_url: str) -> str:
    """What every receiver shows of a notice: the ``text`` of its payload."""
    headline, detail, _ = said(event, facts, public_url)
    return _text(headline, detail)


def greeting_payload(channel: str) -> dict[str, Any]:
    """A message that only says that it arrived."""
    return {"text": f":wave: Tagship reaches this channel (*{_escape(channel)}*). This is a test."}


def said(event: NoticeEvent, facts: Mapping[str, Any], public_url: str) -> tuple[str, str, str]:
    """Headline, detail (plain lines, may be empty) and footer of a notice, escaped."""
    match event:
        case NoticeEvent.BUILD_SUCCEEDED:
            count = facts["rollouts"]
            follow = "no product follows it" if count == 0 else f"{count} product{'s' * (count != 1)} rolling out"
            headline = f":package: *{_image(facts)}* built in {facts['seconds']:.0f} s, {follow}"
            return headline, "", _build_footer(facts, public_url)
        case NoticeEvent.BUILD_FAILED:
            headline = f":x: *{_image(facts)}* could not be built: {_escape(facts['error'])}"
            return headline, _tail(facts["log_tail"]), _build_footer(facts, public_url)
        case NoticeEvent.ROLLOUT_DONE:
            what = "is stopped" if facts["kind"] == "stop" else f"runs *{_escape(facts['image'])}*"
            headline = f":white_check_mark: *{_escape(facts['product'])}* {what}"
            return headline, "", _rollout_footer(facts, public_url)
        case NoticeEvent.ROLLOUT_FAILED:
            headline = f":warning: *{_escape(facts['product'])}* {_failure(facts)}: {_escape(facts['error'])}"
            output = [line for task in facts["task_errors"][:1] for line in str(task.get("output", "")).splitlines()]
            return headline, _tail(output), _rollout_footer(facts, public_url)
        case _:
            assert_never(event)


def _text(headline: str, detail: str) -> str:
    return headline if not detail else f"{headline}\n```{detail}```"


def _failure(facts: Mapping[str, Any]) -> str:
    """What could not be done, and what that means for those who use the product."""
    kept = facts["state"] == "rolled_back"
    if facts["kind"] == "stop":
        return f"could not be stopped{' and goes on with what it ran' if kept else ''}"
    meaning = "goes on with what it ran" if kept else "is not running"
    return f"could not be brought to *{_escape(facts['image'])}* and {meaning}"


def _image(facts: Mapping[str, Any]) -> str:
    return _escape(f"{facts['name']}:{facts['tag']}"[:NAME_CHARACTERS])


def _build_footer(facts: Mapping[str, Any], public_url: str) -> str:
    commit = (facts["commit_sha"] or "")[:12] or "unknown commit"
    link = f"<{public_url}/api/v1/images/{facts['image_id']}|image {facts['image_id']}>"
    return f"{_escape(facts['github_repo'])} at `{commit}`, {link}"


def _rollout_footer(facts: Mapping[str, Any], public_url: str) -> str:
    link = f"<{public_url}/api/v1/rollouts/{facts['rollout_id']}|rollout {facts['rollout_id']}>"
    if facts["kind"] == "stop":
        return link
    return f"port {facts['port']}, {facts['replicas']} replica{'s' * (facts['replicas'] != 1)}, {link}"


def _tail(lines: list[str]) -> str:
    """The last lines as one block of text that fits a section and cannot end its own code block."""
    text = _escape("\n".join(lines)).replace("```", "'''")
    return text[-TAIL_CHARACTERS:].strip()


def _escape(text: object) -> str:
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
