"""Channels of every kind: sent what their receivers take, signed where that is asked for, and told what they chose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs
import pytest
from starlette.responses import Response

from app.notices import channels
from app.notices.model import NoticeEvent
from app.postgres.pool import transaction
from app.receivers.signing import is_secret
from tests.api_client import api_services, asking, refused_fields
from tests.factories import VAULT
from tests.fakes import receivers
from tests.fakes.receivers import LocalReceiver
from tests.fakes.slack import LocalSlack
from tests.store.test_channels import MASK, URL, make, notices, tell, turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from app.postgres.pool import Pool

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
JUDGES: Final = {
    "mattermost": receivers.mattermost,
    "discord": receivers.discord,
    "teams": receivers.teams,
    "webhook": receivers.signed_with(SECRET),
}


@pytest.fixture
async def api(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(api_services(pool)) as client:
        yield client


@pytest.mark.parametrize("kind", JUDGES)
async def test_each_kind_is_sent_what_its_receiver_takes_and_can_be_tried_out(
    pool: Pool, api: httpx.AsyncClient, kind: str
) -> None:
    async with LocalReceiver.start(JUDGES[kind]) as receiver:
        secret = {"secret": SECRET} if kind == "webhook" else {}
        made = await make(api, kind=kind, url=receiver.url, **secret)
        tried = (await api.post(f"/channels/{made['id']}/test")).json()
        assert (tried["sent"], tried["status"] in {200, 202, 204}) == (True, True)
        await tell(pool, event=NoticeEvent.ROLLOUT_FAILED)
        assert await turn(pool) == 1
        assert "Tagship reaches this channel" in str(receiver.messages[0])
        assert "Allianz" in str(receiver.messages[1])
    [notice] = await notices(api)
    assert (notice["state"], notice["status"]) == ("sent", tried["status"])


async def test_a_message_that_is_sent_again_has_the_same_id_and_a_new_time(pool: Pool, api: httpx.AsyncClient) -> None:
    seen: list[Any] = []

    def judge(body: bytes, headers: Any) -> Response:
        seen.append((headers["webhook-id"], body))
        answer = receivers.signed_with(SECRET)(body, headers)
        return answer if len(seen) > 1 else Response(status_code=503)

    async with LocalReceiver.start(judge) as receiver:
        await make(api, kind="webhook", url=receiver.url, secret=SECRET)
        await tell(pool)
        await turn(pool)
        async with transaction(pool) as conn:
            await conn.execute("update notices set run_after = now()")
        await turn(pool)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    [notice] = await notices(api)
    assert (notice["state"], notice["attempt"]) == ("sent", 2)
    assert seen[0][0] == f"msg_{notice['message_id'].replace('-', '')}"


async def test_what_programs_are_sent_is_what_the_openapi_document_says(pool: Pool, api: httpx.AsyncClient) -> None:
    async with LocalReceiver.start(receivers.signed_with(SECRET)) as receiver:
        made = await make(api, kind="webhook", url=receiver.url, secret=SECRET)
        await api.post(f"/channels/{made['id']}/test")
        await tell(pool)
        await turn(pool)
        for subject in range(4):
            await tell(pool, subject=20 + subject, event=NoticeEvent.ROLLOUT_FAILED)
        await turn(pool)
    document = (await api.get("http://tagship/openapi.json")).json()
    named = document["webhooks"]["notice"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = named | {"components": document["components"]}
    assert [message.payload["type"] for message in receiver.messages] == ["test", "rollout.done", "events"]
    for message in receiver.messages:
        jsonschema_rs.validate(schema, message.payload)
        assert set(message.payload) == {"type", "timestamp", "data"}
        for event in message.payload["data"]["events"]:
            assert set(event) == set(document["components"]["schemas"]["WebhookEvent"]["properties"])


async def test_a_secret_is_made_shown_once_and_sealed_at_rest(pool: Pool, api: httpx.AsyncClient) -> None:
    made = await make(api, kind="webhook")
    assert is_secret(made["secret"])
    path = f"/channels/{made['id']}"
    again = (await api.patch(path, json={"secret": None})).json()
    assert is_secret(again["secret"])
    assert again["secret"] != made["secret"]
    shown = [(await api.get(path)).json(), (await api.patch(path, json={"secret": MASK, "name": "x"})).json()]
    given = (await api.patch(path, json={"secret": SECRET})).json()
    assert {one["secret"] for one in [*shown, given]} == {MASK}
    async with transaction(pool) as conn:
        rows = await conn.fetch("select c::text from channels c union all select a::text from audit_log a")
        channel = await channels.read(conn, made["id"])
    assert not any(secret in repr(rows) for secret in (made["secret"], again["secret"], SECRET))
    assert channel is not None
    opened = channels.secret_of(VAULT, channel)
    assert opened is not None
    assert opened.get_secret_value() == SECRET


@pytest.mark.parametrize("secret", ["", "x", "whsec_", "whsec_c2hvcnQ=", 7, [], "whsec_" + "x" * 1_000_000])
async def test_a_wrong_secret_is_refused_by_name_and_not_repeated(api: httpx.AsyncClient, secret: Any) -> None:
    made = await make(api, kind="webhook")
    body = {"name": "x", "kind": "webhook", "url": URL, "secret": secret}
    for answer in (
        await api.post("/channels", json=body),
        await api.patch(f"/channels/{made['id']}", json={"secret": secret}),
    ):
        assert (answer.status_code, refused_fields(answer)) == (422, ["secret"])
        assert "c2hvcnQ" not in answer.text


async def test_a_secret_is_refused_where_nothing_is_signed(api: httpx.AsyncClient) -> None:
    made = await make(api)
    assert made["secret"] is None
    body = {"name": "x", "kind": "slack", "url": URL, "secret": SECRET}
    for answer in (
        await api.post("/channels", json=body),
        await api.patch(f"/channels/{made['id']}", json={"secret": None}),
    ):
        assert (answer.status_code, refused_fields(answer)) == (409, ["secret"])


async def test_images_and_products_are_chosen_by_globs_and_changed_like_every_field(
    pool: Pool, api: httpx.AsyncClient
) -> None:
    made = await make(api, images=["bre*"], products=["all*", "axa"])
    assert (made["images"], made["products"]) == (["bre*"], ["all*", "axa"])
    await make(api, name="others", products=["zurich"])
    await make(api, name="other images", images=["web"])
    await tell(pool)
    assert [one["channel"] for one in await notices(api)] == ["ops"]
    changed = (await api.patch(f"/channels/{made['id']}", json={"products": []})).json()
    assert (changed["images"], changed["products"]) == (["bre*"], [])


@pytest.mark.parametrize(
    ("kind", "status", "off"), [("discord", 404, True), ("discord", 410, True), ("slack", 404, False)]
)
async def test_an_address_that_is_gone_by_the_word_of_its_kind_switches_the_channel_off(
    pool: Pool, api: httpx.AsyncClient, kind: str, status: int, off: bool
) -> None:
    async with LocalSlack.start() as slack:
        made = await make(api, kind=kind, url=slack.url)
        await tell(pool)
        slack.fail_next(status)
        assert await turn(pool) == 1
    shown = (await api.get(f"/channels/{made['id']}")).json()
    assert shown["enabled"] is not off
    assert (f"HTTP {status}" in (shown["disabled_reason"] or "")) is off
