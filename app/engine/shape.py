"""What we ask of the Docker engine and what it tells us, as plain values; no I/O, no Docker JSON.

Models and decisions import these types; the JSON of the Engine API stays in ``build``, ``image``, ``spec`` and
``service``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

FIRST_BUILDKIT = (1, 39)
LABEL_PRODUCT = "tagship.product"
LABEL_ROLLOUT = "tagship.rollout"
LABEL_BUILD = "tagship.build"
LABEL_DELIVERY = "tagship.delivery"
LABEL_IMAGE = "tagship.image"
LABEL_INSTALLATION = "tagship.installation"
LABEL_CREATED = "org.opencontainers.image.created"


class Builder(StrEnum):
    """Which of the engine's two builders makes the image."""

    BUILDKIT = "buildkit"
    CLASSIC = "classic"


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """What the steps of a build may use. None: what the engine has, and the network that it gives by itself.

    ``network`` is ``none`` for steps without one. The classic builder keeps to all three, BuildKit to the network only.
    """

    memory_bytes: int | None = None
    cpus: float | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One image to make from a tar stream.

    ``dockerfile`` is the path inside that tar; ``tags`` are full references (``name:tag``); ``build_id`` names the
    build on the engine, so that it can be found and stopped.
    """

    builder: Builder
    dockerfile: str
    tags: tuple[str, ...]
    build_id: str
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: BuildLimits = BuildLimits()


@dataclass(frozen=True, slots=True)
class LogText:
    """Text of the build log in the order in which the engine emitted it; may hold several lines or a part of one."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageMade:
    """The engine's name for the image that the build made: an opaque ``sha256:…``."""

    image_id: str


@dataclass(frozen=True, slots=True)
class ImagePushed:
    """The registry's name for the image that was pushed: its manifest digest, ``sha256:…``."""

    digest: str


BuildEvent = LogText | ImageMade


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What kind of engine answers, as far as our decisions need it."""

    version: str
    api_version: tuple[int, int]
    os: str
    swarm_active: bool
    swarm_manager: bool
    nodes: int
    ipvs: bool
    insecure_registries: tuple[str, ...] = ()

    @property
    def has_buildkit(self) -> bool:
        """Whether it builds with BuildKit from a plain upload: since API 1.39, on Linux. Its ping need not say so."""
        return self.api_version >= FIRST_BUILDKIT and self.os == "linux"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image on the engine. ``exposed_tcp`` are its EXPOSEd TCP ports, ascending; ``size`` in bytes."""

    id: str
    tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    size: int
    created: datetime | None
    exposed_tcp: tuple[int, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OwnService:
    """A service that an installation made; ``product`` is the slug."""

    id: str
    name: str
    product: str


@dataclass(frozen=True, slots=True)
class StepContainer:
    """The container of a step of a classic build, and the attempt that it belongs to."""

    id: str
    build: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """``images``, ``services`` and ``steps`` are the installation's own; ``in_use`` holds the image IDs and references
    that containers and services name, whoever's they are.
    """

    images: tuple[ImageInfo, ...]
    services: tuple[OwnService, ...]
    in_use: frozenset[str]
    steps: tuple[StepContainer, ...] = ()


class PublishMode(StrEnum):
    INGRESS = "ingress"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """A container health check; ``test`` in Docker's form (``["CMD-SHELL", "…"]`` or ``["CMD", …]``), times in
    seconds.
    """

    test: tuple[str, ...]
    interval_s: float = 30
    timeout_s: float = 30
    retries: int = 3
    start_period_s: float = 0


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """The Swarm service as one rollout wants it. ``image`` is exact: ``sha256:…`` or ``repo@sha256:…``.

    ``labels`` go on the service only and never restart a task; ``container_labels`` go into the task spec.
    Without ``published`` the port is left to others; meant for a service without tasks, which else keeps the ports
    that it had.
    ``restart`` is a token that changes when tasks must be replaced although nothing else changed.
    """

    name: str
    image: str
    env: Mapping[str, str]
    replicas: int
    port: int
    container_port: int
    publish_mode: PublishMode
    labels: Mapping[str, str]
    container_labels: Mapping[str, str]
    monitor_s: float
    restart: int = 0
    healthcheck: Healthcheck | None = None
    published: bool = True


class TaskState(StrEnum):
    """Swarm's task states in the order a task passes them (moby/swarmkit, api/types.proto)."""

    NEW = "new"
    PENDING = "pending"
    ASSIGNED = "assigned"
    ACCEPTED = "accepted"
    PREPARING = "preparing"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    COMPLETE = "complete"
    SHUTDOWN = "shutdown"
    FAILED = "failed"
    REJECTED = "rejected"
    REMOVE = "remove"
    ORPHANED = "orphaned"


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """One task as the swarm reports it; ``current`` when it is of the service's present spec, ``since`` when it
    reached ``state``.
    """

    id: str
    slot: int
    node_id: str
    image: str
    state: TaskState
    desired_state: TaskState
    current: bool
    since: datetime
    error: str = ""
    exit_code: int | None = None
    container_id: str = ""


class UpdateState(StrEnum):
    UPDATING = "updating"
    PAUSED = "paused"
    COMPLETED = "completed"
    ROLLBACK_STARTED = "rollback_started"
    ROLLBACK_PAUSED = "rollback_paused"
    ROLLBACK_COMPLETED = "rollback_completed"


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """A service and its tasks at one moment; ``update_state`` is None when the swarm has said nothing about the
    present spec.
    """

    id: str
    name: str
    version: int
    image: str
    replicas: int
    labels: Mapping[str, str]
    update_state: UpdateState | None
    update_message: str
    tasks: tuple[TaskSnapshot, ...]
