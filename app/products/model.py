"""A product: one customer's running copy of an image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NewType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from app.engine.shape import Healthcheck, PublishMode

ProductId = NewType("ProductId", int)

SLUG: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9])*", re.ASCII)
LONGEST_SLUG: Final = 40


class ProductStatus(StrEnum):
    """What is true of a product now; see the enum ``product_status`` for the meaning of each."""

    STOPPED = "stopped"
    AWAITING_IMAGE = "awaiting_image"
    DEPLOYING = "deploying"
    RUNNING = "running"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class ProductFields:
    """What people may write of a product, apart from its slug. ``env`` holds sealed values, which no other product
    opens. ``held_build_id`` is the build that a rollback went back to: it is run instead of its image's newest build,
    until the image is built again or the pin is set or moved.
    """

    name: str
    port: int
    container_port: int | None
    publish_mode: PublishMode
    replicas: int
    image_id: int | None
    track: str | None
    env: Mapping[str, str]
    healthcheck: Healthcheck | None
    held_build_id: int | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """What a product's service was last brought to with success, and is put back to when a later rollout fails. Of a
    product that has ``failed`` it is what its service asks for, and ``status`` says that it does not run.
    """

    rollout_id: int
    image: str
    image_name: str | None
    build_id: int | None
    port: int
    container_port: int | None
    replicas: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Product:
    """A product as stored. ``image_name`` is the pinned ``name:tag`` or None; ``wanted`` says whether it shall run,
    ``status`` whether it does.
    """

    id: ProductId
    slug: str
    fields: ProductFields
    image_name: str | None
    live_build_id: int | None
    wanted: bool
    status: ProductStatus
    service_id: str | None
    live: Live | None
    created_at: datetime
    updated_at: datetime


def needs_rollout(before: ProductFields, after: ProductFields) -> bool:
    """Whether a change of a product that shall run must reach the swarm: only its name and its rule do not."""
    cosmetic = {"name", "track"}
    return any(
        getattr(before, name) != getattr(after, name) for name in ProductFields.__slots__ if name not in cosmetic
    )
