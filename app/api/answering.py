"""Writing answers: one thing, several, or a page of many."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeVar

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel
    from starlette.requests import Request


class Row(Protocol):
    """Anything that pages are made of."""

    @property
    def id(self) -> int: ...


RowT = TypeVar("RowT", bound=Row)


def answer(
    shown: BaseModel,
    status: HTTPStatus = HTTPStatus.OK,
    *,
    location: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One thing; ``location`` is where it, or what was begun, is from now on, below ``/api/v1``."""
    sent = dict(headers or {})
    if location is not None:
        sent["Location"] = f"/api/v1{location}"
    return JSONResponse(shown.model_dump(mode="json", by_alias=True), status, sent)


def answer_all(shown: Sequence[BaseModel], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Several things, as an array."""
    return JSONResponse([one.model_dump(mode="json") for one in shown], headers=headers)


def page(request: Request, rows: Sequence[RowT], show: Callable[[RowT], BaseModel], limit: int) -> JSONResponse:
    """A page by key, newest first; a full one carries ``Link: <…>; rel="next"``, which begins behind its last id."""
    headers = {}
    if rows and len(rows) == limit:
        headers["Link"] = f'<{request.url.include_query_params(before=rows[-1].id)}>; rel="next"'
    return answer_all([show(row) for row in rows], headers)
