"""Answers that say no: RFC 9457 problem documents, raised as exceptions anywhere below an HTTP handler."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Problem(Exception):
    """One refusal: an HTTP status, a sentence for people, and whatever else programs need."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        self.status, self.detail, self.errors, self.headers, self.extra = status, detail, errors, headers, extra
        super().__init__(detail)

    def response(self) -> JSONResponse:
        """The problem document; ``errors`` holds ``{loc, msg}`` for each field that is wrong."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        headers = dict(self.headers or {})
        return JSONResponse(body | self.extra, self.status, headers, media_type="application/problem+json")


def field_problem(loc: str, msg: str, *, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> Problem:
    """A refusal that is about one field."""
    return Problem(status, f"{loc}: {msg}", errors=[{"loc": [loc], "msg": msg}])
