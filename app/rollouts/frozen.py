"""How the running part of a product is stored, in the product itself and frozen in each of its rollouts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from app.engine.shape import Healthcheck

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.sealing import Vault


def seal_env(vault: Vault, slug: str, env: Mapping[str, str]) -> str:
    """The env as it is stored: sealed, and bound to the product's slug so that it opens for no other product."""
    return vault.seal(json.dumps(dict(env), sort_keys=True).encode(), f"product/{slug}/env")


def open_env(vault: Vault, slug: str, sealed: str) -> dict[str, str]:
    """The real env values. Raises ``SealBroken`` when the key is another one."""
    opened: dict[str, str] = json.loads(vault.open(sealed, f"product/{slug}/env"))
    return opened


def healthcheck_json(healthcheck: Healthcheck | None) -> dict[str, Any] | None:
    """A health check as its column holds it."""
    return None if healthcheck is None else {name: getattr(healthcheck, name) for name in Healthcheck.__slots__}


def healthcheck_from(value: Mapping[str, Any] | None) -> Healthcheck | None:
    """A health check from its column."""
    return None if value is None else Healthcheck(**(dict(value) | {"test": tuple(value["test"])}))
