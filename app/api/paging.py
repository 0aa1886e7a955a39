"""Pages by key, newest first: the next page begins behind the last id of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from app.api.schema.base import dump_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from starlette.requests import Request


def page(request: Request, shown: Sequence[BaseModel], limit: int, last_id: int | None) -> JSONResponse:
    """A page as an array; a full one carries ``Link: <…>; rel="next"``."""
    headers = {}
    if last_id is not None and len(shown) == limit:
        headers["Link"] = f'<{request.url.include_query_params(before=last_id)}>; rel="next"'
    return JSONResponse(dump_all(shown), headers=headers)
