"""What people read."""

from __future__ import annotations

import json

import pytest

from app.notices.model import NoticeEvent
from app.notices.text import slack_payload

BUILD = {
    "name": "bre-payments",
    "tag": "v1.1.0",
    "seconds": 41.4,
    "rollouts": 2,
    "commit_sha": "0123456789abcdef0123456789abcdef01234567",
    "image_id": 5,
    "github_repo": "acme/bre-payments",
    "error": "step RUN false ended with exit code 1",
    "log_tail": ["#5 RUN false", "#5 ERROR"],
}
ROLLOUT = {
    "rollout_id": 7,
    "product": "Allianz",
    "kind": "deploy",
    "state": "rolled_back",
    "image": "bre-payments:v1.1.0",
    "port": 8001,
    "replicas": 2,
    "error": "the swarm rolled the service back: update rolled back",
    "task_errors": [{"output": "boom\nbang"}],
}


def test_a_build_tells_how_long_it_took_and_who_follows() -> None:
    payload = slack_payload(NoticeEvent.BUILD_SUCCEEDED, BUILD, "https://tagship.example.org")
    assert payload["text"] == ":package: *bre-payments:v1.1.0* built in 41 s, 2 products rolling out"
    assert payload["blocks"][-1]["elements"][0]["text"] == (
        "acme/bre-payments at `0123456789ab`, <https://tagship.example.org/api/v1/images/5|image 5>"
    )


def test_a_failed_build_shows_the_last_lines_of_its_log() -> None:
    text = slack_payload(NoticeEvent.BUILD_FAILED, BUILD, "https://t")["text"]
    assert "could not be built: step RUN false ended with exit code 1" in text
    assert "```#5 RUN false\n#5 ERROR```" in text


def test_a_rollout_that_was_rolled_back_says_that_the_product_goes_on() -> None:
    text = slack_payload(NoticeEvent.ROLLOUT_FAILED, ROLLOUT, "https://t")["text"]
    assert "*Allianz* could not be brought to *bre-payments:v1.1.0* and goes on with what it ran" in text
    assert "boom\nbang" in text


def test_a_rollout_that_is_done_says_what_runs() -> None:
    assert slack_payload(NoticeEvent.ROLLOUT_DONE, ROLLOUT, "https://t")["text"] == (
        ":white_check_mark: *Allianz* runs *bre-payments:v1.1.0*"
    )


def test_a_stop_speaks_of_no_image_and_no_replicas() -> None:
    facts = ROLLOUT | {"kind": "stop", "replicas": 0}
    payload = slack_payload(NoticeEvent.ROLLOUT_DONE, facts, "https://t")
    assert payload["text"] == ":white_check_mark: *Allianz* is stopped"
    assert payload["blocks"][-1]["elements"][0]["text"] == "<https://t/api/v1/rollouts/7|rollout 7>"


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("rolled_back", "*Allianz* could not be stopped and goes on with what it ran: the task hangs"),
        ("failed", "*Allianz* could not be stopped: the task hangs"),
    ],
)
def test_a_stop_that_failed_says_that_the_product_could_not_be_stopped(state: str, sentence: str) -> None:
    facts = ROLLOUT | {"kind": "stop", "state": state, "error": "the task hangs"}
    text = slack_payload(NoticeEvent.ROLLOUT_FAILED, facts, "https://t")["text"]
    assert text == f":warning: {sentence}\n```boom\nbang```"


def test_nothing_in_a_tag_or_log_can_speak_to_slack() -> None:
    facts = BUILD | {"tag": "<!channel>&", "log_tail": ["``` <@U1>"], "error": "<!here>"}
    said = json.dumps(slack_payload(NoticeEvent.BUILD_FAILED, facts, "https://t"))
    assert "<!" not in said
    assert "<@" not in said
    assert said.count("```") == 4


def test_long_logs_and_names_stay_within_slacks_limits() -> None:
    facts = BUILD | {"tag": "x" * 255, "error": "e" * 5000, "log_tail": ["y" * 1000] * 12}
    payload = slack_payload(NoticeEvent.BUILD_FAILED, facts, "https://t")
    assert all(len(block["text"]["text"]) <= 3000 for block in payload["blocks"] if block["type"] == "section")
    assert len(payload["text"]) <= 40_000
