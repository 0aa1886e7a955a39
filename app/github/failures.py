"""githubkit's and httpx's exceptions as our errors: the one place where they are mapped.

No sentence holds a URL: the one that GitHub redirects an archive to carries a token. The callers raise ``from None``,
which keeps it out of tracebacks for the same reason.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import httpx
from githubkit.exception import (
    GitHubException,
    RateLimitExceeded,
    RequestError,
    RequestFailed,
    SecondaryRateLimitExceeded,
)

from app.errors import AppError, GitHubNotFound, GitHubRateLimited, GitHubRefused, GitHubUnavailable

# "wait for at least one minute" is GitHub's advice when it names no time (docs: rate limits for the REST API).
RATE_LIMIT_PAUSE_S: Final = 60.0
LONGEST_MESSAGE: Final = 200

# ValueError: githubkit reads Retry-After as a whole number and lets int() raise when it is a date.
KNOWN: Final = (GitHubException, TimeoutError, ValueError)


def explain(error: Exception, action: str) -> AppError:
    """Our error for one of ``KNOWN``, raised while doing ``action`` (an infinitive: "read the tags of acme/shop")."""
    match error:
        case RateLimitExceeded():
            at_least = RATE_LIMIT_PAUSE_S if _names_no_time(error) else 1.0
            return GitHubRateLimited(max(error.retry_after.total_seconds(), at_least))
        case RequestFailed():
            return _refusal(error, action)
        case RequestError(exc=GitHubException() as cause):  # raised inside the App's authentication
            return explain(cause, action)
        case RequestError(exc=cause):
            return GitHubUnavailable(_silence(cause, action))
        case _:
            return GitHubUnavailable(_silence(error, action))


def _names_no_time(error: RateLimitExceeded) -> bool:
    headers = error.response.headers
    return isinstance(error, SecondaryRateLimitExceeded) and "retry-after" not in headers


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
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return GitHubRateLimited(RATE_LIMIT_PAUSE_S)
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:  # 409: the repository is empty
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
