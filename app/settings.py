"""Every setting, read once from the environment into one frozen value; a wrong environment is refused with all its
problems.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from app.errors import SettingsInvalid
from app.reference import is_registry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

Port = Annotated[int, Field(ge=1, le=65535)]

SHORTEST_SECRET: Final = 16
LONGEST_TOKEN: Final = 1000
BEARER: Final = re.compile(rf"[!-~]{{1,{LONGEST_TOKEN}}}", re.ASCII)
HOST: Final = re.compile(r"[\w.-]+|[0-9a-fA-F:.]+(%[\w.-]+)?")


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

    tagship_github_reports: Literal["on", "off"] = "on"

    slack_webhook_url: SecretStr | None = None
    tagship_notify_private_networks: str = ""
    tagship_notify_progress_s: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 180

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
    tagship_build_log_mb: Annotated[int, Field(ge=1, le=1024)] = 64
    tagship_build_memory_mb: Annotated[int, Field(ge=16, le=16_777_216)] | None = None
    tagship_build_cpus: Annotated[float, Field(ge=0.01, le=4096, allow_inf_nan=False)] | None = None
    tagship_build_network: Literal["default", "none"] = "default"
    tagship_context_max_mb: Annotated[int, Field(ge=1, le=16_777_216)] = 16_384
    tagship_context_max_file_mb: Annotated[int, Field(ge=1, le=16_777_216)] = 4096
    tagship_context_max_entries: Annotated[int, Field(ge=1, le=100_000_000)] = 200_000
    tagship_lease_s: Annotated[float, Field(ge=1, le=3600)] = 30
    tagship_rollout_monitor_s: Annotated[float, Field(ge=1, le=3600)] = 5
    tagship_rollout_timeout_s: Annotated[float, Field(ge=5, le=86_400)] = 300
    tagship_reconcile_interval_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 300
    tagship_retention_keep: Annotated[int, Field(ge=0, le=10_000)] = 10
    tagship_retention_days: Annotated[int, Field(ge=0, le=36_500)] = 14
    tagship_retention_interval_h: Annotated[float, Field(ge=0, le=8_784, allow_inf_nan=False)] = 24
    tagship_build_cache_gb: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 20
    tagship_default_image: Annotated[str, Field(min_length=1, max_length=255)] = "bre-payments:latest"
    tagship_log_format: Literal["json", "console"] = "json"

    @field_validator("tagship_api_token", "tagship_secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"must have at least {SHORTEST_SECRET} characters")
        return value

    @field_validator("tagship_api_token", "github_token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        """A token that no ``Authorization`` header can carry would lock everybody out, or us out of GitHub."""
        if value is not None and not BEARER.fullmatch(value.get_secret_value()):
            raise ValueError(f"must be plain ASCII without blanks, {LONGEST_TOKEN} characters at most")
        return value

    @field_validator("github_webhook_secret")
    @classmethod
    def _names_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip(" ,\t\r\n"):
            raise ValueError("must be one secret, or several separated by commas")
        return value

    @field_validator("github_api_url", "tagship_public_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = _http_url(value)
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("must be an address without user, query and fragment")
        return value.rstrip("/")

    @field_validator("slack_webhook_url")
    @classmethod
    def _is_http_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _http_url(value.get_secret_value())
        return value

    @field_validator("tagship_notify_private_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        try:
            _networks(value)
        except ValueError as error:
            raise ValueError(f"must be networks such as 10.0.0.0/8,fd00::/8: {error}") from None
        return value

    @field_validator("registry")
    @classmethod
    def _is_registry(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "://" in value:
            raise ValueError("must be host[:port][/path] without a scheme")
        if not is_registry(value.rstrip("/")):
            raise ValueError(
                "must be host[:port][/path], as in registry.example:5000/team:"
                " a host with a dot or a port, and a path in lower case"
            )
        return value.rstrip("/")

    @field_validator("registry_username")
    @classmethod
    def _is_username(cls, value: str | None) -> str | None:
        if value is not None and (":" in value or not value.isprintable()):
            raise ValueError("must not contain colons or control characters")
        return value

    @field_validator("docker_host")
    @classmethod
    def _is_engine_address(cls, value: str | None) -> str | None:
        if value is not None:
            _engine_address(value)
        return value

    @field_validator("github_app_private_key")
    @classmethod
    def _is_rsa_key(cls, value: SecretStr | None) -> SecretStr | None:
        """GitHub's keys are RSA; a line end may be written as backslash and n, since not every shell can do better."""
        if value is not None:
            text = value.get_secret_value().replace("\\n", "\n").strip() + "\n"
            try:
                key = load_pem_private_key(text.encode(), password=None)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                raise ValueError("is not an unencrypted private key in PEM form") from None
            if not isinstance(key, RSAPrivateKey):
                raise ValueError("is not an RSA key, and GitHub's are")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgres://", "postgresql://")):
            raise ValueError("must be a postgres:// or postgresql:// URL")
        return value

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Every secret that a webhook may be signed with, in the order given; empty when none is configured."""
        if self.github_webhook_secret is None:
            return ()
        parts = (part.strip() for part in self.github_webhook_secret.get_secret_value().split(","))
        return tuple(part for part in parts if part)

    @property
    def private_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks in which a channel's receiver may stand although they are not the internet."""
        return _networks(self.tagship_notify_private_networks)

    @property
    def reports_to_github(self) -> bool:
        """Whether commits get a status and rollouts a deployment: with credentials always, unless switched off."""
        return self.tagship_github_reports == "on" and (self.github_token or self.github_app_id) is not None

    def secret_values(self) -> list[str]:
        """Every secret of these settings, for the log to black out."""
        given = [getattr(self, name) for name in type(self).model_fields]
        values = [value.get_secret_value() for value in given if isinstance(value, SecretStr)]
        return [*values, *self.webhook_secrets]

    @property
    def public_url(self) -> str:
        """The address under which people reach this instance, without a trailing slash."""
        return self.tagship_public_url or f"http://{self.tagship_host}:{self.tagship_port}"


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Make settings from an environment; empty values count as unset. A secret may also be given as a file's path in
    ``<NAME>_FILE``, the way of the swarm's and the systems' secrets.

    Raises ``SettingsInvalid`` with one sentence per wrong variable; values are never repeated, they may be secrets.
    """
    environment, unread = with_secret_files(environment)
    set_names = {name for name, value in environment.items() if value.strip()}
    given = {name: environment[name.upper()] for name in Settings.model_fields if name.upper() in set_names}
    problems = [*unread, *contradictions(set_names)]
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsInvalid([*(_sentence(problem) for problem in error.errors()), *problems]) from None
    if problems:
        raise SettingsInvalid(problems)
    return settings


def with_secret_files(environment: Mapping[str, str]) -> tuple[Mapping[str, str], list[str]]:
    """The environment with what the files of ``<NAME>_FILE`` say, without their last line end, and a sentence for each
    that cannot be had. A file of nothing but blanks leaves the setting unset: the swarm keeps no empty secret.
    """
    values, problems = dict(environment), []
    for name in (field.upper() for field in secret_fields()):
        path = environment.get(f"{name}_FILE", "").strip()
        if not path:
            continue
        if environment.get(name, "").strip():
            problems.append(f"{name} and {name}_FILE are both set: unset one of them")
            continue
        try:
            values[name] = Path(path).read_text("utf-8").rstrip("\r\n")
        except OSError as error:
            problems.append(f"{name}_FILE: {path} cannot be read: {error.strerror}")
        except ValueError:
            problems.append(f"{name}_FILE: {path} is not text in UTF-8")
    return values, problems


def secret_fields() -> list[str]:
    """The names of the settings whose values are secret, in the order of ``Settings``."""
    return [name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)]


def contradictions(names: AbstractSet[str]) -> list[str]:
    """What is wrong about which variables are set, whatever their values: a sentence each."""
    problems = []
    if ("GITHUB_APP_ID" in names) != ("GITHUB_APP_PRIVATE_KEY" in names):
        problems.append("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together: set both or neither")
    if ("REGISTRY_USERNAME" in names) != ("REGISTRY_PASSWORD" in names):
        problems.append("REGISTRY_USERNAME and REGISTRY_PASSWORD go together: set both or neither")
    if "REGISTRY_USERNAME" in names and "REGISTRY" not in names:
        problems.append("REGISTRY_USERNAME: there is no REGISTRY to sign in to; set REGISTRY, or unset it")
    return problems


def _http_url(value: str) -> SplitResult:
    """The parts of an http(s) address; complaints never repeat it, it may be a secret."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must be an http:// or https:// URL")
    if port == 0 or not HOST.fullmatch(parts.hostname or "") or not value.isprintable() or " " in value:
        raise ValueError("is not a valid URL")
    return parts


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks of a comma-separated list; raises ``ValueError`` for one that is none, or has host bits set."""
    return tuple(ip_network(part) for part in (piece.strip() for piece in text.split(",")) if part)


def _engine_address(value: str) -> None:
    scheme, separator, place = value.partition("://")
    if scheme == "ssh":
        raise ValueError("ssh:// is not supported; forward the engine's socket with ssh -L, and name it by unix://")
    if not separator or scheme not in {"unix", "tcp", "http", "https"}:
        raise ValueError("must be unix:///path or tcp://host:port")
    if scheme == "unix":
        if not place.startswith("/"):
            raise ValueError("must name the socket by its whole path, as in unix:///var/run/docker.sock")
        return
    parts = _http_url(f"http://{place}")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("must be nothing but host and port, as in tcp://host:2376")


def _sentence(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    return f"{str(problem['loc'][0]).upper()}: {message[0].lower()}{message[1:]}"
