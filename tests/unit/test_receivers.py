"""One message in the form of each kind of receiver: how it looks, what strangers cannot do in it, how much it holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.notices.model import ChannelKind, NoticeEvent, Subject, Told
from app.notices.outgoing import PEOPLE, body_of, trial_body, type_of
from app.notices.text import greeting, message_of
from app.receivers import discord, mattermost, slack, teams
from app.receivers.message import (
    Bold,
    Code,
    Icon,
    Line,
    Link,
    Message,
    Tone,
    fitting,
    length,
    one_line,
    plain,
    shorten,
    shorter,
)
from app.receivers.signing import is_secret, new_secret, signed_headers
from tests.fakes import receivers
from tests.fakes.slack import refusal as slack_refusal
from tests.unit.test_notice_text import AT, BUILD, ROLLOUT, follow, told

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE: Final = Message(
    Icon.BROKEN,
    Tone.BAD,
    (Bold("bre_x:v1"), " could not be built: a < b"),
    ((Bold("Axa"), " failed"),),
    "The last output of Axa",
    ("#5 <RUN>", "`x`"),
    ("acme/bre", " at ", Code("0123")),
    Link("image 5", "https://t/images/5"),
)
HOSTILE: Final = "<!channel> <@U1> @here <https://evil|click> [x](https://evil) **b** `c` ``` {{DATE(x)}} ~s~ |p| $m \\"


def everything_hostile(text: str) -> Message:
    return Message(
        Icon.BROKEN, Tone.BAD, (Bold(text), text), ((Code(text), text),), text, (text, text), (text, Code(text)), None
    )


def texts_of(value: Any) -> list[str]:
    """Every string in a payload."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts_of(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) else []


# ---------------------------------------------------------------- how each looks


def test_slack_is_given_blocks_and_a_text_that_tells_all_that_matters() -> None:
    headline = ":x: *bre_x:v1* could not be built: a &lt; b\n*Axa* failed"
    log = "The last output of Axa:\n```#5 &lt;RUN&gt;\n`x````"
    assert slack.payload(MESSAGE) == {
        "text": f"{headline}\n{log}",
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": headline, "verbatim": True}},
            {"type": "section", "text": {"type": "mrkdwn", "text": log, "verbatim": True}},
            {
                "type": "context",
                "elements": [
                    {
                        "type": "mrkdwn",
                        "text": "acme/bre at `0123`, <https://t/images/5|image 5>",
                        "verbatim": True,
                    }
                ],
            },
        ],
    }


def test_mattermost_is_given_one_attachment_in_markdown() -> None:
    assert mattermost.payload(MESSAGE) == {
        "attachments": [
            {
                "fallback": (
                    "❌ bre_x:v1 could not be built: a <\u200b b\nAxa failed\n"
                    "The last output of Axa:\n#5 <\u200bRUN>\n'x'"
                ),
                "color": "#c62828",
                "text": (
                    ":x: **bre\\_x:v1** could not be built: a &lt; b\n**Axa** failed\nThe last output of Axa:\n"
                    "```\n#5 <\u200bRUN>\n'x'\n```\nacme/bre at `0123`, [image 5](https://t/images/5)"
                ),
            }
        ]
    }


def test_discord_is_given_one_embed_that_calls_nobody() -> None:
    assert discord.payload(MESSAGE) == {
        "allowed_mentions": {"parse": []},
        "embeds": [
            {
                "description": (
                    "❌ **bre\\_x:v1** could not be built: a \\< b\n**Axa** failed\nThe last output of Axa:\n"
                    "```\n#5 <RUN>\n'x'\n```\n[image 5](<https://t/images/5>)"
                ),
                "color": 0xC62828,
                "footer": {"text": "acme/bre at 0123"},
            }
        ],
    }


def test_teams_is_given_one_card_whose_foreign_text_is_no_markdown() -> None:
    def run(text: str, **more: Any) -> dict[str, Any]:
        return {"type": "TextRun", "text": text, **more}

    def block(*runs: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"type": "RichTextBlock", "inlines": list(runs), **more}

    small: dict[str, Any] = {"isSubtle": True, "size": "Small"}
    assert teams.payload(MESSAGE) == {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "fallbackText": "bre_x:v1 could not be built: a < b",
                    "msteams": {"width": "Full"},
                    "body": [
                        {
                            "type": "Container",
                            "style": "attention",
                            "bleed": True,
                            "items": [
                                block(
                                    run("❌ "),
                                    run("bre_x:v1", weight="Bolder"),
                                    run(" could not be built: a < b"),
                                )
                            ],
                        },
                        block(run("Axa", weight="Bolder"), run(" failed")),
                        {
                            "type": "Container",
                            "style": "emphasis",
                            "items": [
                                block(run("The last output of Axa:")),
                                block(run("#5 <RUN>", fontType="Monospace"), spacing="None"),
                                block(run("`x`", fontType="Monospace"), spacing="None"),
                            ],
                        },
                        block(
                            run("acme/bre", **small), run(" at ", **small), run("0123", fontType="Monospace", **small)
                        ),
                    ],
                    "actions": [{"type": "Action.OpenUrl", "title": "image 5", "url": "https://t/images/5"}],
                },
            }
        ],
    }


def test_a_program_is_given_the_event_with_its_fields() -> None:
    facts = BUILD | {"rollouts": 1, "removed": 0, "products": [follow(9, "failed", error="no", task_errors=[])]}
    shown = told(NoticeEvent.ROLLOUT_FAILED, facts, Subject.BUILD)
    assert json.loads(body_of(ChannelKind.WEBHOOK, [shown], "https://t")) == {
        "type": "rollout.failed",
        "timestamp": "2026-01-02T03:04:05+00:00",
        "data": {
            "text": plain(message_of(shown, "https://t")),
            "events": [
                {
                    "id": 1,
                    "type": "rollout.failed",
                    "at": "2026-01-02T03:04:05+00:00",
                    "text": plain(message_of(shown, "https://t")),
                    "link": "https://t/images/5",
                    "build_id": 5,
                    "image": "bre-payments:v1.1.0",
                    "image_id": 5,
                    "github_repo": "acme/bre-payments",
                    "commit_sha": BUILD["commit_sha"],
                    "seconds": 41.4,
                    "error": BUILD["error"],
                    "log": ["", "#5 RUN false", "#5 ERROR", ""],
                    "products": [
                        {
                            "product_id": 9,
                            "rollout_id": 9,
                            "slug": "c9",
                            "name": "Customer 9",
                            "state": "failed",
                            "error": "no",
                            "output": [],
                            "link": "https://t/products/9",
                        }
                    ],
                }
            ],
        },
    }


def test_a_program_is_given_every_event_that_was_gathered() -> None:
    both = [told(NoticeEvent.BUILD_FAILED, BUILD), told(NoticeEvent.ROLLOUT_FAILED, ROLLOUT)]
    shown = json.loads(body_of(ChannelKind.WEBHOOK, both, "https://t"))
    assert (shown["type"], [one["type"] for one in shown["data"]["events"]]) == (
        "events",
        ["build.failed", "rollout.failed"],
    )
    assert shown["data"]["events"][1]["products"][0]["output"] == ["boom", "bang"]


@pytest.mark.parametrize("event", NoticeEvent)
def test_types_for_programs_are_words_joined_by_dots(event: NoticeEvent) -> None:
    assert type_of(event).replace(".", "_") == event


# ---------------------------------------------------------------- what strangers cannot do


def test_nobody_speaks_to_slack() -> None:
    said = json.dumps(slack.payload(everything_hostile(HOSTILE)))
    assert "<" not in said
    assert all(block["text"].get("verbatim") for block in slack.payload(MESSAGE)["blocks"] if "text" in block)
    assert slack.payload(everything_hostile(HOSTILE))["text"].count("```") == 2, "of the log"


def test_nobody_speaks_to_mattermost() -> None:
    [shown] = mattermost.payload(everything_hostile(HOSTILE))["attachments"]
    for text in (shown["text"], shown["fallback"]):
        assert "<!" not in text
        assert "<https" not in text
        assert "@here" not in text
    assert shown["text"].count("```") == 2, "of the log"
    headline = shown["text"].splitlines()[0]
    assert "\\[x\\](" in headline
    assert "[x](" not in headline.replace("\\[x\\](", "")


def test_nobody_speaks_to_discord() -> None:
    payload = discord.payload(everything_hostile(HOSTILE))
    assert payload["allowed_mentions"] == {"parse": []}
    outside = payload["embeds"][0]["description"].split("```")
    assert len(outside) == 3, "nothing ends the block of the log"
    for text in (outside[0].partition("`")[0], outside[2]):
        assert "[x](" not in text.replace("\\[x\\](", "")
        assert "<@" not in text.replace("\\<\\@", "")


def test_nothing_is_a_function_of_a_teams_card() -> None:
    payload = teams.payload(everything_hostile("{{{{DATE(2020-01-01T00:00:00Z)}}}}"))
    assert not any("{{" in text for text in texts_of(payload))
    kinds = {element["type"] for element in payload["attachments"][0]["content"]["body"]}
    assert kinds == {"Container", "RichTextBlock"}, "none that reads Markdown"


# ---------------------------------------------------------------- how much each holds

JUDGES: Final[dict[ChannelKind, Callable[[bytes], bool]]] = {
    ChannelKind.SLACK: lambda body: slack_refusal(json.loads(body)) is None,
    ChannelKind.MATTERMOST: lambda body: receivers.mattermost(body, {}).status_code == 200,
    ChannelKind.DISCORD: lambda body: receivers.discord(body, {}).status_code == 204,
    ChannelKind.TEAMS: lambda body: receivers.teams(body, {}).status_code == 202,
}
WORDS: Final = st.text(max_size=3000) | st.sampled_from("&<>`*_@{\\é界😀").map(lambda character: character * 3000)
LINES: Final = st.builds(
    lambda texts, forms: tuple(form(one_line(text)) for text, form in zip(texts, forms, strict=False)),
    st.lists(WORDS.filter(one_line), min_size=1, max_size=4),
    st.lists(st.sampled_from([str, Bold, Code]), min_size=4, max_size=4),
)


@pytest.mark.parametrize("kind", JUDGES)
@given(headline=LINES, lines=st.lists(LINES, max_size=30), log=st.lists(WORDS, max_size=20), footer=LINES)
def test_whatever_is_said_the_receiver_takes_it(
    kind: ChannelKind, headline: Line, lines: list[Line], log: list[str], footer: Line
) -> None:
    shown = tuple(one_line(line, 300) for line in log)
    message = Message(Icon.BROKEN, Tone.BAD, headline, tuple(lines), "output", shown, footer, Link("x", "https://t/"))
    assert JUDGES[kind](json.dumps(PEOPLE[kind](message)).encode())


@pytest.mark.parametrize("kind", JUDGES)
def test_the_largest_tag_of_a_fleet_fits_and_names_all_that_failed(kind: ChannelKind) -> None:
    failed = [follow(1000 + at, "failed", error="e" * 5000, task_errors=[{"output": "o" * 9000}]) for at in range(10)]
    facts = BUILD | {"rollouts": 210, "removed": 0, "products": [*failed, *map(follow, range(200))]}
    body = body_of(kind, [told(NoticeEvent.ROLLOUT_FAILED, facts, Subject.BUILD)], "https://t")
    assert JUDGES[kind](body)
    assert b"200 of 210 products running, 10 failed" in body
    assert all(b"Customer %d" % (1000 + at) in body for at in range(10))


@pytest.mark.parametrize("kind", JUDGES)
def test_twenty_that_were_gathered_are_all_named_in_every_form(kind: ChannelKind) -> None:
    many = [told(NoticeEvent.BUILD_FAILED, BUILD | {"tag": f"v9.{at}", "error": "e" * 5000}) for at in range(20)]
    body = body_of(kind, many, "https://t")
    assert JUDGES[kind](body)
    assert all(f"v9.{at}".encode() in body for at in range(20))


@pytest.mark.parametrize("kind", ChannelKind)
def test_a_test_message_has_the_form_of_its_kind(kind: ChannelKind) -> None:
    body = trial_body(kind, greeting("ops", "https://t"), AT)
    assert b"Tagship reaches this channel" in body
    assert kind is ChannelKind.WEBHOOK or JUDGES[kind](body)
    if kind is ChannelKind.WEBHOOK:
        assert json.loads(body)["data"]["events"] == []


def test_a_message_loses_its_log_before_its_lines_and_its_lines_before_its_headline() -> None:
    steps = [MESSAGE]
    while (less := shorter(steps[-1])) != steps[-1]:
        steps.append(less)
    assert [len(step.log) for step in steps[:3]] == [2, 1, 0]
    assert steps[1].log == ("`x`",), "the last lines tell most"
    assert [len(step.lines) for step in steps[2:4]] == [1, 0]
    assert all(length(step.headline) == length(MESSAGE.headline) for step in steps[:5])
    assert length(steps[-1].headline) == 1


def test_a_message_that_fits_is_left_alone() -> None:
    assert fitting(MESSAGE, lambda _: True) is MESSAGE


@given(line=LINES, most=st.integers(1, 200))
def test_a_line_is_cut_at_its_end_and_says_so(line: Line, most: int) -> None:
    kept = shorten(line, most)
    assert length(kept) <= most
    assert (kept == line) == (length(line) <= most)
    assert kept == line or plain(Message(Icon.DONE, Tone.GOOD, kept)).endswith("…")


# ---------------------------------------------------------------- signatures


def test_what_is_signed_is_believed_and_nothing_else() -> None:
    secret, body = new_secret(), b'{"type": "test"}'
    headers = signed_headers(secret, "msg_1", datetime.now(UTC), body)
    assert headers["webhook-id"] == "msg_1"
    assert Webhook(secret).verify(body, headers) == {"type": "test"}
    for wrong_body, changed in ((b"{}", {}), (body, {"webhook-id": "msg_2"}), (body, {"webhook-timestamp": "1"})):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(wrong_body, headers | changed)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(body, headers)


def test_a_made_secret_is_one_and_no_two_are_the_same() -> None:
    assert is_secret(new_secret())
    assert new_secret() != new_secret()


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_MfKQ", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "A" * 92, "whsec_" + "é" * 32,
     "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa w", "WHSEC_" + "A" * 32],
)  # fmt: skip
def test_a_secret_that_is_too_short_too_long_or_no_base64_is_none(text: str) -> None:
    assert not is_secret(text)


@pytest.mark.parametrize("count", [24, 32, 64])
def test_secrets_of_twenty_four_to_sixty_four_bytes_are_fine(count: int) -> None:
    import base64

    assert is_secret("whsec_" + base64.b64encode(bytes(range(count))).decode())


def test_the_form_of_one_that_was_told_does_not_change_from_try_to_try() -> None:
    one = Told(1, NoticeEvent.BUILD_FAILED, Subject.BUILD, 5, BUILD, 1, AT)
    again = Told(1, NoticeEvent.BUILD_FAILED, Subject.BUILD, 5, BUILD, 2, AT)
    assert all(body_of(kind, [one], "https://t") == body_of(kind, [again], "https://t") for kind in ChannelKind)
