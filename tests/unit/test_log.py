"""What reaches the log, and what must not."""

from __future__ import annotations

import io
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.log import configure_logging, redact
from app.mask import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "canary/Secret+value=1"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines_of(write: Callable[[], object], log_format: Literal["json", "console"] = "json") -> list[str]:
    stream = io.StringIO()
    configure_logging(log_format, stream, secrets=[CANARY])
    write()
    return stream.getvalue().splitlines()


def event_of(write: Callable[[], object]) -> dict[str, Any]:
    (line,) = lines_of(write)
    event: dict[str, Any] = json.loads(line)
    return event


def crash(log: Any) -> None:
    try:
        int(f"cannot open {CANARY}")
    except ValueError:
        log.exception("opening_crashed")


def test_event_is_one_json_line_with_level_logger_and_utc_time() -> None:
    event = event_of(lambda: structlog.get_logger("app.builds").info("build_started", build_id=7))
    assert (event["event"], event["level"], event["logger"], event["build_id"]) == (
        "build_started",
        "info",
        "app.builds",
        7,
    )
    assert event["time"].endswith("Z")


def test_bound_ids_come_along() -> None:
    structlog.contextvars.bind_contextvars(delivery="guid-1")
    assert event_of(lambda: structlog.get_logger().info("delivery_stored"))["delivery"] == "guid-1"


def test_library_log_takes_the_same_form() -> None:
    event = event_of(lambda: logging.getLogger("uvicorn.error").warning("port %d is taken", 8004))
    assert (event["event"], event["logger"], event["level"]) == ("port 8004 is taken", "uvicorn.error", "warning")


def test_second_configuration_replaces_the_first() -> None:
    first = io.StringIO()
    configure_logging("json", first)
    assert len(lines_of(lambda: structlog.get_logger().info("once"))) == 1
    assert first.getvalue() == ""


def test_debug_events_are_left_out() -> None:
    assert lines_of(lambda: structlog.get_logger().debug("detail")) == []


def test_requests_of_the_http_client_are_not_logged() -> None:
    assert lines_of(lambda: logging.getLogger("httpx").info("HTTP Request: POST https://example.org")) == []


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("logger", ["structlog", "stdlib"])
def test_exception_is_text_once_and_without_secrets(log_format: Literal["json", "console"], logger: str) -> None:
    log = structlog.get_logger() if logger == "structlog" else logging.getLogger("library")
    text = "\n".join(lines_of(lambda: crash(log), log_format))
    assert text.count("Traceback (most recent call last)") == 1
    assert f"ValueError: invalid literal for int() with base 10: 'cannot open {MASK}'" in text
    assert CANARY not in text


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        {"deep": [{"er": (CANARY,)}]},
        {CANARY: "as a name"},
        CANARY.encode(),
        ValueError(CANARY),
        [("authorization", f"Bearer {CANARY}")],
        quote(CANARY, safe=""),
        f"https://registry.example/?x={CANARY}",
    ],
)
def test_known_secret_is_masked_wherever_it_stands(log_format: Literal["json", "console"], value: object) -> None:
    (line,) = lines_of(lambda: structlog.get_logger().info("event", value=value), log_format)
    assert CANARY not in line
    assert quote(CANARY, safe="") not in line
    assert MASK in line


@pytest.mark.parametrize(
    "value", [{"Authorization": "Bearer unknown"}, [(b"authorization", b"Basic unknown")], {"password": "unknown"}]
)
def test_value_under_a_secret_name_is_masked(value: object) -> None:
    event = event_of(lambda: structlog.get_logger().info("event", value=value))
    assert "unknown" not in json.dumps(event)


def test_object_that_cannot_be_shown_costs_only_itself() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    assert event_of(lambda: structlog.get_logger().info("event", value=Broken()))["value"] == "<Broken>"


def test_line_that_cannot_be_written_is_not_printed_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    configure_logging("json", stream, secrets=[CANARY])
    stream.close()
    structlog.get_logger("app.x").info("event", value=CANARY)
    assert capsys.readouterr().err == "a log line of app.x was lost: ValueError\n"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer ********"),
        ("authorization=abc", "authorization=********"),
        ("{'Authorization': 'Basic dXNlcg=='}", "{'Authorization': 'Basic ********'}"),
        ("X-Registry-Auth: eyJ1", "X-Registry-Auth: ********"),
        ("GET /a?token=abc&b=2 HTTP/1.1", "GET /a?token=********&b=2 HTTP/1.1"),
        ("https://h/x?a=1&access_token=abc#part", "https://h/x?a=1&access_token=********#part"),
        ("postgres://user:pa@ss@host:5432/db", "postgres://user:********@host:5432/db"),
        ("https://x-access-token:ghs_1@github.com/o/r", "https://x-access-token:********@github.com/o/r"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/********"),
        ("pushed with ghp_0123456789abcdefghij", "pushed with ********"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org:8080/a@b",
        "git@github.com:o/r.git",
        "ssh://git@github.com/o/r",
        "Step 3/9 : RUN make token",
        "http://a b:c@d",
        '{"url":"http://a:80","mail":"x@y"}',
    ],
)
def test_harmless_text_stays(text: str) -> None:
    assert redact(text) == text


def test_secret_of_several_lines_is_masked_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEAx1\nqqqqqqqqqqqqqqqqqqqqq\n-----END KEY-----\n"
    assert redact("  MIIEowIBAAKCAQEAx1", [key]) == f"  {MASK}"
    assert "qqq" not in redact(repr(key), [key])


def test_longer_secret_wins_over_a_shorter_one_inside_it() -> None:
    assert redact("password-and-more", ["password", "password-and-more"]) == MASK


def test_secret_too_short_to_be_one_is_left() -> None:
    assert redact("a banana", ["a", ""]) == "a banana"


@given(secret=st.text(min_size=4, max_size=40), before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    remains = redact(before + secret + after, [secret])
    # The mask itself, or what is left on both sides of it, may spell a secret such as "****" anew.
    assert secret not in remains or MASK in secret or set(secret) & set(MASK)


@pytest.mark.parametrize("piece", ["a", "://", "://a:", "?token=", "authorization: ", "x?a", "gh", "@", "://a:b@"])
def test_redaction_of_a_hostile_line_is_quick(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    began = time.perf_counter()
    redact(text)
    assert time.perf_counter() - began < 5
