"""The registry's pure parts: credentials as a header, challenges and errors read, a transfer's output as a log."""

from __future__ import annotations

import base64
import doctest
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

import app.registry.challenge
from app.engine.credentials import HEADER, RegistryAccess, auth_header, registry_access, service_auth
from app.engine.transfer import LARGE_BYTES, TransferOutput, transfer_failure
from app.errors import AppError, EngineUnavailable, RegistryRefused, RegistryUnavailable
from app.registry.challenge import LONGEST_REASON, Challenge, next_page, read_challenge, refusal_reason
from app.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST = f"sha256:{'a' * 64}"
ACCESS = RegistryAccess("r.example:5000/team", "me", SecretStr("hüsh>?"))


def decoded(headers: dict[str, str]) -> dict[str, str]:
    shown: dict[str, str] = json.loads(base64.urlsafe_b64decode(headers[HEADER]))
    return shown


# ---------------------------------------------------------------- credentials


@pytest.mark.parametrize("reference", ["r.example:5000/team/shop:v1", f"r.example:5000/else/shop@{DIGEST}"])
def test_our_registry_gets_our_credentials(reference: str) -> None:
    known = {"username": "me", "password": "hüsh>?", "serveraddress": "r.example:5000"}
    assert decoded(auth_header(ACCESS, reference)) == decoded(service_auth(ACCESS, reference)) == known


@pytest.mark.parametrize(
    "reference",
    ["r.example/team/shop:v1", "r.example:5001/x", "team/shop", "busybox", f"sha256:{'a' * 64}", "r.example:5000"],
)
def test_nobody_else_gets_them(reference: str) -> None:
    assert decoded(auth_header(ACCESS, reference)) == {}
    assert service_auth(ACCESS, reference) == {}


@pytest.mark.parametrize("access", [None, RegistryAccess("r.example:5000")])
def test_without_credentials_the_header_says_nothing(access: RegistryAccess | None) -> None:
    assert decoded(auth_header(access, "r.example:5000/x")) == {}
    assert service_auth(access, "r.example:5000/x") == {}


def test_docker_hub_is_known_by_its_old_address() -> None:
    access = RegistryAccess("docker.io/acme", "me", SecretStr("hush"))
    assert decoded(auth_header(access, "acme/shop:v1"))["serveraddress"] == "https://index.docker.io/v1/"
    assert access.reference("shop:v1") == "docker.io/acme/shop:v1"


def test_access_comes_from_the_settings_and_keeps_the_password_to_itself() -> None:
    assert registry_access(load_settings({})) is None
    settings = load_settings(
        {"REGISTRY": "r.example:5000/team", "REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "hüsh>?"}
    )
    assert registry_access(settings) == ACCESS
    assert "hüsh" not in repr(ACCESS)


# ---------------------------------------------------------------- challenges and errors


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ('Basic realm="x"', Challenge(bearer=False)),
        ("basic", Challenge(bearer=False)),
        (
            'Bearer realm="https://a.example/t?x=1,2", service="r", scope="repository:a/b:pull,push"',
            Challenge(bearer=True, realm="https://a.example/t?x=1,2", service="r", scope="repository:a/b:pull,push"),
        ),
        ("bearer realm=https://a.example/t", Challenge(bearer=True, realm="https://a.example/t")),
        ("Bearer scope=x", None),
        ("Negotiate abc", None),
        ("", None),
        (None, None),
    ],
)
def test_challenges(header: str | None, challenge: Challenge | None) -> None:
    assert read_challenge(header) == challenge


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}', "DENIED: no"),
        (b'{"errors":[{"code":"DENIED"}]}', "DENIED"),
        (b'{"errors":[{"code":"A","message":"two\\nlines\\u0000"}]}', "A: two lines"),
        (b'{"errors":[]}', ""),
        (b"[]", ""),
        (b"<html>", ""),
        (b'{"errors":[1]}', ""),
    ],
)
def test_a_registrys_own_words(body: bytes, reason: str) -> None:
    assert refusal_reason(body) == reason


@given(st.binary(max_size=50), st.text(max_size=50))
def test_whatever_a_registry_sends_is_read(body: bytes, header: str) -> None:
    assert len(refusal_reason(body)) <= LONGEST_REASON
    read_challenge(header)
    next_page(header)


@pytest.mark.parametrize(
    ("link", "page"),
    [
        ('</v2/a/tags/list?last=x&n=9>; rel="next"', "/v2/a/tags/list?last=x&n=9"),
        ('<https://elsewhere.example/v2/a/tags/list?last=x>; rel="next"', "/v2/a/tags/list?last=x"),
        ('<http://x/steal>; rel="next"', None),
        ('</v2/a>; rel="prev"', None),
        (None, None),
    ],
)
def test_the_next_page_is_on_the_same_registry(link: str | None, page: str | None) -> None:
    assert next_page(link) == page


# ---------------------------------------------------------------- output of a push or pull


def log_of(messages: Iterable[object], output: TransferOutput | None = None) -> str:
    output = output or TransferOutput("push x")
    return "".join(text for message in messages for text in output.feed(json.dumps(message).encode()))


def test_a_push_is_told_by_layer_and_not_by_tick() -> None:
    ticks = [
        {"status": "Pushing", "id": "aa", "progressDetail": {"current": n, "total": 1000}, "progress": "[>"}
        for n in range(0, 1000, 10)
    ]
    messages = [
        {"status": "The push refers to repository [r/x]"},
        {"status": "Preparing", "id": "aa", "progressDetail": {}},
        {"status": "Waiting", "id": "bb", "progressDetail": {}},
        *ticks,
        {"status": "Pushed", "id": "aa", "progressDetail": {}},
        {"status": "Layer already exists", "id": "bb", "progressDetail": {}},
        {"status": f"v1: digest: {DIGEST} size: 527"},
        {"progressDetail": {}, "aux": {"Tag": "v1", "Digest": DIGEST, "Size": 527}},
    ]
    output = TransferOutput("push r/x")
    assert log_of(messages, output) == (
        f"The push refers to repository [r/x]\naa: Pushed\nbb: Layer already exists\nv1: digest: {DIGEST} size: 527\n"
    )
    assert output.digest == DIGEST


@pytest.mark.parametrize(
    "message", [{"status": f"v1: digest: {DIGEST} size: 5"}, {"aux": {"Tag": "v1", "Digest": DIGEST, "Size": 5}}]
)
def test_both_image_stores_tell_the_digest(message: object) -> None:
    output = TransferOutput("push x")
    log_of([message], output)
    assert output.digest == DIGEST


def test_a_large_layer_is_told_by_quarters() -> None:
    total = LARGE_BYTES * 10
    ticks = [
        {"status": "Pushing", "id": "aa", "progressDetail": {"current": total * n // 100, "total": total}}
        for n in range(101)
    ]
    assert log_of(ticks).splitlines() == [f"aa: Pushing {n} % of 336 MB" for n in (25, 50, 75, 100)]


def test_waiting_for_a_registry_is_told_once() -> None:
    ticks = [{"status": f"Retrying in {n} seconds", "id": "aa", "progressDetail": {}} for n in (5, 4, 3, 2, 1)]
    assert log_of(ticks) == "aa: Retrying in 5 seconds\n"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('Get "http://127.0.0.1:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused', RegistryUnavailable),
        ("dial tcp: lookup r.example on 10.0.0.2:53: no such host", RegistryUnavailable),
        ("net/http: TLS handshake timeout", RegistryUnavailable),
        ("unexpected EOF", RegistryUnavailable),
        ("received unexpected HTTP status: 503 Service Unavailable", RegistryUnavailable),
        ("received unexpected HTTP status: 500 Internal Server Error", RegistryUnavailable),
        ("toomanyrequests: You have reached your pull rate limit", RegistryUnavailable),
        ("Post http://r.example/: read tcp: i/o timeout", RegistryUnavailable),
        ("unauthorized: authentication required", RegistryRefused),
        ("denied: requested access to the resource is denied", RegistryRefused),
        ("no basic auth credentials", RegistryRefused),
        ("An image does not exist locally with the tag: r.example/x", RegistryRefused),
        ("manifest unknown: manifest unknown", RegistryRefused),
        ('Get "https://r.example/v2/": http: server gave HTTP response to HTTPS client', RegistryRefused),
        ("x509: certificate signed by unknown authority", RegistryRefused),
        ("context canceled", EngineUnavailable),
    ],
)
def test_a_failure_tells_whether_another_try_helps(words: str, kind: type[AppError]) -> None:
    for message in ({"errorDetail": {"message": words}, "error": words}, {"error": words}):
        with pytest.raises(kind) as failed:
            log_of([message])
        assert "push x" in str(failed.value)
    assert isinstance(transfer_failure("push x", words), kind)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("received unexpected HTTP status: 500 Internal Server Error", "its own log says why, a full disk for example"),
        ("write /var/lib/docker/tmp/x: no space left on device", "docker system df"),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", "is it running, is REGISTRY right?"),
    ],
)
def test_a_failure_says_what_to_look_at(words: str, advice: str) -> None:
    assert advice in str(transfer_failure("push x", words))


def test_signatures_and_passwords_in_addresses_are_left_out() -> None:
    words = 'Put "https://me:canary@s3.example/blob?X-Amz-Signature=canary&x=1": denied\x00'
    sentence = str(transfer_failure("push x", words))
    assert 'Put "https://s3.example/blob": denied' in sentence
    assert "canary" not in sentence
    assert "\x00" not in sentence


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_whatever_the_engine_sends_is_text_or_a_known_failure(chunks: list[bytes]) -> None:
    output = TransferOutput("pull x")
    try:
        for chunk in chunks:
            list(output.feed(chunk))
        output.close()
    except AppError:
        pass


def test_examples_hold() -> None:
    assert doctest.testmod(app.registry.challenge).failed == 0
