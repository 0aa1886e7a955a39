"""The log of any build of an image, in the forms in which clients want it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from app.builds import store
from app.postgres.pool import transaction
from tests.api_client import api_services, asking
from tests.factories import claimed_build, succeed

if TYPE_CHECKING:
    from app.builds.model import ClaimedBuild
    from app.postgres.pool import Pool

PROGRESS = "10%\r100%\n\x1b[31m„é“\u2028\x1b[0m no end"


async def build_that_says(pool: Pool, text: str, tag: str = "v1") -> ClaimedBuild:
    claimed = await claimed_build(pool, tag=tag)
    async with transaction(pool) as conn:
        assert await store.append_log(conn, claimed.lease, 1, text)
    await succeed(pool, claimed)
    return claimed


def events_of(stream: str) -> list[dict[str, str]]:
    blocks = [block for block in stream.split("\r\n\r\n") if block]
    return [dict(line.split(": ", 1) for line in block.split("\r\n")) for block in blocks]


async def test_the_log_of_an_earlier_build_can_still_be_read(pool: Pool) -> None:
    first, second = await build_that_says(pool, "the first"), await build_that_says(pool, "the second")
    path = f"/images/{first.image_id}/log"
    async with asking(api_services(pool), Accept="text/plain") as api:
        assert (await api.get(path)).text == "the second"
        assert (await api.get(f"{path}?build={first.id}")).text == "the first"
        assert (await api.get(f"{path}?build={second.id}")).text == "the second"


async def test_a_build_of_another_image_is_not_this_ones(pool: Pool) -> None:
    ours, other = await build_that_says(pool, "ours"), await build_that_says(pool, "other", "v2")
    async with asking(api_services(pool), Accept="text/plain") as api:
        for build in (other.id, 999_999):
            answer = await api.get(f"/images/{ours.image_id}/log?build={build}")
            assert answer.status_code == 404
            assert str(build) in answer.json()["detail"]


async def test_json_events_carry_the_text_exactly_and_when_it_was_written(pool: Pool) -> None:
    claimed = await build_that_says(pool, PROGRESS)
    async with asking(api_services(pool)) as api:
        answer = await api.get(f"/images/{claimed.image_id}/log?format=json")
    piece, end = events_of(answer.text)
    said: dict[str, Any] = json.loads(piece["data"])
    assert (piece["event"], piece["id"], said["text"]) == ("log", f"{claimed.id}.1", PROGRESS)
    async with transaction(pool) as conn:
        written = await conn.fetchval(
            "select to_char(written_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS') from build_log"
        )
    assert said["at"].startswith(written)
    assert end == {"event": "end", "data": "success"}


async def test_whoever_comes_back_to_json_events_misses_nothing_and_repeats_nothing(pool: Pool) -> None:
    claimed = await build_that_says(pool, "one")
    async with asking(api_services(pool)) as api:
        path = f"/images/{claimed.image_id}/log?format=json&build={claimed.id}"
        answer = await api.get(path, headers={"Last-Event-ID": f"{claimed.id}.1"})
    assert [event["event"] for event in events_of(answer.text)] == ["end"]


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream", "*/*"])
async def test_a_plain_link_gets_plain_text_when_it_says_so(pool: Pool, accept: str) -> None:
    claimed = await build_that_says(pool, PROGRESS)
    async with asking(api_services(pool), Accept=accept) as api:
        answer = await api.get(f"/images/{claimed.image_id}/log?format=text")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == PROGRESS


@pytest.mark.parametrize(
    ("query", "field"), [("build=x", "build"), ("build=0", "build"), ("format=xml", "format"), ("tail=1", "tail")]
)
async def test_what_is_no_build_or_form_is_named(pool: Pool, query: str, field: str) -> None:
    claimed = await build_that_says(pool, "x")
    async with asking(api_services(pool)) as api:
        answer = await api.get(f"/images/{claimed.image_id}/log?{query}")
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["query", field]]
