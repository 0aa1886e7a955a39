"""How the running part of a product is stored, in the product itself and frozen in each of its rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.engine.shape import Healthcheck

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.sealing import Vault


def seal_value(vault: Vault, slug: str, name: str, value: str) -> str:
    """One env value as it is stored: sealed, and bound to its product and name, so that it opens nowhere else."""
    return vault.seal(value.encode(), _context(slug, name))


def open_value(vault: Vault, slug: str, name: str, sealed: str) -> str:
    """The real value. Raises ``SealBroken`` when the key is another one."""
    return vault.open(sealed, _context(slug, name)).decode()


def open_env(vault: Vault, slug: str, sealed: Mapping[str, str]) -> dict[str, str]:
    """All real values. Raises ``SealBroken`` when the key is another one."""
    return {name: open_value(vault, slug, name, value) for name, value in sealed.items()}


def _context(slug: str, name: str) -> str:
    return f"product/{slug}/env/{name}"


def healthcheck_json(healthcheck: Healthcheck | None) -> dict[str, Any] | None:
    """A health check as its column holds it."""
    return None if healthcheck is None else {name: getattr(healthcheck, name) for name in Healthcheck.__slots__}


def healthcheck_from(value: Mapping[str, Any] | None) -> Healthcheck | None:
    """A health check from its column."""
    return None if value is None else Healthcheck(**(dict(value) | {"test": tuple(value["test"])}))
