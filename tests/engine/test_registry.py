"""A real registry: what the engine pushes and pulls, what we look up and delete in it, and what the swarm may fetch."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from app.builds.publish import fetch_bases, publish
from app.engine.distribution import pull_image, registry_digest
from app.engine.image import inspect_image, remove_image, tag_image
from app.engine.service import apply_service, read_service
from app.engine.shape import Builder, PublishMode, ServiceTarget, TaskState
from app.errors import EngineRefused, RegistryRefused, RegistryUnavailable
from app.registry.client import RegistryClient
from app.rollouts.image import exposed_port, refuse_unreachable
from tests.engine.yard import eventually
from tests.fakes.registry_tokens import token_service
from tests.ports import free_port
from tests.registry import PASSWORD, USERNAME, local_registry, push, registry_with, slow_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.engine.client import Engine
    from app.engine.credentials import RegistryAccess
    from tests.engine.yard import Yard
    from tests.registry import LocalRegistry

CANCELLED_WITHIN_S = 60.0  # the push itself would take some four minutes on the slow way


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[LocalRegistry]:
    async with local_registry(tmp_path) as running:
        yield running


async def pull(engine: Engine, access: RegistryAccess | None, reference: str) -> None:
    async with aclosing(pull_image(engine, access, reference)) as events:
        async for _ in events:
            pass


@asynccontextmanager
async def made(yard: Yard, registry: LocalRegistry, *lines: str) -> AsyncIterator[tuple[str, str]]:
    """An image of the engine's, as its ID and the reference that it may have in the registry; removed at the end."""
    built = await yard.build(Builder.CLASSIC, *lines)
    reference = f"{registry.host}/team/{yard.name('pushed')}:v1"
    await tag_image(yard.engine, built.image_id, reference)
    yield built.image_id, reference
    await eventually(lambda: gone(yard.engine, built.image_id))


async def gone(engine: Engine, image_id: str) -> bool:
    """Whether the image is away; it is held until the last container of a removed service has ended."""
    with suppress(EngineRefused):
        await remove_image(engine, image_id, force=True)
    return await inspect_image(engine, image_id) is None


# ---------------------------------------------------------------- push


async def test_a_pushed_image_has_the_digest_that_the_registry_tells(yard: Yard, registry: LocalRegistry) -> None:
    async with made(yard, registry, "RUN echo push") as (_, reference), registry.client() as client:
        digest, log = await push(yard.engine, registry.access(), reference)
        repository = client.repository_of(reference)
        assert repository is not None
        assert await client.digest_of(repository, "v1") == digest
        assert await client.digest_of(repository, digest) == digest
        assert await client.digest_of(repository, "v2") is None
        assert await registry_digest(yard.engine, registry.access(), reference) == digest
        assert ": Pushed\n" in log
        assert f"v1: digest: {digest}" in log
        again, log = await push(yard.engine, registry.access(), reference)
        assert again == digest
        assert ": Pushed\n" not in log


async def test_a_large_push_is_a_few_lines_of_log(yard: Yard, registry: LocalRegistry) -> None:
    random = "RUN dd if=/dev/urandom of=/large bs=1M count=80 2>/dev/null"
    async with made(yard, registry, random) as (_, reference):
        _, log = await push(yard.engine, registry.access(), reference)
    assert "Pushing 75 % of 84 MB" in log
    assert len(log.splitlines()) < 15


async def test_only_the_named_tag_is_pushed(yard: Yard, registry: LocalRegistry) -> None:
    async with made(yard, registry, "RUN echo tags") as (image_id, reference), registry.client() as client:
        await tag_image(yard.engine, image_id, f"{reference}.secret")
        await push(yard.engine, registry.access(), reference)
        assert await client.tags(str(client.repository_of(reference))) == ["v1"]


async def test_wrong_and_missing_credentials_are_refusals_that_no_retry_mends(
    yard: Yard, registry: LocalRegistry
) -> None:
    async with made(yard, registry, "RUN echo refused") as (_, reference):
        for access in (registry.access(password="wrong-password"), None):
            with pytest.raises(RegistryRefused, match="check REGISTRY_USERNAME and REGISTRY_PASSWORD") as refused:
                await push(yard.engine, access, reference)
            assert not refused.value.retryable
            assert "wrong-password" not in str(refused.value)
            with pytest.raises(RegistryRefused, match="check REGISTRY_USERNAME"):
                await pull(yard.engine, access, reference)
            with pytest.raises(RegistryRefused, match="check REGISTRY_USERNAME"):
                await registry_digest(yard.engine, access, reference)


async def test_credentials_go_to_their_own_registry_only(
    yard: Yard, registry: LocalRegistry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with (
        local_registry(tmp_path_factory.mktemp("other")) as other,
        made(yard, other, "RUN echo other") as (_, reference),
    ):
        with pytest.raises(RegistryRefused, match="no basic auth credentials"):
            await push(yard.engine, registry.access(), reference)


async def test_an_image_that_the_engine_lacks_cannot_be_pushed(yard: Yard, registry: LocalRegistry) -> None:
    with pytest.raises(RegistryRefused, match="does not exist locally"):
        await push(yard.engine, registry.access(), f"{registry.host}/{yard.name('absent')}:v1")


async def test_a_registry_that_is_down_is_worth_another_try(yard: Yard, registry: LocalRegistry) -> None:
    async with made(yard, registry, "RUN echo down") as (_, reference), registry.client() as client:
        await registry.stop()
        for call in (
            push(yard.engine, registry.access(), reference),
            pull(yard.engine, registry.access(), reference),
            registry_digest(yard.engine, registry.access(), reference),
            client.check(),
            client.digest_of("team/x", "v1"),
        ):
            with pytest.raises(RegistryUnavailable, match=r"cannot be reached.*is it running, is REGISTRY right\?"):
                await call


async def test_a_cancelled_push_stops_the_engine(yard: Yard, registry: LocalRegistry) -> None:
    built = await yard.build(Builder.CLASSIC, "RUN dd if=/dev/urandom of=/large bs=1M count=20 2>/dev/null")
    async with slow_way(registry) as way:
        reference = f"{way.host}/{yard.name('slow')}:v1"
        await tag_image(yard.engine, built.image_id, reference)
        access = replace(registry.access(), registry=way.host)
        pushing = asyncio.create_task(push(yard.engine, access, reference))
        await asyncio.wait_for(way.uploading.wait(), 30)
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing
        await asyncio.wait_for(way.deserted.wait(), CANCELLED_WITHIN_S)
    await remove_image(yard.engine, reference)


async def test_a_published_image_is_named_by_its_digest(yard: Yard, registry: LocalRegistry) -> None:
    said: list[str] = []

    async def write(text: str) -> None:
        said.append(text)

    async with made(yard, registry, "RUN echo published") as (image_id, reference), registry.client() as client:
        await tag_image(yard.engine, "busybox:latest", reference)  # another build had the name last
        published = await publish(yard.engine, registry.access("/team"), image_id, reference, write)
        assert published.exact_ref == f"{reference.removesuffix(':v1')}@{published.digest}"
        assert await client.digest_of(str(client.repository_of(reference)), "v1") == published.digest
        named = await inspect_image(yard.engine, published.exact_ref)
        assert named is not None
        assert named.id == image_id
        assert published.digest in "".join(said)


async def test_the_engine_tells_to_whom_it_talks_without_tls(engine: Engine) -> None:
    assert await engine.is_insecure("127.0.0.1:5000")
    assert not await engine.is_insecure("r.example")


# ---------------------------------------------------------------- looking and deleting


async def test_a_deleted_digest_takes_all_its_tags_along(yard: Yard, registry: LocalRegistry) -> None:
    async with (
        made(yard, registry, "RUN echo one") as (_, first),
        made(yard, registry, "RUN echo two") as (image_id, _),
        registry.client() as client,
    ):
        repository = str(client.repository_of(first))
        digest, _ = await push(yard.engine, registry.access(), first)
        for name, image in (("also", first), ("kept", image_id)):
            await tag_image(yard.engine, image, f"{registry.host}/{repository}:{name}")
            await push(yard.engine, registry.access(), f"{registry.host}/{repository}:{name}")
        assert sorted((await client.tags_by_digest(repository))[digest]) == ["also", "v1"]
        assert len(await client.tags_by_digest(repository)) == 2
        assert await client.delete(repository, digest)
        assert not await client.delete(repository, digest)
        assert digest not in await client.tags_by_digest(repository)
        assert await client.digest_of(repository, "v1") is None
        assert list((await client.tags_by_digest(repository)).values()) == [["kept"]]


async def test_what_is_not_there_is_no_error(registry: LocalRegistry) -> None:
    async with registry.client() as client:
        assert await client.tags("team/none") == []
        assert await client.digest_of("team/none", "v1") is None
        assert not await client.delete("team/none", f"sha256:{'0' * 64}")
        with pytest.raises(RegistryRefused, match="deletes by digest only"):
            await client.delete("team/none", "v1")


async def test_a_registry_that_lets_nobody_delete_says_so(yard: Yard, tmp_path: Path) -> None:
    async with (
        local_registry(tmp_path, deletes=False) as closed,
        made(yard, closed, "RUN echo kept") as (_, reference),
        closed.client() as client,
    ):
        digest, _ = await push(yard.engine, closed.access(), reference)
        with pytest.raises(RegistryRefused, match=r"storage\.delete\.enabled") as refused:
            await client.delete(str(client.repository_of(reference)), digest)
        assert refused.value.status == 405


async def test_the_check_tells_who_we_are_and_what_is_wrong(registry: LocalRegistry) -> None:
    async with registry.client("/team") as client:
        assert await client.check() == f"{registry.host}/team answers, signed in as {USERNAME}"
    async with registry.client(password="wrong-password") as client:
        with pytest.raises(RegistryRefused, match="check REGISTRY_USERNAME and REGISTRY_PASSWORD") as refused:
            await client.check()
    assert "wrong-password" not in str(refused.value)
    async with RegistryClient.open(registry.host) as client:
        with pytest.raises(RegistryRefused, match="set REGISTRY_USERNAME and REGISTRY_PASSWORD"):
            await client.check()


async def test_a_registry_that_is_open_to_all_needs_no_credentials(yard: Yard, tmp_path: Path) -> None:
    async with (
        local_registry(tmp_path, open_to_all=True) as public,
        made(yard, public, "RUN echo public") as (_, reference),
        RegistryClient.open(public.host) as client,
    ):
        digest, _ = await push(yard.engine, None, reference)
        assert await client.digest_of(str(client.repository_of(reference)), "v1") == digest
        assert await client.check() == f"{public.host} answers, without signing in"


async def test_a_registry_that_wants_tokens_gets_them(yard: Yard, tmp_path: Path) -> None:
    async with (
        token_service(USERNAME, PASSWORD) as tokens,
        registry_with(tmp_path, tokens.auth(tmp_path)) as registry,
        made(yard, registry, "RUN echo tokens") as (_, reference),
        registry.client() as client,
        registry.client(password="wrong-password") as stranger,
    ):
        digest, _ = await push(yard.engine, registry.access(), reference)
        repository = str(client.repository_of(reference))
        tokens.asked.clear()
        assert await client.tags(repository) == ["v1"]
        assert await client.digest_of(repository, "v1") == digest
        assert tokens.asked == [f"repository:{repository}:pull"], "one token serves all looks at a repository"
        assert await client.check()
        assert await client.delete(repository, digest)
        assert tokens.asked[-1] == f"repository:{repository}:delete"
        with pytest.raises(RegistryRefused, match=r"wrong password.*check REGISTRY_USERNAME"):
            await stranger.tags(repository)


# ---------------------------------------------------------------- what comes from it


async def test_a_private_base_is_pulled_before_the_build_and_others_are_left(
    yard: Yard, registry: LocalRegistry
) -> None:
    said: list[str] = []

    async def write(text: str) -> None:
        said.append(text)

    async with made(yard, registry, "RUN echo base") as (image_id, reference):
        await push(yard.engine, registry.access(), reference)
        await remove_image(yard.engine, image_id, force=True)
        missing = ["python:3.12", reference, "r.example/x:1"]
        left = await fetch_bases(yard.engine, registry.access(), missing, write)
        assert left == ["python:3.12", "r.example/x:1"]
        assert await inspect_image(yard.engine, reference) is not None
        assert said[0] == f"pulling the base image {reference}\n"
        assert "Digest: sha256:" in "".join(said)
    with pytest.raises(RegistryRefused, match="manifest unknown"):
        await fetch_bases(yard.engine, registry.access(), [f"{registry.host}/team/none:v1"], write)


async def test_an_image_that_the_engine_lost_still_tells_its_port(yard: Yard, registry: LocalRegistry) -> None:
    async with made(yard, registry, "EXPOSE 8123") as (image_id, reference):
        digest, _ = await push(yard.engine, registry.access(), reference)
        exact = f"{reference.removesuffix(':v1')}@{digest}"
        await remove_image(yard.engine, image_id, force=True)
        await refuse_unreachable(yard.engine, registry.access(), exact)
        assert await exposed_port(yard.engine, registry.access(), exact, pull=False, within_s=60) is None
        assert await exposed_port(yard.engine, registry.access(), exact, pull=True, within_s=60) == 8123


async def test_a_node_fetches_an_image_with_the_password_of_the_latest_update(
    yard: Yard, registry: LocalRegistry
) -> None:
    name = yard.service_name("private")
    sleeping = ("STOPSIGNAL KILL", "CMD sleep 600")
    async with made(yard, registry, *sleeping) as (first, old), made(yard, registry, *sleeping) as (second, new):
        for image_id, reference, password, number in (
            (first, old, PASSWORD, 1),
            (second, new, registry.change_password, 2),
        ):
            word = password if isinstance(password, str) else password()
            access = registry.access(password=word)
            digest, _ = await push(yard.engine, access, reference)
            exact = f"{reference.removesuffix(':v1')}@{digest}"
            await remove_image(yard.engine, image_id, force=True)
            await apply_service(yard.engine, target(name, exact, number), still_ours=yes, access=access)
            await eventually(partial(runs, yard.engine, name, exact), timeout_s=60)
        await yard.engine.call("clean up", f"services/{name}", "DELETE")


def target(name: str, image: str, rollout: int) -> ServiceTarget:
    return ServiceTarget(
        name=name,
        image=image,
        env={},
        replicas=1,
        port=free_port(),
        container_port=80,
        publish_mode=PublishMode.HOST,
        labels={"tagship.product": name, "tagship.rollout": str(rollout)},
        container_labels={},
        monitor_s=1,
    )


async def yes() -> bool:
    return True


async def runs(engine: Engine, name: str, image: str) -> bool:
    service = await read_service(engine, name)
    assert service is not None
    return any(task.current and task.image == image and task.state is TaskState.RUNNING for task in service.tasks)
