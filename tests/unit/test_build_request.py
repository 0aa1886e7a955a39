from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.build import build_params
from app.engine.mark import build_name, marked_name, read_build_name
from app.engine.output import LARGEST_OBJECT, BuildOutput, JsonSplitter, failure_sentence
from app.engine.shape import Builder, BuildLimits, BuildRequest, EngineInfo, ImageMade, LogText
from app.errors import AppError, BuildFailed, EngineUnavailable

REQUEST = BuildRequest(
    builder=Builder.BUILDKIT,
    dockerfile="docker/Dockerfile",
    tags=("shop:v1", "shop:latest"),
    build_id="tagship-5-1",
    target="prod",
    build_args={"B": "2", "A": 'é"'},
    labels={"tagship.build": "5"},
)

MADE = f"sha256:{'1' * 64}"
OTHER_HOSTS = ["db:10.0.0.1", "x.invalid:10.0.0.1", "x.invalid.org:192.0.2.1", "host.docker.internal:host-gateway"]
LONGEST_LABEL = 63  # RFC 1035

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\{}é'), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text('ab"\\{}'), json_values, max_size=4), max_size=5)


def test_buildkit_request() -> None:
    assert build_params(REQUEST) == [
        ("dockerfile", "docker/Dockerfile"),
        ("t", "shop:v1"),
        ("t", "shop:latest"),
        ("version", "2"),
        ("buildid", "tagship-5-1"),
        ("target", "prod"),
        ("buildargs", '{"A": "é\\"", "B": "2"}'),
        ("labels", '{"tagship.build": "5"}'),
    ]


def test_classic_request_cleans_up_after_a_failed_step_and_marks_what_it_makes() -> None:
    request = BuildRequest(builder=Builder.CLASSIC, dockerfile="Dockerfile", tags=("shop:v1",), build_id="x")
    assert build_params(request) == [
        ("dockerfile", "Dockerfile"),
        ("t", "shop:v1"),
        ("version", "1"),
        ("rm", "1"),
        ("forcerm", "1"),
        ("extrahosts", "x.invalid:192.0.2.1"),
    ]


@given(st.uuids(), st.integers(1, 10**12), st.integers(1, 99), st.lists(st.sampled_from(OTHER_HOSTS)))
def test_what_a_classic_request_sends_says_whose_container_it_is(
    installation: UUID, build: int, attempt: int, hosts: list[str]
) -> None:
    name = build_name(str(installation), build, attempt)
    params = dict(build_params(replace(REQUEST, builder=Builder.CLASSIC, build_id=name)))
    found = marked_name([*hosts, params["extrahosts"]])
    assert found == name
    assert read_build_name(found) == (str(installation), build, attempt)
    host, _, _ = params["extrahosts"].partition(":")
    assert all(0 < len(label) <= LONGEST_LABEL for label in host.split("."))


@pytest.mark.parametrize(
    "name",
    [
        "x",
        f"tagship-{MADE}-1-1",
        f"tagship-{UUID(int=1)}-1",
        f"tagship-{UUID(int=1)}-1-",
        f"tagship-{UUID(int=1)}--1",
        f"tagship-{UUID(int=1)}-1-1-1",
        f"tagship-{UUID(int=1)}-\uff11-1",
        f"tagship-{UUID(int=1)}-1-1\n",
        f"tagship-{UUID(int=1)}-{'9' * 30}-1",
    ],
    ids=[
        "anything",
        "no installation",
        "no attempt",
        "empty attempt",
        "empty build",
        "too long",
        "odd digits",
        "line end",
        "no id",
    ],
)
def test_other_names_are_no_builds(name: str) -> None:
    assert read_build_name(name) is None


def test_hosts_of_others_are_no_mark() -> None:
    assert marked_name(OTHER_HOSTS) is None


def test_limits_go_to_the_builder_that_keeps_to_them() -> None:
    limits = BuildLimits(memory_bytes=64_000_000, cpus=1.5, network="none")
    classic = build_params(replace(REQUEST, builder=Builder.CLASSIC, limits=limits))
    assert {
        ("memory", "64000000"),
        ("memswap", "64000000"),
        ("cpuperiod", "100000"),
        ("cpuquota", "150000"),
        ("networkmode", "none"),
    } <= set(classic)
    buildkit = build_params(replace(REQUEST, limits=limits))
    assert [pair for pair in buildkit if pair not in build_params(REQUEST)] == [("networkmode", "none")]


@pytest.mark.parametrize(
    ("api_version", "os", "supported"),
    [((1, 38), "linux", False), ((1, 39), "linux", True), ((1, 56), "linux", True), ((1, 56), "windows", False)],
)
def test_buildkit_needs_linux_and_api_1_39(api_version: tuple[int, int], os: str, supported: bool) -> None:
    info = EngineInfo("x", api_version, os, swarm_active=True, swarm_manager=True, nodes=1, ipvs=False)
    assert info.has_buildkit is supported


@given(objects, st.integers(1, 7), st.sampled_from(["", "\r\n", "\n\n", "  "]), st.booleans())
def test_objects_are_found_wherever_the_stream_is_cut(
    wanted: list[dict[str, Any]], size: int, between: str, escaped: bool
) -> None:
    data = "".join(json.dumps(one, ensure_ascii=escaped) + between for one in wanted).encode()
    splitter = JsonSplitter()
    found = [one for start in range(0, len(data), size) for one in splitter.feed(data[start : start + size])]
    splitter.close()
    assert found == wanted


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_ends_in_our_own_error(chunks: list[bytes]) -> None:
    output = BuildOutput()
    try:
        for chunk in chunks:
            list(output.feed(chunk))
        list(output.close())
    except AppError:
        return
    pytest.fail("no image was named, so this cannot have been a build")


def test_deeply_nested_object_is_no_crash() -> None:
    with pytest.raises(EngineUnavailable):
        list(JsonSplitter().feed(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"))


def test_endless_object_is_refused() -> None:
    with pytest.raises(EngineUnavailable, match="more than 16 MiB"):
        list(JsonSplitter().feed(b'{"stream":"' + b"x" * LARGEST_OBJECT))


def test_image_comes_last_and_only_when_the_stream_ended() -> None:
    output = BuildOutput()
    events = list(output.feed(_line(aux={"ID": MADE}) + _line(stream="Successfully built 1\n")))
    assert events == [LogText("Successfully built 1\n")]
    assert list(output.close()) == [ImageMade(MADE)]


def test_stream_without_an_image_is_no_success() -> None:
    output = BuildOutput()
    list(output.feed(_line(stream="Step 1/1 : FROM busybox")))
    with pytest.raises(EngineUnavailable, match="without naming an image"):
        list(output.close())


def test_stream_that_ends_inside_an_object_is_no_success() -> None:
    output = BuildOutput()
    list(output.feed(_line(aux={"ID": MADE}) + b'{"stream":'))
    with pytest.raises(EngineUnavailable):
        list(output.close())


def test_error_after_the_image_is_a_failure() -> None:
    output = BuildOutput()
    with pytest.raises(BuildFailed, match="could not tag"):
        list(output.feed(_line(aux={"ID": MADE}) + _line(errorDetail={"message": "could not tag"})))


def test_text_before_a_failure_is_kept() -> None:
    output, seen = BuildOutput(), []
    with pytest.raises(BuildFailed, match=r'step "\[2/2\] RUN exit 3" failed with exit code 3'):
        for event in output.feed(
            _line(stream="Step 2/2 : RUN exit 3")
            + _line(stream="said\0")
            + _line(errorDetail={"code": 3, "message": "returned a non-zero code: 3"})
        ):
            seen.append(event)  # noqa: PERF402 - what came before the error counts
    assert seen == [LogText("Step 2/2 : RUN exit 3"), LogText("said\ufffd")]


@pytest.mark.parametrize(
    "words", ["context canceled", "rpc error: code = Canceled desc = grpc: the client connection is closing"]
)
def test_build_that_the_engine_gave_up_can_be_tried_again(words: str) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        list(BuildOutput().feed(_line(errorDetail={"message": words})))
    assert caught.value.retryable


def test_pull_is_told_at_every_change_and_not_at_every_tick() -> None:
    ticks = [_line(status="Downloading", id="abc", progressDetail={"current": n}) for n in range(100)]
    stream = _line(status="Pulling from library/x", id="v1") + b"".join(ticks) + _line(status="Pull complete", id="abc")
    text = "".join(event.text for event in BuildOutput().feed(stream) if isinstance(event, LogText))
    assert text == "v1: Pulling from library/x\nabc: Downloading\nabc: Pull complete\n"


def test_unreadable_progress_is_said_in_the_log() -> None:
    output = BuildOutput()
    list(output.feed(_line(id="moby.buildkit.trace", aux="%%%") + _line(id="moby.image.id", aux={"ID": MADE})))
    list(output.feed(_line(id="moby.buildkit.trace", aux=base64.b64encode(b"\xff" * 9).decode())))
    first, last = output.close()
    assert isinstance(first, LogText)
    assert "2 messages" in first.text
    assert last == ImageMade(MADE)


@pytest.mark.parametrize(
    ("step", "words", "sentence"),
    [
        (
            "[2/3] RUN x",
            "did not complete successfully: exit code: 127",
            'step "[2/3] RUN x" failed with exit code 127',
        ),
        ("", "Cannot locate specified Dockerfile: x", "the build failed: Cannot locate specified Dockerfile: x"),
        ("[1/2] FROM x", "pull access denied\nfor x", 'step "[1/2] FROM x" failed: pull access denied for x'),
        ("RUN a", "no active sessions", "docker pull it on the engine first"),
        ("COPY a /", "write /a: no space left on device", "docker system df shows what takes it, make room there"),
        ("RUN a", "did not complete successfully: exit code: 137", "than TAGSHIP_BUILD_MEMORY_MB allows"),
    ],
)
def test_failure_sentence(step: str, words: str, sentence: str) -> None:
    assert sentence in failure_sentence(step, words, None)


@pytest.mark.parametrize("said", ["dd: writing: No space left on device\n", "", "no space left for doubt\n"])
def test_a_step_that_says_that_the_disk_is_full_is_repeated(said: str) -> None:
    output = BuildOutput()
    with pytest.raises(BuildFailed) as failed:
        list(output.feed(_line(stream=said) + _line(errorDetail={"code": 1, "message": "returned 1"})))
    assert ("make room" in str(failed.value)) is ("on device" in said)


@given(st.lists(st.text('\\"{}a', max_size=9), max_size=6), st.integers(1, 5))
def test_strings_full_of_escapes_are_found_whole(texts: list[str], size: int) -> None:
    data = b"".join(_line(stream=text) for text in texts)
    splitter = JsonSplitter()
    found = [one for start in range(0, len(data), size) for one in splitter.feed(data[start : start + size])]
    splitter.close()
    assert [one["stream"] for one in found] == texts


def test_failure_sentence_stays_short() -> None:
    assert len(failure_sentence("RUN " + "x" * 10_000, "y" * 10_000, None)) < 1500


def _line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\r\n"
