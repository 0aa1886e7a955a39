"""How long a rate limit of GitHub's lasts, by the clock of the answer."""

from __future__ import annotations

import httpx
import pytest

from app.github.failures import pause_s

DATE = "Wed, 01 Jan 2020 00:00:00 GMT"
EPOCH = 1_577_836_800


@pytest.mark.parametrize(
    "headers",
    [
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(EPOCH + 90)},
        {"Retry-After": "Wed, 01 Jan 2020 00:01:30 GMT"},
        {"Retry-After": "90"},
    ],
)
def test_a_clock_of_ours_that_is_wrong_changes_nothing(headers: dict[str, str]) -> None:
    assert pause_s(httpx.Headers(headers | {"Date": DATE})) == 90
