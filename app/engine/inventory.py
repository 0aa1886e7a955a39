"""What one installation has on an engine that it may share with others, and what of all images there is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.engine.client import NOT_FOUND
from app.engine.image import list_images
from app.engine.prune import holders
from app.engine.service import read_service
from app.engine.shape import LABEL_INSTALLATION, LABEL_PRODUCT, Inventory, OwnService, TaskState
from app.engine.steps import step_containers
from app.errors import EngineRefused, SwarmUnavailable

if TYPE_CHECKING:
    from app.engine.client import Engine


async def take_inventory(engine: Engine, installation: str) -> Inventory:
    """Look at everything that carries the label or the mark of this installation. Raises ``EngineUnavailable``, and
    ``SwarmUnavailable`` when there is a swarm that does not tell its services.
    """
    images = await list_images(engine)
    own = tuple(image for image in images if image.labels.get(LABEL_INSTALLATION) == installation)
    services = await _services(engine)
    held = {holder.image_id for holder in await holders(engine)}
    named = {image for service in services for image in _images(service)}
    made = tuple(
        OwnService(service["ID"], service["Spec"]["Name"], labels.get(LABEL_PRODUCT, ""))
        for service in services
        if (labels := service["Spec"].get("Labels") or {}).get(LABEL_INSTALLATION) == installation
    )
    return Inventory(own, made, frozenset(held | named), await step_containers(engine, installation))


async def remove_own_service(engine: Engine, service: OwnService) -> bool:
    """Remove exactly this service with its tasks; False when it is gone, is another one by now, or cannot go yet.

    A manager panics when a service is removed while the swarm forgets its tasks: see ``Lookout.remove``.
    """
    seen = await read_service(engine, service.name)
    if seen is None or seen.id != service.id or any(task.desired_state is TaskState.REMOVE for task in seen.tasks):
        return False
    try:
        await engine.call(f"remove the service {service.name}", f"services/{quote(service.id)}", "DELETE")
    except EngineRefused as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


async def _services(engine: Engine) -> list[dict[str, Any]]:
    """Every service of the swarm; none where there is no swarm."""
    try:
        listed: list[dict[str, Any]] | None = await engine.call("list the services", "services")
    except SwarmUnavailable:
        if (await engine.describe()).swarm_active:
            raise
        return []
    return listed or []


def _images(service: dict[str, Any]) -> list[str]:
    """What a service runs, and what the swarm would go back to."""
    specs = (service.get("Spec") or {}, service.get("PreviousSpec") or {})
    containers = (((spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}) for spec in specs)
    return [str(container["Image"]) for container in containers if container.get("Image")]
