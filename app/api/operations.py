"""The table of contents of /api/v1. Routes, roles and the OpenAPI document are made from it."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Final

from app.access.model import Role
from app.api import images, logs, products, repositories, rollouts
from app.api.operation import Operation
from app.api.schema.base import PageQuery, WaitQuery
from app.api.schema.images import (
    BuildOut,
    ImageDetailQuery,
    ImageIn,
    ImageOut,
    ImageQuery,
    ImageWithLogOut,
    TagQuery,
    TagsOut,
)
from app.api.schema.products import ProductIn, ProductOut, ProductPatch
from app.api.schema.repositories import RepositoryIn, RepositoryOut
from app.api.schema.rollouts import RolloutOut

READ: Final = Role.READ
DEPLOY: Final = Role.DEPLOY
ADMIN: Final = Role.ADMIN

CREATED: Final = HTTPStatus.CREATED
ACCEPTED: Final = HTTPStatus.ACCEPTED
NOT_FOUND: Final = HTTPStatus.NOT_FOUND
CONFLICT: Final = HTTPStatus.CONFLICT

EVENTS: Final = "text/event-stream"
TEXT: Final = "text/plain"

get = partial(Operation, "GET")
post = partial(Operation, "POST")
patch = partial(Operation, "PATCH")
delete = partial(Operation, "DELETE")
rollout = partial(post, role=DEPLOY, answer=RolloutOut, status=ACCEPTED, query=WaitQuery, refuses=(CONFLICT,))

OPERATIONS: Final = (
    # ------------------------------------------------------------ repositories
    post("/repositories", repositories.register, ADMIN, RepositoryOut, CREATED, body=RepositoryIn, refuses=(CONFLICT,)),
    get("/repositories", repositories.list_repositories, READ, list[RepositoryOut]),
    get("/repositories/{id}", repositories.read_repository, READ, RepositoryOut),
    # ------------------------------------------------------------ images
    get("/images/github-tags", images.github_tags, READ, TagsOut, query=TagQuery, refuses=(NOT_FOUND,)),
    post("/images", images.create_image, DEPLOY, ImageOut, CREATED, body=ImageIn, refuses=(NOT_FOUND, CONFLICT)),
    get("/images", images.list_images, READ, list[ImageOut], query=ImageQuery),
    get("/images/{id}", images.read_image, READ, ImageWithLogOut, query=ImageDetailQuery),
    get("/images/{id}/log", logs.read_log, READ, media=(EVENTS, TEXT)),
    get("/images/{id}/builds", images.list_builds, READ, list[BuildOut]),
    post("/images/{id}/cancel", images.cancel, DEPLOY, ImageOut, ACCEPTED, refuses=(CONFLICT,)),
    post("/images/{id}/rebuild", images.rebuild, DEPLOY, ImageOut, ACCEPTED),
    # ------------------------------------------------------------ products
    post("/products", products.create_product, DEPLOY, ProductOut, CREATED, body=ProductIn, refuses=(CONFLICT,)),
    get("/products", products.list_products, READ, list[ProductOut]),
    get("/products/{id}", products.read_product, READ, ProductOut),
    patch("/products/{id}", products.change_product, DEPLOY, ProductOut, body=ProductPatch, refuses=(CONFLICT,)),
    rollout("/products/{id}/start", products.start_product),
    rollout("/products/{id}/stop", products.stop_product),
    rollout("/products/{id}/redeploy", products.redeploy_product),
    get("/products/{id}/rollouts", products.list_rollouts, READ, list[RolloutOut], query=PageQuery),
    # ------------------------------------------------------------ rollouts
    get("/rollouts/{id}", rollouts.read_rollout, READ, RolloutOut),
)  # fmt: skip
