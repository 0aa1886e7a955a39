"""What goes in and what comes out, field by field. Incoming models are strict and refuse unknown fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from app.api.fields import (
    BuildArgs,
    CheckTest,
    CommitSha,
    DisplayName,
    Env,
    GitTag,
    ImageName,
    Pattern,
    Port,
    RelativePath,
    Replicas,
    Repo,
    RowId,
    SearchText,
    Slug,
    Target,
    Track,
)
from app.builds.model import Build, BuildState, Cause, Image
from app.engine.shape import Healthcheck, PublishMode
from app.products.model import Product, ProductStatus
from app.repositories.model import MovedTagPolicy, Repository
from app.rollouts.model import Rollout, RolloutKind, RolloutReason, RolloutState
from app.sealing import mask_env

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.github.tags import Tag


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]


class In(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class RepositoryIn(In):
    repo: Repo
    image_name: ImageName | None = None
    tag_pattern: Pattern = "*"
    dockerfile: RelativePath = "Dockerfile"
    context: RelativePath = "."
    target: Target | None = None
    build_args: BuildArgs = Field(default_factory=dict)
    on_moved_tag: Annotated[MovedTagPolicy, Field(strict=False)] = MovedTagPolicy.REBUILD


class RepositoryOut(Out):
    id: int
    repo: str
    image_name: str
    tag_pattern: str
    dockerfile: str
    context: str
    target: str | None
    build_args: dict[str, str]
    on_moved_tag: MovedTagPolicy
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, repository: Repository) -> RepositoryOut:
        return cls.model_validate(repository)


class ImageIn(In):
    repo: Repo
    tag: GitTag
    commit_sha: CommitSha | None = None
    image_name: ImageName | None = None


class ImageOut(Out):
    id: int
    name: str
    tag: str
    github_repo: str
    github_ref: str
    commit_sha: str | None
    build_status: BuildState
    build_error: str | None
    image_ref: str | None
    digest: str | None
    size_bytes: int | None
    attempt: int
    built_at: Time | None
    created_at: Time

    @classmethod
    def of(cls, image: Image) -> ImageOut:
        return cls.model_validate(image)


class ImageWithLogOut(ImageOut):
    build_log: str


class ImageQuery(In):
    name: SearchText | None = None
    status: BuildState | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: RowId | None = None


class ImageDetailQuery(In):
    log: bool = True


class BuildOut(Out):
    id: int
    commit_sha: str | None
    state: BuildState
    attempt: int
    cause: Cause
    delivery: str | None
    image_ref: str | None
    digest: str | None
    size_bytes: int | None
    error: str | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None

    @classmethod
    def of(cls, build: Build, delivery: str | None) -> BuildOut:
        return cls.model_validate({name: getattr(build, name) for name in Build.__slots__} | {"delivery": delivery})


class HealthcheckIn(In):
    test: CheckTest
    interval_s: Annotated[float, Field(ge=1, le=86_400, strict=False)] = 30
    timeout_s: Annotated[float, Field(ge=1, le=86_400, strict=False)] = 30
    retries: Annotated[int, Field(ge=1, le=1000)] = 3
    start_period_s: Annotated[float, Field(ge=0, le=86_400, strict=False)] = 0

    def value(self) -> Healthcheck:
        """The check in Docker's form; a plain string is run by the container's shell."""
        test = ("CMD-SHELL", self.test) if isinstance(self.test, str) else tuple(self.test)
        return Healthcheck(test, self.interval_s, self.timeout_s, self.retries, self.start_period_s)


class ProductIn(In):
    name: DisplayName
    slug: Slug
    port: Port
    replicas: Replicas = 1
    image_id: RowId | None = None
    track: Track | None = None
    env_vars: Env = Field(default_factory=dict)
    container_port: Port | None = None
    publish_mode: Annotated[PublishMode, Field(strict=False)] = PublishMode.INGRESS
    healthcheck: HealthcheckIn | None = None
    when_built: bool = False


class ProductPatch(In):
    """Only what is given changes; ``null`` is a value where the field may be empty."""

    name: DisplayName = ""
    port: Port = 1
    replicas: Replicas = 1
    image_id: RowId | None = None
    track: Track | None = None
    env_vars: Env = Field(default_factory=dict)
    container_port: Port | None = None
    publish_mode: Annotated[PublishMode, Field(strict=False)] = PublishMode.INGRESS
    healthcheck: HealthcheckIn | None = None


class ProductOut(Out):
    id: int
    name: str
    slug: str
    port: int
    container_port: int | None
    publish_mode: PublishMode
    replicas: int
    image_id: int | None
    image_name: str
    track: str | None
    env_vars: dict[str, str]
    healthcheck: dict[str, Any] | None
    status: ProductStatus
    service_id: str | None
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, product: Product, default_image: str) -> ProductOut:
        """A product as people see it: its env values masked."""
        fields = {name: getattr(product.fields, name) for name in product.fields.__slots__}
        check = product.fields.healthcheck
        shown = {
            "image_name": product.image_name or default_image,
            "env_vars": mask_env(product.fields.env),
            "healthcheck": {name: getattr(check, name) for name in check.__slots__} if check else None,
        }
        own = {name: getattr(product, name) for name in product.__slots__}
        return cls.model_validate(own | fields | shown)


class TaskErrorOut(Out):
    task: str
    slot: int
    node: str
    state: str
    error: str
    exit_code: int | None
    output: str


class RolloutOut(Out):
    id: int
    product_id: int
    product: str
    kind: RolloutKind
    state: RolloutState
    reason: RolloutReason
    image_id: int | None
    image_name: str | None
    build_id: int | None
    commit_sha: str | None
    image: str
    replicas: int
    port: int
    progress: str | None
    error: str | None
    task_errors: list[TaskErrorOut]
    created_at: Time
    started_at: Time | None
    finished_at: Time | None

    @classmethod
    def of(cls, rollout: Rollout) -> RolloutOut:
        fields = {name: getattr(rollout, name) for name in rollout.__slots__}
        shown = {
            "product": rollout.slug,
            "image_name": f"{rollout.image_name}:{rollout.image_tag}" if rollout.image_name else None,
            "replicas": rollout.wanted,
            "task_errors": [dict(error) for error in rollout.task_errors],
        }
        return cls.model_validate(fields | shown)


class WaitQuery(In):
    wait: Annotated[float, Field(ge=0, le=600)] = 0


class PageQuery(In):
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: RowId | None = None


class TagQuery(In):
    repo: Repo


class CommitOut(Out):
    sha: str
    date: Time | None
    author: str | None
    message: str | None


class TagOut(Out):
    name: str
    commit: CommitOut
    tarball_url: str

    @classmethod
    def of(cls, tag: Tag) -> TagOut:
        return cls.model_validate(tag)


def dump_all(models: Sequence[BaseModel]) -> list[dict[str, Any]]:
    """Models as JSON-ready values."""
    return [model.model_dump(mode="json") for model in models]
