"""githubkit's and httpx's exceptions as our errors: the one place where they are mapped.

No sentence holds a URL: the one that GitHub redirects an archive to carries a token. The callers raise ``from None``,
which keeps it out of tracebacks for the same reason.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import httpx
from githubkit.exception import GitHubException, RateLimitExceeded, RequestError, RequestFailed

from app.errors import AppError, GitHubNotFound, GitHubRateLimited, GitHubRefused, GitHubUnavailable
from app.github.rate import sent_at

# "wait for at least one minute" is GitHub's advice when it names no time (docs: rate limits for the REST API).
RATE_LIMIT_PAUSE_S: Final = 60.0
# GitHub counts by the hour; a header that says more is wrong, or our clock is.
LONGEST_PAUSE_S: Final = 3600.0
LONGEST_MESSAGE: Final = 200

# ValueError: githubkit reads the headers of rate limits as whole numbers, and lets int() raise when they are none.
KNOWN: Final = (GitHubException, TimeoutError, ValueError)


def explain(error: Exception, action: str) -> AppError:
    """Our error for one of ``KNOWN``, raised while doing ``action`` (an infinitive: "read the tags of acme/shop")."""
    match error:
        case RateLimitExceeded():
            return GitHubRateLimited(pause_s(error.response.headers))
        case RequestFailed():
            return _refusal(error, action)
        case RequestError(exc=GitHubException() as cause):  # raised inside the App's authentication
            return explain(cause, action)
        case RequestError(exc=cause):
            return GitHubUnavailable(_silence(cause, action))
        case _:
            return GitHubUnavailable(_silence(error, action))


def pause_s(headers: httpx.Headers) -> float:
    """For how many seconds a rate limit lasts, by the headers it came with: from one second to an hour."""
    now = sent_at(headers)
    wait = seconds_of(headers.get("retry-after", ""), now)
    if wait is None and headers.get("x-ratelimit-remaining") == "0":
        reset = seconds_of(headers.get("x-ratelimit-reset", ""), now)
        wait = None if reset is None else reset - now
    return min(max(RATE_LIMIT_PAUSE_S if wait is None else wait, 1.0), LONGEST_PAUSE_S)


def seconds_of(header: str, now: float) -> float | None:
    """The seconds that a header such as Retry-After means, a number or a date (RFC 9110); None when it is neither."""
    if header.isascii() and header.isdigit():
        return float(header[:12])
    try:
        return parsedate_to_datetime(header).timestamp() - now
    except (ValueError, OverflowError):
        return None


def says_rate_limit(message: str) -> bool:
    """Whether an error's message speaks of a rate limit: GitHub has sent such without any header that does."""
    lower = message.lower()
    return "rate limit" in lower or "abuse detection" in lower


def _silence(error: Exception, action: str) -> str:
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return f"GitHub did not answer in time when asked to {action}"
        case httpx.ConnectError():
            return f"GitHub cannot be reached to {action}; check GITHUB_API_URL and the network"
        case httpx.HTTPError() | httpx.StreamError():
            return f"the connection to GitHub broke when asked to {action} ({type(error).__name__})"
        case _:
            return f"what answers at GITHUB_API_URL was not understood when asked to {action} ({type(error).__name__})"


def _refusal(error: RequestFailed, action: str) -> AppError:
    status = error.response.status_code
    said = _message(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return GitHubUnavailable(f"GitHub failed to {action} (HTTP {status})")
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.FORBIDDEN and says_rate_limit(said)):
        return GitHubRateLimited(pause_s(error.response.headers))
    is_empty = status == HTTPStatus.CONFLICT and error.request.method == "GET"
    if status == HTTPStatus.NOT_FOUND or is_empty:
        return GitHubNotFound(f"GitHub does not know, or does not show us, what is needed to {action}")
    if status == HTTPStatus.UNAUTHORIZED:
        sentence = f"GitHub refused our credentials when asked to {action}: {said}; check GITHUB_TOKEN or the App's key"
        return GitHubRefused(sentence, status=status)
    return GitHubRefused(f"GitHub refused to {action}: {said} (HTTP {status})", status=status)


def _message(error: RequestFailed) -> str:
    try:
        answer = error.response.json()
    except ValueError:
        return "no reason given"
    message = answer.get("message") if isinstance(answer, dict) else None
    return str(message)[:LONGEST_MESSAGE] if message else "no reason given"
