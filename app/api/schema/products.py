"""Products, field by field. Env values are masked on the way out."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from app.api.fields import CheckTest, Count, DisplayName, Env, IdIn, Port, Replicas, RowId, SearchText, Slug, Track
from app.api.schema.base import In, Out, Time
from app.engine.shape import Healthcheck, PublishMode
from app.products.model import Product, ProductStatus
from app.sealing import mask_env


class HealthcheckIn(In):
    test: CheckTest
    interval_s: Annotated[float, Field(ge=1, le=86_400)] = 30
    timeout_s: Annotated[float, Field(ge=1, le=86_400)] = 30
    retries: Count = 3
    start_period_s: Annotated[float, Field(ge=0, le=86_400)] = 0

    def value(self) -> Healthcheck:
        """The check in Docker's form; a plain string is run by the container's shell."""
        test = ("CMD-SHELL", self.test) if isinstance(self.test, str) else tuple(self.test)
        return Healthcheck(test, self.interval_s, self.timeout_s, self.retries, self.start_period_s)


# What is checked across fields, as the OpenAPI document shows it.
NEEDS_IMAGE: Final[dict[str, Any]] = {
    "anyOf": [
        {"required": ["image_id"], "properties": {"image_id": {"type": "integer"}}},
        {"properties": {"track": {"type": "null"}, "when_built": {"const": False}}},
    ]
}
NO_RULE_WITHOUT_PIN: Final[dict[str, Any]] = {
    "not": {
        "required": ["image_id", "track"],
        "properties": {"image_id": {"type": "null"}, "track": {"type": "string"}},
    }
}


class ProductIn(In):
    model_config = ConfigDict(json_schema_extra=NEEDS_IMAGE)

    name: DisplayName
    slug: Slug
    port: Port
    replicas: Replicas = 1
    image_id: IdIn | None = None
    track: Track | None = None
    env_vars: Env = Field(default_factory=dict)
    container_port: Port | None = None
    publish_mode: Annotated[PublishMode, Field(strict=False)] = PublishMode.INGRESS
    healthcheck: HealthcheckIn | None = None
    when_built: bool = False


class ProductPatch(In):
    """Only what is given changes; ``null`` is a value where the field may be empty."""

    model_config = ConfigDict(json_schema_extra=NO_RULE_WITHOUT_PIN)

    name: DisplayName = ""
    port: Port = 1
    replicas: Replicas = 1
    image_id: IdIn | None = None
    track: Track | None = None
    env_vars: Env = Field(default_factory=dict)
    container_port: Port | None = None
    publish_mode: Annotated[PublishMode, Field(strict=False)] = PublishMode.INGRESS
    healthcheck: HealthcheckIn | None = None


class ProductQuery(In):
    status: Annotated[ProductStatus | None, Field(strict=False)] = None
    image_id: RowId | None = None
    slug: SearchText | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 500
    before: RowId | None = None


class DeleteQuery(In):
    wait: Annotated[float, Field(ge=0, le=600)] = 30


class RollbackIn(In):
    to: IdIn | None = None


class LiveOut(Out):
    """What the service was last brought to with success."""

    rollout_id: int
    image: str
    image_name: str
    build_id: int | None
    port: int
    container_port: int | None
    replicas: int
    since: Time


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
    held_build_id: int | None
    track: str | None
    env_vars: dict[str, str]
    healthcheck: dict[str, Any] | None
    status: ProductStatus
    service_id: str | None
    live: LiveOut | None
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, product: Product, default_image: str) -> ProductOut:
        """A product as people see it: its env values masked."""
        fields = {name: getattr(product.fields, name) for name in product.fields.__slots__}
        check = product.fields.healthcheck
        shown: dict[str, Any] = {
            "image_name": product.image_name or default_image,
            "env_vars": mask_env(product.fields.env),
            "healthcheck": {name: getattr(check, name) for name in check.__slots__} if check else None,
        }
        if live := product.live:
            values = {name: getattr(live, name) for name in live.__slots__}
            shown["live"] = LiveOut.model_validate(values | {"image_name": live.image_name or default_image})
        own = {name: getattr(product, name) for name in product.__slots__}
        return cls.model_validate(own | fields | shown)
