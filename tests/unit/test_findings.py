"""What an examination says of values: an address, a webhook as GitHub shows it, and what was waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import GitHubUnavailable
from app.findings import Finding, hook_findings, ping_finding, reachable_finding, secret_finding, tried
from app.github.answers import Hook
from app.settings import load_settings

OURS = "https://ops.example"
HOOK = {"id": 7, "active": True, "events": ["push"], "config": {"url": f"{OURS}/webhooks/github"}}


def found(**changed: Any) -> list[Finding]:
    return hook_findings([Hook.model_validate(HOOK | changed)], "acme/bre", OURS)


@pytest.mark.parametrize(
    ("url", "api", "ok"),
    [
        ("https://ops.example", "https://api.github.com", True),
        ("https://ops.example/tagship", "https://api.github.com", True),
        ("http://8.8.8.8:8004", "https://api.github.com", True),
        ("http://127.0.0.1:8004", "https://api.github.com", False),
        ("http://[::1]:8004", "https://api.github.com", False),
        ("http://10.1.2.3", "https://api.github.com", False),
        ("http://ops:8004", "https://api.github.com", False),
        ("http://ops.corp.internal", "https://api.github.com", False),
        ("http://10.1.2.3", "https://github.corp.example/api/v3", True),
        ("http://ops:8004", "https://github.corp.example/api/v3", True),
        ("http://localhost:8004", "https://github.corp.example/api/v3", False),
        ("http://127.0.0.1:8004", "https://github.corp.example/api/v3", False),
    ],
)
def test_an_address_that_github_cannot_know_is_advised_against(url: str, api: str, ok: bool) -> None:
    finding = reachable_finding(load_settings({"TAGSHIP_PUBLIC_URL": url, "GITHUB_API_URL": api}))
    assert finding.ok is ok
    assert url in finding.sentence
    assert ok or ("TAGSHIP_PUBLIC_URL" in finding.sentence and not finding.needed)


def test_without_a_secret_every_delivery_is_refused() -> None:
    assert "every delivery is refused" in secret_finding(load_settings({})).sentence
    assert secret_finding(load_settings({"GITHUB_WEBHOOK_SECRET": "a canary"})).ok
    assert "canary" not in secret_finding(load_settings({"GITHUB_WEBHOOK_SECRET": "a canary"})).sentence


def test_a_webhook_that_is_as_it_should_be_is_fine() -> None:
    assert [(one.part, one.ok) for one in found()] == [("webhook", True)]
    assert found(events=["*"])[0].ok
    assert found(events=[])[0].ok, "an old server does not say which events"


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"active": False}, "switched off"),
        ({"events": ["issues"]}, "does not send pushes"),
        ({"config": {"url": "https://old.example/webhooks/github"}}, "another Tagship"),
        ({"config": {"url": "https://ops.example.evil/webhooks/github"}}, "another Tagship"),
        ({"config": {"url": "https://ci.example/hook"}}, "no webhook that leads to https://ops.example/webhooks"),
    ],
)
def test_what_is_wrong_with_a_webhook_is_said(changed: dict[str, Any], word: str) -> None:
    [finding] = found(**changed)
    assert not finding.ok
    assert word in finding.sentence


@pytest.mark.parametrize(
    ("last", "ok", "word"),
    [
        ({"code": 202, "status": "active", "message": "OK"}, True, "answered 202"),
        (
            {"code": 401, "message": "Invalid HTTP Response: 401"},
            False,
            "its secret is not one of GITHUB_WEBHOOK_SECRET",
        ),
        ({"code": 502, "message": "failed to connect to host"}, False, "502 (failed to connect to host)"),
        ({"code": 504, "message": None}, False, "failed with 504;"),
    ],
)
def test_how_the_last_delivery_was_answered_is_said(last: dict[str, Any], ok: bool, word: str) -> None:
    hook, answer = found(last_response=last)
    assert hook.ok
    assert (answer.part, answer.ok) == ("answer", ok)
    assert word in answer.sentence


@pytest.mark.parametrize("last", [None, {"code": None, "status": "unused", "message": None}])
def test_a_webhook_that_delivered_nothing_has_no_last_answer(last: dict[str, Any] | None) -> None:
    assert [one.part for one in found(last_response=last)] == ["webhook"]


def test_a_ping_that_does_not_come_says_where_to_look() -> None:
    assert "within 10 s; Recent Deliveries" in ping_finding(None, 10.0).sentence


async def test_a_look_that_gets_no_answer_ends_as_a_sentence() -> None:
    async def never() -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    async def refused() -> Finding:
        raise GitHubUnavailable("GitHub cannot be reached")

    assert await tried("engine", never, patience_s=0) == Finding(
        "engine", ok=False, sentence="it gave no answer within 0 s"
    )
    assert await tried("github", refused) == Finding("github", ok=False, sentence="GitHub cannot be reached")
