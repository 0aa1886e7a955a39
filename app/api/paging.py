"""Pages by key, newest first: the next page begins behind the last id of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from starlette.responses import JSONResponse

from app.api.schema.base import dump_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel
    from starlette.requests import Request


class Row(Protocol):
    """Anything that pages are made of."""

    @property
    def id(self) -> int: ...


RowT = TypeVar("RowT", bound=Row)


def page(request: Request, rows: Sequence[RowT], show: Callable[[RowT], BaseModel], limit: int) -> JSONResponse:
    """A page as an array; a full one carries ``Link: <…>; rel="next"``."""
    headers = {}
    if rows and len(rows) == limit:
        headers["Link"] = f'<{request.url.include_query_params(before=rows[-1].id)}>; rel="next"'
    return JSONResponse(dump_all([show(row) for row in rows]), headers=headers)
