"""/api/v1/local-images: what the engine has, ours and others'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.answering import answer_all
from app.api.asking import row_id
from app.api.schema.images import LocalImageOut
from app.api.services import services_of
from app.builds import store
from app.engine.image import list_images
from app.engine.shape import LABEL_BUILD
from app.postgres.pool import transaction
from app.retention.model import is_made_by

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def list_local_images(request: Request) -> Response:
    """200 every image on the engine that has a name or stands alone, newest first; ``ours`` are those that a build of
    ours has on record.
    """
    services = services_of(request)
    images = await list_images(services.engine)
    built_by = {image.id: row_id(image.labels.get(LABEL_BUILD, "")) for image in images}
    async with transaction(services.pool) as conn:
        known = await store.images_on_record(conn, [build for build in built_by.values() if build])
    shown = []
    for image in images:
        image_id, exact_ref, digest = known.get(built_by[image.id], (None, "", ""))
        ours = image_id is not None and is_made_by(image, built_by[image.id], exact_ref, digest)
        shown.append(LocalImageOut.of(image, image_id if ours else None))
    return answer_all(shown)
