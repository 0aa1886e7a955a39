"""The specs of services as the engine has them: of one by its name, or of all of ours at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.engine.client import NOT_FOUND, filters
from app.errors import EngineRefused

if TYPE_CHECKING:
    from app.engine.client import Engine


async def read_spec(engine: Engine, name: str) -> dict[str, Any] | None:
    """The spec of the service of exactly that name, whoever's it is; None when there is none."""
    try:
        service = await engine.call(f"look up the service {name}", f"services/{quote(name, safe='')}")
    except EngineRefused as error:
        if error.status == NOT_FOUND:
            return None
        raise
    spec: dict[str, Any] = service["Spec"]
    return spec if spec["Name"] == name else None


async def read_specs(engine: Engine, prefix: str) -> dict[str, dict[str, Any]]:
    """The specs of all services whose names begin so, by name, in one call. Labels would not do: who changes a service
    by hand may take its labels away.
    """
    listed: list[dict[str, Any]] | None = await engine.call(
        "list the services", "services", params={"filters": filters(name=prefix)}
    )
    specs = (service["Spec"] for service in listed or ())
    return {spec["Name"]: spec for spec in specs if spec["Name"].startswith(prefix)}
