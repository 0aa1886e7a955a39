"""What others do to us: registry, GitHub and Slack fail in every way they have, and nothing false comes of it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from app.engine.credentials import RegistryAccess
from app.engine.distribution import push_image
from app.engine.shape import Builder
from app.errors import GitHubUnavailable, RegistryUnavailable
from app.github.client import GitHubClient
from tests.engine.yard import Yard
from tests.fakes.slack import LocalSlack
from tests.fault.small import MIB, small_disk
from tests.registry import PASSWORD, USERNAME, LocalRegistry, SlowWay, local_registry, push, slow_way
from tests.waiting import until
from tests.world import new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine
    from tests.world import World

CANARY = "ghp_canary0123456789"
LARGE = {"Dockerfile": "FROM busybox\nRUN echo @RUN@ && dd if=/dev/urandom of=/large bs=1M count=6 2>/dev/null\n"}


async def log_of(world: World, image: dict[str, Any]) -> str:
    return str((await world.get(f"/images/{image['id']}"))["build_log"])


async def log_says(world: World, tag: str, words: str) -> None:
    """Wait until the log of a tag's build holds these words."""

    async def look() -> bool:
        image = await world.find_image(tag)
        return image is not None and words in await log_of(world, image)

    await until(look, f"the log of {tag} says {words!r}")


# ---------------------------------------------------------------- the registry


@asynccontextmanager
async def world_with(registry: str, folder: Path, database: str) -> AsyncIterator[World]:
    settings = {"REGISTRY": registry, "REGISTRY_USERNAME": USERNAME, "REGISTRY_PASSWORD": PASSWORD}
    async with new_world(folder, database, **settings) as world:
        await world.register()
        yield world


def access_to(way: SlowWay) -> RegistryAccess:
    return RegistryAccess(way.host, USERNAME, SecretStr(PASSWORD))


async def pushed_digest(registry: LocalRegistry, world: World, tag: str) -> str | None:
    async with registry.client() as client:
        return await client.digest_of(world.image, tag)


async def test_a_registry_that_dies_during_a_push_has_the_whole_image_when_it_is_back(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    (tmp_path / "registry").mkdir()
    async with (
        local_registry(tmp_path / "registry") as registry,
        slow_way(registry) as way,
        world_with(way.host, tmp_path, database) as world,
    ):
        await world.release("v1.0.0", LARGE)
        await asyncio.wait_for(way.uploading.wait(), 60)
        await registry.stop()
        way.hurry.set()
        await log_says(world, "v1.0.0", "Retrying")
        image = await world.find_image("v1.0.0")
        assert image is not None
        assert (image["build_status"], image["digest"]) == ("building", None)
        await registry.start()
        image = await world.image_is("v1.0.0", "success")
        assert image["digest"] == await pushed_digest(registry, world, "v1.0.0")
        assert "built in" in await world.told()
        again, _ = await push(engine, access_to(way), image["image_ref"])
        assert again == image["digest"], "pushing twice changes nothing"


async def test_a_registry_whose_disk_is_full_gets_the_image_when_there_is_room_and_products_run_on(
    tmp_path: Path, database: str, engine: Engine
) -> None:
    with small_disk(tmp_path / "registry", 24) as disk:
        async with (
            local_registry(disk.folder) as registry,
            world_with(registry.host, tmp_path, database) as world,
        ):
            await world.release("v1.0.0")
            first = await world.image_is("v1.0.0", "success")
            product = await world.product("allianz", first["id"], track="^1")
            assert (await world.start(product))["state"] == "done"
            await world.told_about("built in", "Allianz")

            disk.fill(leave=MIB)
            large = "FROM busybox\nRUN dd if=/dev/urandom of=/large bs=1M count=6 2>/dev/null\n"
            await world.release("v1.1.0", {"Dockerfile": f"{large}COPY VERSION serve /srv/\nWORKDIR /srv\n{SERVING}"})
            await log_says(world, "v1.1.0", "Retrying")
            assert await pushed_digest(registry, world, "v1.1.0") is None
            assert (await world.page(product))["version"] == "v1.0.0"
            disk.make_room()
            image = await world.image_is("v1.1.0", "success")
            assert image["digest"] == await pushed_digest(registry, world, "v1.1.0")
            assert (await world.rollout_of(product, "pin_moved"))["state"] == "done"
            assert (await world.page(product))["version"] == "v1.1.0"
            await world.told_together("built in", "1 of 1 product running", "Allianz")


SERVING = 'RUN chmod +x serve\nEXPOSE 8080\nCMD ["./serve"]\n'


async def test_a_registry_that_stands_still_is_given_up_and_worth_another_try(tmp_path: Path, engine: Engine) -> None:
    yard = Yard(engine)
    async with local_registry(tmp_path) as registry, slow_way(registry) as way:
        reference = f"{way.host}/{yard.name('stalled')}:v1"
        large = "RUN dd if=/dev/urandom of=/large bs=1M count=6 2>/dev/null"
        built = yard.request(Builder.CLASSIC, tag=reference)
        await yard.run_build(built, {"Dockerfile": yard.dockerfile(large)})

        async def push_all() -> None:
            async with aclosing(push_image(engine, access_to(way), reference, idle_s=3)) as events:
                async for _ in events:
                    pass

        pushing = asyncio.create_task(push_all())
        await asyncio.wait_for(way.uploading.wait(), 60)
        freeze(registry)
        with pytest.raises(RegistryUnavailable, match="stood still for 3 s"):
            await asyncio.wait_for(pushing, 60)
    await yard.clean()


def freeze(registry: LocalRegistry) -> None:
    assert registry._process is not None
    registry._process.send_signal(signal.SIGSTOP)


# ---------------------------------------------------------------- GitHub


async def test_a_source_that_is_a_page_or_is_cut_short_is_asked_for_again_and_never_built(
    tmp_path: Path, database: str, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"GITHUB_TOKEN": CANARY, "TAGSHIP_GITHUB_REPORTS": "off"}
    async with new_world(tmp_path, database, **settings) as world:
        await world.register()
        await world.release("v0.9.0")
        commit = (await world.image_is("v0.9.0", "success"))["commit_sha"]
        async with world.services.github.tarball(world.repo, commit) as chunks:
            whole = b"".join([chunk async for chunk in chunks])
        path = f"/repos/{world.repo}/tarball"
        world.github.fail_next(path, 200, headers={"Content-Type": "text/html"}, body=b"<html>maintenance</html>" * 99)
        world.github.fail_next(path, 200, body=whole[: len(whole) // 2])
        await world.github.tag(world.repo, "v1.0.0")
        image = await world.image_is("v1.0.0", "success")
        assert image["attempt"] == 3
        log = await log_of(world, image)
        assert "what GitHub sent as the source archive is damaged or none" in log
        assert "the source archive from GitHub ended early" in log
        assert log.count("Successfully") <= 1, "one image was made, of the whole source"
        await world.told_about("built in", "built in")
        asked = world.github.asked("codeload")[-1]
    assert asked.path.split("/")[-1] == image["commit_sha"]
    for secret in (CANARY, "token="):
        assert secret not in f"{log}{image}{caplog.text}"


async def test_a_build_waits_as_long_as_github_asks(
    tmp_path: Path, database: str, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async with new_world(tmp_path, database) as world:
        await world.register()
        world.github.rate_limit_next(f"/repos/{world.repo}/tarball", retry_after_s=6)
        await world.release("v1.0.0")
        image = await world.image_is("v1.0.0", "success")
        assert image["attempt"] == 2
        assert "GitHub's rate limit is used up; it lifts in 6 s" in await log_of(world, image)
        builds = await world.get(f"/images/{image['id']}/builds")
        assert "built in" in await world.told()
    assert "'wait_s': 6" in caplog.text, builds


async def test_an_archive_that_trickles_is_given_up_and_a_slow_reader_is_not() -> None:
    async with trickling(b"x", 0.05) as url:
        client = GitHubClient.open(api_url=url, idle_s=0.5)
        with pytest.raises(GitHubUnavailable, match=r"bytes in 1 s when asked to send the source"):
            async with client.tarball("acme/shop", "0" * 40) as chunks:
                async for _ in chunks:
                    pass
        await client.close()
    async with trickling(b"x" * 70_000, 0.05) as url:
        client = GitHubClient.open(api_url=url, idle_s=0.1)
        async with client.tarball("acme/shop", "0" * 40) as chunks:
            for _ in range(5):
                assert await anext(aiter(chunks))
                await asyncio.sleep(0.15)  # busy with it; GitHub waits meanwhile, and is not to blame
        await client.close()


@asynccontextmanager
async def trickling(piece: bytes, pause_s: float) -> AsyncIterator[str]:
    """A server whose every answer is one piece after each pause, without end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(pause_s)
        except ConnectionError:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


# ---------------------------------------------------------------- Slack


async def test_a_channel_that_is_gone_is_switched_off_and_says_so_and_the_others_go_on(
    tmp_path: Path, database: str, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async with LocalSlack.start() as gone, new_world(tmp_path, database) as world:
        body = {"name": "gone", "kind": "slack", "url": gone.url}
        channel = await world.post("/channels", body, 201)
        gone.fail_next(410, "channel_is_archived")
        world.slack.fail_next(500)
        await world.register(dockerfile="no/such/Dockerfile")
        await world.release("v1.0.0")
        assert "could not be built" in await world.told()
        path = f"/channels/{channel['id']}"

        async def switched_off() -> bool:
            shown = await world.get(path)
            return shown["enabled"] is False and "HTTP 410" in shown["disabled_reason"]

        await until(switched_off, "the channel is off")
        [notice] = await world.get(f"/notices?channel_id={channel['id']}")
        assert (notice["state"], notice["attempt"]) == ("failed", 1)
        assert "HTTP 410 channel_is_archived; " in notice["answer"]
        assert "the channel is switched off: give it a new address, and switch it on" in notice["answer"]
        assert "channel_switched_off" in caplog.text
        assert gone.url not in f"{caplog.text}{notice}"

        await world.release("v1.0.1")
        assert "could not be built" in await world.told()
        assert gone.messages == []
        assert len(await world.get(f"/notices?channel_id={channel['id']}")) == 1
