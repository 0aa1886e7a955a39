"""Every setting, read once from the environment into one frozen value; a wrong environment is refused with all its
problems.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from app.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

Port = Annotated[int, Field(ge=1, le=65535)]


def default_data_dir() -> Path:
    """Where state lives unless told otherwise: a system folder for root, the XDG data folder for everybody else."""
    if os.geteuid() == 0:
        return Path("/var/lib/tagship")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "tagship"


class Settings(BaseModel):
    """The settings of one process; each field is the environment variable of that name in upper case."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr | None = None
    docker_host: str | None = None
    docker_tls_verify: bool = False
    docker_cert_path: Path | None = None

    github_webhook_secret: SecretStr | None = None
    github_token: SecretStr | None = None
    github_app_id: str | None = None
    github_app_private_key: SecretStr | None = None
    github_api_url: str = "https://api.github.com"

    slack_webhook_url: SecretStr | None = None

    registry: str | None = None
    registry_username: str | None = None
    registry_password: SecretStr | None = None

    tagship_host: str = "127.0.0.1"
    tagship_port: Port = 8004
    tagship_public_url: str | None = None
    tagship_data_dir: Path = Field(default_factory=default_data_dir)
    tagship_api_token: SecretStr | None = None
    tagship_secret_key: SecretStr | None = None
    tagship_build_concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    tagship_build_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 1800
    tagship_lease_s: Annotated[float, Field(ge=1, le=3600)] = 30
    tagship_rollout_monitor_s: Annotated[float, Field(ge=1, le=3600)] = 5
    tagship_rollout_timeout_s: Annotated[float, Field(ge=5, le=86_400)] = 300
    tagship_default_image: Annotated[str, Field(min_length=1, max_length=255)] = "bre-payments:latest"
    tagship_log_format: Literal["json", "console"] = "json"

    @field_validator("tagship_api_token", "tagship_secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"must have at least {SHORTEST_SECRET} characters")
        return value

    @field_validator("github_api_url", "tagship_public_url")
    @classmethod
    def _is_http_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be an http:// or https:// URL")
        return value.rstrip("/") if value else value

    @field_validator("slack_webhook_url")
    @classmethod
    def _is_http_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            cls._is_http_url(value.get_secret_value())
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgres://", "postgresql://")):
            raise ValueError("must be a postgres:// or postgresql:// URL")
        return value

    @model_validator(mode="after")
    def _app_needs_both_halves(self) -> Settings:
        if (self.github_app_id is None) != (self.github_app_private_key is None):
            raise ValueError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together: set both or neither")
        if (self.registry_username is None) != (self.registry_password is None):
            raise ValueError("REGISTRY_USERNAME and REGISTRY_PASSWORD go together: set both or neither")
        return self

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Every secret that a webhook may be signed with, in the order given; empty when none is configured."""
        if self.github_webhook_secret is None:
            return ()
        parts = (part.strip() for part in self.github_webhook_secret.get_secret_value().split(","))
        return tuple(part for part in parts if part)

    def secret_values(self) -> list[str]:
        """Every secret of these settings, for the log to black out."""
        given = [getattr(self, name) for name in type(self).model_fields]
        values = [value.get_secret_value() for value in given if isinstance(value, SecretStr)]
        return [*values, *self.webhook_secrets]

    @property
    def public_url(self) -> str:
        """The address under which people reach this instance, without a trailing slash."""
        return self.tagship_public_url or f"http://{self.tagship_host}:{self.tagship_port}"


SHORTEST_SECRET: Final = 16


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Make settings from an environment; empty values count as unset.

    Raises ``SettingsInvalid`` with one sentence per wrong variable; values are never repeated, they may be secrets.
    """
    given: dict[str, Any] = {
        name: environment[name.upper()] for name in Settings.model_fields if environment.get(name.upper(), "").strip()
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsInvalid([_sentence(problem) for problem in error.errors()]) from None


def _sentence(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    return f"{str(problem['loc'][0]).upper()}: {message[0].lower()}{message[1:]}"
