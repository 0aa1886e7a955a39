from __future__ import annotations

import asyncio
import random
import re
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from app.engine.build import stream_build
from app.engine.client import Engine
from app.engine.image import inspect_image, list_images, remove_image, tag_image
from app.engine.shape import Builder, LogText
from app.errors import BuildFailed, EngineUnavailable, SourceInvalid
from tests.engine.yard import eventually, processes_with, relay, tar_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.engine.yard import Yard

GONE_WITHIN_S = 30.0  # by itself it would sleep for years


async def test_this_engine_has_both_builders(engine: Engine) -> None:
    info = await engine.describe()
    assert info.has_buildkit
    assert info.swarm_active
    assert info.nodes >= 1


async def test_image_carries_names_labels_arguments_and_ports(yard: Yard, builder: Builder) -> None:
    dockerfile = yard.dockerfile("ARG WHO", 'RUN echo "hello $WHO"', "EXPOSE 8080 53/udp 90/tcp")
    request = yard.request(builder)
    built = await yard.run_build(request, {"Dockerfile": dockerfile})
    assert "hello wörld & co" in built.log
    image = await inspect_image(yard.engine, request.tags[0])
    assert image is not None
    assert image.id == built.image_id
    assert image.exposed_tcp == (90, 8080)
    assert image.labels["org.opencontainers.image.version"] == "v1+a b"
    assert image.size > 0
    assert image.created is not None


async def test_target_stops_at_its_stage(yard: Yard, builder: Builder) -> None:
    dockerfile = f"{yard.dockerfile()}FROM busybox AS first\nRUN echo one\nFROM first AS second\nRUN exit 9\n"
    built = await yard.run_build(yard.request(builder, target="first"), {"Dockerfile": dockerfile})
    assert built.image_id.startswith("sha256:")


async def test_names_can_be_given_listed_and_taken(yard: Yard) -> None:
    built = await yard.build(Builder.CLASSIC, "RUN echo names")
    name = f"{yard.name('named')}:v2"
    await tag_image(yard.engine, built.image_id, name)
    assert any(name in image.tags for image in await list_images(yard.engine))
    assert await remove_image(yard.engine, name)
    assert not await remove_image(yard.engine, name)
    assert await inspect_image(yard.engine, name) is None


async def test_failing_step_is_named_with_its_exit_code(yard: Yard, builder: Builder) -> None:
    with pytest.raises(BuildFailed, match=r'step "\[\d/\d\] RUN echo dying; exit 37" failed with exit code 37'):
        await yard.build(builder, "RUN echo dying; exit 37")


async def test_missing_dockerfile_fails_the_build(yard: Yard, builder: Builder) -> None:
    with pytest.raises(BuildFailed, match="Dockerfile"):
        await yard.run_build(yard.request(builder), {"README": "no Dockerfile here"})


async def test_bad_instruction_fails_the_build(yard: Yard, builder: Builder) -> None:
    with pytest.raises(BuildFailed, match=r"(?i)unknown instruction: FRMO"):
        await yard.run_build(yard.request(builder), {"Dockerfile": "FRMO busybox\n"})


async def test_missing_file_to_copy_fails_the_build(yard: Yard, builder: Builder) -> None:
    with pytest.raises(BuildFailed, match="nothing-here"):
        await yard.build(builder, "COPY nothing-here /")


async def test_base_image_that_nobody_has_fails_the_build(yard: Yard, builder: Builder) -> None:
    with pytest.raises(BuildFailed, match="no-such-base"):
        await yard.run_build(yard.request(builder), {"Dockerfile": "FROM localhost:9/no-such-base:v1\n"})


async def test_bytes_that_are_no_text_become_replacement_characters(yard: Yard, builder: Builder) -> None:
    built = await yard.build(builder, r"RUN printf 'a\000b\377c\n'")
    assert "a\ufffdb\ufffdc\n" in built.log
    assert "\0" not in built.log


async def test_character_cut_in_two_is_whole_again(yard: Yard) -> None:
    built = await yard.build(
        Builder.BUILDKIT, r"RUN printf 'caf\303'; sleep 0.4; printf '\251 noir\n'; printf 'end\342'"
    )
    assert "café noir\n" in built.log
    assert "end\ufffd\n" in built.log


async def test_lines_keep_their_order(yard: Yard, builder: Builder) -> None:
    built = await yard.build(
        builder, f"RUN echo {random.random()}; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line-$i; done"
    )
    assert re.findall(r"line-(\d+)\n", built.log) == [str(number) for number in range(1, 3001)]


async def test_steps_that_run_side_by_side_never_share_a_line(yard: Yard) -> None:
    loop = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); printf {0}{0}; sleep 0.01; echo {0}{0}; done; echo {1} > /{0}"
    parts = [f"FROM busybox AS {stage}\nRUN {loop.format(stage, random.random())}" for stage in ("aaaa", "bbbb")]
    dockerfile = "\n".join([*parts, yard.dockerfile("COPY --from=aaaa /aaaa /", "COPY --from=bbbb /bbbb /")])
    built = await yard.run_build(yard.request(Builder.BUILDKIT), {"Dockerfile": dockerfile})
    output = re.findall(r"^#\d+ \d+\.\d{3} (.*)$", built.log, re.MULTILINE)
    assert sorted(output) == ["a" * 16] * 40 + ["b" * 16] * 40


async def test_log_arrives_while_the_step_runs_and_closing_stops_it(yard: Yard, builder: Builder) -> None:
    word = _sleep_word()
    request = yard.request(builder)
    dockerfile = yard.dockerfile(f"RUN echo first words; sleep {word}")
    log = ""
    async with aclosing(stream_build(yard.engine, request, _tar(dockerfile))) as events:
        async for event in events:
            assert isinstance(event, LogText)
            log += event.text
            if re.search(r"^(#\d+ \d+\.\d{3} )?first words$", log, re.MULTILINE):
                break
        await eventually(lambda: processes_with(word))
    await eventually(lambda: not processes_with(word), timeout_s=GONE_WITHIN_S)
    assert await inspect_image(yard.engine, request.tags[0]) is None


async def test_cancelling_the_task_stops_the_step(yard: Yard, builder: Builder) -> None:
    word = _sleep_word()
    task = asyncio.create_task(yard.build(builder, f"RUN sleep {word}"))
    await eventually(lambda: processes_with(word))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not processes_with(word), timeout_s=GONE_WITHIN_S)


async def test_cancelling_does_not_wait_for_the_upload(yard: Yard, builder: Builder) -> None:
    stuck = asyncio.Event()
    task = asyncio.create_task(_drain(stream_build(yard.engine, yard.request(builder), _endless(stuck))))
    async with asyncio.timeout(10):
        await stuck.wait()
    task.cancel()
    async with asyncio.timeout(GONE_WITHIN_S + 1):
        await asyncio.wait([task])
    assert task.cancelled()


async def test_failure_of_the_source_is_raised_as_itself(yard: Yard, builder: Builder) -> None:
    request = yard.request(builder)
    with pytest.raises(SourceInvalid, match="broke off"):
        await _drain(stream_build(yard.engine, request, _breaking(yard.dockerfile("RUN echo never"))))
    assert await inspect_image(yard.engine, request.tags[0]) is None


async def test_cut_connection_is_no_success(yard: Yard, builder: Builder, tmp_path: Path) -> None:
    word = _sleep_word()
    lines: list[asyncio.StreamWriter] = []
    socket = tmp_path / "engine.sock"
    server = await asyncio.start_unix_server(lambda reader, writer: relay(yard.engine, reader, writer, lines), socket)
    async with server, Engine.open(f"unix://{socket}") as relayed:
        task = asyncio.create_task(
            _drain(stream_build(relayed, yard.request(builder), _tar(yard.dockerfile(f"RUN sleep {word}"))))
        )
        await eventually(lambda: processes_with(word))
        for line in lines:
            line.transport.abort()
        with pytest.raises(EngineUnavailable):
            await task
    await eventually(lambda: not processes_with(word), timeout_s=GONE_WITHIN_S)


async def test_no_engine_is_said_in_one_sentence(tmp_path: Path, yard: Yard, builder: Builder) -> None:
    async with Engine.open(f"unix://{tmp_path}/none.sock") as nobody:
        assert not await nobody.answers()
        with pytest.raises(EngineUnavailable, match="DOCKER_HOST"):
            await _drain(stream_build(nobody, yard.request(builder), _tar("FROM busybox")))


def _sleep_word() -> str:
    return str(random.randrange(10**8, 10**9))


async def _drain(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


def _tar(dockerfile: str) -> AsyncIterator[bytes]:
    return tar_chunks({"Dockerfile": dockerfile})


async def _endless(stuck: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"Dockerfile".ljust(256, b"\0")
    stuck.set()
    await asyncio.Event().wait()


async def _breaking(dockerfile: str) -> AsyncIterator[bytes]:
    async for chunk in _tar(dockerfile):
        yield chunk[:600]
        break
    raise SourceInvalid("the archive broke off; push the tag again")
