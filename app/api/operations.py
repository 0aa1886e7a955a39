"""The table of contents of /api/v1. Routes, roles and the OpenAPI document are made from it."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Final

from app.access.model import Role
from app.api import (
    audit,
    channels,
    deliveries,
    doctor,
    drift,
    images,
    impact,
    local_images,
    logs,
    notices,
    product_actions,
    product_plan,
    product_runtime,
    products,
    repositories,
    retention,
    rollouts,
    tokens,
)
from app.api.operation import Operation
from app.api.schema.audit import AuditOut, AuditQuery
from app.api.schema.base import PageQuery, WaitQuery
from app.api.schema.channels import ChannelIn, ChannelOut, ChannelPatch, ChannelTestOut
from app.api.schema.deliveries import DeliveryDetailOut, DeliveryOut, DeliveryQuery, ReplayOut
from app.api.schema.findings import FindingOut
from app.api.schema.images import (
    BuildLogQuery,
    BuildOut,
    ImageDetailQuery,
    ImageIn,
    ImageOut,
    ImageQuery,
    ImageWithLogOut,
    LocalImageOut,
    TagQuery,
    TagsOut,
    UnfinishedOut,
)
from app.api.schema.impact import ImpactOut, ImpactQuery
from app.api.schema.notices import NoticeOut, NoticeQuery
from app.api.schema.plans import DriftOut, FleetDriftOut, PlanIn, PlanOut
from app.api.schema.product_runtime import LogQuery, TaskOut
from app.api.schema.products import DeleteQuery, ProductIn, ProductOut, ProductPatch, ProductQuery, RollbackIn
from app.api.schema.repositories import RepositoryIn, RepositoryOut, RepositoryPatch, RepositoryQuery
from app.api.schema.retention import RetentionOut, RetentionQuery
from app.api.schema.rollouts import RolloutOut
from app.api.schema.tokens import NewTokenOut, TokenIn, TokenOut

READ: Final = Role.READ
DEPLOY: Final = Role.DEPLOY
ADMIN: Final = Role.ADMIN

CREATED: Final = HTTPStatus.CREATED
ACCEPTED: Final = HTTPStatus.ACCEPTED
NO_CONTENT: Final = HTTPStatus.NO_CONTENT
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
    get("/repositories", repositories.list_repositories, READ, list[RepositoryOut], query=RepositoryQuery),
    get("/repositories/{id}", repositories.read_repository, READ, RepositoryOut),
    patch("/repositories/{id}", repositories.change_repository, ADMIN, RepositoryOut, body=RepositoryPatch,
          refuses=(CONFLICT,)),
    delete("/repositories/{id}", repositories.delete_repository, ADMIN, status=NO_CONTENT),
    post("/repositories/{id}/check", doctor.check_repository, READ, list[FindingOut]),
    post("/repositories/{id}/ping", doctor.ping_repository, DEPLOY, list[FindingOut], refuses=(CONFLICT,)),
    # ------------------------------------------------------------ images
    get("/images/github-tags", images.github_tags, READ, TagsOut, query=TagQuery, refuses=(NOT_FOUND,)),
    post("/images", images.create_image, DEPLOY, ImageOut, CREATED, body=ImageIn, refuses=(NOT_FOUND, CONFLICT)),
    get("/images", images.list_images, READ, list[ImageOut], query=ImageQuery),
    get("/images/{id}", images.read_image, READ, ImageWithLogOut, query=ImageDetailQuery),
    get("/images/{id}/log", logs.read_log, READ, query=BuildLogQuery, media=(EVENTS, TEXT)),
    get("/images/{id}/builds", images.list_builds, READ, list[BuildOut]),
    post("/images/{id}/cancel", images.cancel_build, DEPLOY, ImageOut, ACCEPTED, refuses=(CONFLICT,)),
    post("/images/{id}/rebuild", images.rebuild_image, DEPLOY, ImageOut, ACCEPTED),
    delete("/images/{id}", images.delete_image, DEPLOY, status=NO_CONTENT, refuses=(CONFLICT,), later=UnfinishedOut),
    get("/images/{name:path}/impact", impact.read_impact, READ, ImpactOut, query=ImpactQuery),
    get("/local-images", local_images.list_local_images, READ, list[LocalImageOut]),
    # ------------------------------------------------------------ retention
    post("/retention", retention.run_retention, ADMIN, RetentionOut, query=RetentionQuery),
    # ------------------------------------------------------------ products
    post("/products", products.create_product, DEPLOY, ProductOut, CREATED, body=ProductIn,
         refuses=(NOT_FOUND, CONFLICT)),
    get("/products", products.list_products, READ, list[ProductOut], query=ProductQuery),
    get("/products/{id}", products.read_product, READ, ProductOut),
    patch("/products/{id}", products.change_product, DEPLOY, ProductOut, body=ProductPatch, refuses=(CONFLICT,)),
    delete("/products/{id}", products.delete_product, DEPLOY, status=NO_CONTENT, query=DeleteQuery, refuses=(CONFLICT,),
           later=ProductOut),
    rollout("/products/{id}/start", product_actions.start_product),
    rollout("/products/{id}/stop", product_actions.stop_product),
    rollout("/products/{id}/redeploy", product_actions.redeploy_product),
    rollout("/products/{id}/rollback", product_actions.rollback_product, body=RollbackIn, bodiless=True),
    post("/products/{id}/plan", product_plan.plan_product, DEPLOY, PlanOut, body=PlanIn, refuses=(CONFLICT,)),
    get("/products/{id}/drift", drift.read_product_drift, READ, DriftOut, refuses=(CONFLICT,)),
    get("/drift", drift.list_drift, READ, FleetDriftOut, refuses=(CONFLICT,)),
    get("/products/{id}/rollouts", rollouts.list_rollouts, READ, list[RolloutOut], query=PageQuery),
    get("/products/{id}/tasks", product_runtime.list_tasks, READ, list[TaskOut]),
    get("/products/{id}/logs", product_runtime.read_output, READ, query=LogQuery, media=(TEXT, EVENTS)),
    # ------------------------------------------------------------ rollouts
    get("/rollouts/{id}", rollouts.read_rollout, READ, RolloutOut),
    # ------------------------------------------------------------ the inbox
    get("/deliveries", deliveries.list_deliveries, READ, list[DeliveryOut], query=DeliveryQuery),
    get("/deliveries/{id}", deliveries.read_delivery, READ, DeliveryDetailOut),
    get("/deliveries/{id}/body", deliveries.read_body, READ, media=(deliveries.BYTES,)),
    post("/deliveries/{id}/replay", deliveries.replay_delivery, DEPLOY, ReplayOut, ACCEPTED, refuses=(CONFLICT,)),
    # ------------------------------------------------------------ how Tagship is
    get("/doctor", doctor.examine, READ, list[FindingOut]),
    # ------------------------------------------------------------ notices and channels
    get("/notices", notices.list_notices, READ, list[NoticeOut], query=NoticeQuery),
    get("/notices/{id}", notices.read_notice, READ, NoticeOut),
    post("/channels", channels.create_channel, ADMIN, ChannelOut, CREATED, body=ChannelIn, refuses=(CONFLICT,)),
    get("/channels", channels.list_channels, READ, list[ChannelOut], query=PageQuery),
    get("/channels/{id}", channels.read_channel, READ, ChannelOut),
    patch("/channels/{id}", channels.change_channel, ADMIN, ChannelOut, body=ChannelPatch, refuses=(CONFLICT,)),
    delete("/channels/{id}", channels.delete_channel, ADMIN, status=NO_CONTENT, refuses=(CONFLICT,)),
    post("/channels/{id}/test", channels.test_channel, ADMIN, ChannelTestOut, refuses=(CONFLICT,)),
    # ------------------------------------------------------------ access
    post("/tokens", tokens.create_token, ADMIN, NewTokenOut, CREATED, body=TokenIn, refuses=(CONFLICT,)),
    get("/tokens", tokens.list_tokens, ADMIN, list[TokenOut], query=PageQuery),
    delete("/tokens/{id}", tokens.revoke_token, ADMIN, status=NO_CONTENT),
    get("/audit", audit.list_audit, ADMIN, list[AuditOut], query=AuditQuery),
)  # fmt: skip
