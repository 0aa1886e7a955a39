"""One log for everything, ours and the libraries', and no secrets in it.

Events are constant names in the past tense with ids as fields; the stage, build or delivery they belong to is bound
once per task and comes along by itself. Whatever is written passes the redaction last, after exceptions became text.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO
from urllib.parse import quote

import structlog

from app.mask import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from structlog.typing import EventDict, Processor, WrappedLogger

SHORTEST_SECRET: Final = 4  # shorter ones would blacken half of every line
DEEPEST: Final = 10
LONGEST_MATCH: Final = 16 * 1024  # none of PATTERNS takes more
SECRET_NAME: Final = re.compile(
    r"(?:proxy-)?authorization|x-registry-auth|(?:set-)?cookie|password|token", re.IGNORECASE
)
HANDLER: Final = "tagship"
CHATTY: Final = ("httpx", "httpcore")  # one line per request, with the address, which may be a secret
UVICORN: Final = ("uvicorn", "uvicorn.error", "uvicorn.access")

# What looks like a secret wherever it stands, and what of it is looked for first, in lower case, since most text holds
# none. Every repetition is bounded: build logs are written by strangers. Nothing spans lines: a log that comes in
# pieces is masked like the whole of it.
PATTERNS: Final = (
    (
        ("authorization", "x-registry-auth"),
        re.compile(
            r"""((?:authorization|x-registry-auth)\\?["']?[^\S\n]{0,4}[:=,][^\S\n]{0,4}b?\\?["']?(?:[a-z]{1,20}[^\S\n]{1,4})?)[^\s"',;\\]{1,8192}""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (
        ("token=", "secret=", "password=", "signature="),
        re.compile(r"([?&][\w.-]{0,40}(?:token|secret|password|signature)=)[^&\s\"'#<>]{1,8192}", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (("://",), re.compile(r"(://[^\s/:@\"'<>]{0,256}:)[^\s/\"'<>]{1,1024}@"), rf"\1{MASK}@"),
    (("://hooks.slack",), re.compile(r"(://hooks\.slack(?:-gov)?\.com/)[^\s\"'<>]{1,512}"), rf"\1{MASK}"),
    (("gh",), re.compile(r"\b(?:gh[pousr]_\w{20,255}|github_pat_\w{20,255})", re.ASCII), MASK),
)


class _StreamHandler(logging.StreamHandler[TextIO]):
    """A handler that says which line was lost, where the standard one prints the whole record with its secrets."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        kind = sys.exc_info()[0]
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"a log line of {record.name} was lost: {kind.__name__ if kind else 'unknown error'}\n")


def configure_logging(
    log_format: Literal["json", "console"],
    stream: TextIO | None = None,
    *,
    secrets: Iterable[str] = (),
    level: int = logging.INFO,
) -> None:
    """From now on every event, also of uvicorn and other libraries, is one JSON object or console line on ``stream``.

    ``secrets`` are values that must never be written. Without ``stream`` it is standard error. Run uvicorn with
    ``log_config=None``, or it puts its own handlers back.
    """
    known = tuple(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )

    def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return dict(_redacted_pair(key, value, known, 0) for key, value in event.items())

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event, _renderer(log_format)],
    )
    _handle_everything(formatter, stream or sys.stderr, level)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without the given secrets, without ``Authorization`` values, and without passwords and tokens in URLs.

    A secret is also found percent-encoded, in base64, and as written inside JSON or a Python literal; of one that spans
    lines (a private key), every long line by itself. Secrets of fewer than four characters are left alone.
    """
    for pattern, replacement in _in_question(text, tuple(secrets)):
        text = pattern.sub(replacement, text)
    return text


class StreamRedactor:
    """``redact`` for text that arrives in pieces cut anywhere: what might be the beginning of a secret is held back.

    Text is given out line by line. Of a line too long to be held back as a whole, the end is, from a place where no
    secret is cut in two.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        self._overlap = max([LONGEST_MATCH, *map(len, _known(self._secrets)[0])])
        self._held: list[str] = []
        self._held_characters = 0

    def feed(self, text: str) -> str:
        """Take text, and return the part that can be given out, redacted."""
        self._held.append(text)
        self._held_characters += len(text)
        if "\n" not in text and self._held_characters < 2 * self._overlap:
            return ""
        held = "".join(self._held)
        end = held.rfind("\n") + 1
        if len(held) - end >= 2 * self._overlap:
            end = self._border(held, len(held) - self._overlap)
        self._held, self._held_characters = [held[end:]], len(held) - end
        return redact(held[:end], self._secrets)

    def close(self) -> str:
        """Return the rest, redacted."""
        held, self._held, self._held_characters = "".join(self._held), [], 0
        return redact(held, self._secrets)

    def _border(self, text: str, end: int) -> int:
        """The last place up to ``end`` that lies inside of no secret; ``end`` when they overlap all the way down."""
        border = end
        while border > 0:
            begin = max(0, border - self._overlap)
            around = text[begin : border + self._overlap]
            spans = [
                (found.start() + begin, found.end() + begin)
                for pattern, _ in _in_question(around, self._secrets)
                for found in pattern.finditer(around)
            ]
            cut = [start for start, stop in spans if start < border < stop]
            if not cut:
                return border
            border = min(cut)
        return end


def _in_question(text: str, secrets: tuple[str, ...]) -> Iterator[tuple[re.Pattern[str], str]]:
    """The patterns that may match somewhere in the text, each with what takes the place of a match."""
    forms, known = _known(secrets)
    if known is not None and any(form in text for form in forms):
        yield known, MASK
    lowered = text.lower()
    for hints, pattern, replacement in PATTERNS:
        if any(hint in lowered for hint in hints):
            yield pattern, replacement


@lru_cache(maxsize=64)
def _known(secrets: tuple[str, ...]) -> tuple[tuple[str, ...], re.Pattern[str] | None]:
    """Every spelling of the secrets, longest first, and the pattern of them all."""
    spellings = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST_SECRET}
    forms = tuple(sorted(spellings, key=len, reverse=True))
    return forms, re.compile("|".join(map(re.escape, forms))) if forms else None


def _forms(secret: str) -> set[str]:
    """Every way in which a secret may be spelled."""
    if len(secret) < SHORTEST_SECRET:
        return set()
    encoded = base64.b64encode(secret.encode(errors="replace")).decode()
    lines = [line for line in secret.splitlines() if len(line) > 16 and not line.startswith("-----")]  # noqa: PLR2004
    return {
        secret,
        secret.strip(),
        quote(secret, safe="", errors="replace"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        encoded,
        *lines,
    }


def _redacted(value: Any, secrets: tuple[str, ...], depth: int = 0) -> Any:
    """The value as plain data without secrets; an object becomes its text, so that no renderer asks it again."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth > DEEPEST:
        return "…"
    if isinstance(value, dict):
        return dict(_redacted_pair(key, item, secrets, depth + 1) for key, item in value.items())
    if isinstance(value, tuple) and len(value) == 2:  # noqa: PLR2004 - a raw HTTP header, for example
        return list(_redacted_pair(*value, secrets, depth + 1))
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted(item, secrets, depth + 1) for item in value]
    return redact(_text(value), secrets)


def _redacted_pair(name: Any, value: Any, secrets: tuple[str, ...], depth: int) -> tuple[Any, Any]:
    key = _redacted(name, secrets, depth)
    if isinstance(key, str) and SECRET_NAME.fullmatch(key):
        return key, MASK
    return key, _redacted(value, secrets, depth)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an object that cannot be shown must not cost the line it stands in
        return f"<{type(value).__name__}>"


def _renderer(log_format: Literal["json", "console"]) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    # Exceptions have been redacted as text already; the default would render them anew.
    return structlog.dev.ConsoleRenderer(
        colors=False, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )


def _handle_everything(formatter: logging.Formatter, stream: TextIO, level: int) -> None:
    handler = _StreamHandler(stream)
    handler.set_name(HANDLER)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if other.get_name() != HANDLER] + [handler]
    root.setLevel(level)
    for name in UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
