"""Reading requests: bodies, ids and query parameters, each refused with a problem that names what is wrong."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel, ValidationError

from app.api.fields import LARGEST_ID
from app.body import declared_bytes, read_body
from app.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails
    from starlette.requests import Request

ModelT = TypeVar("ModelT", bound=BaseModel)
Found = TypeVar("Found")

MOST_BODY_BYTES: Final = 1024 * 1024
MOST_ELEMENTS: Final = 3000  # 1,000 variables of a product are the most that anything has
MOST_ERRORS: Final = 20
LONGEST_NAME: Final = 100
STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*+(?:"|\\?\Z)', re.DOTALL)  # also one that never ends
WEIGHT: Final = re.compile(r"[01](?:\.\d{0,3})?", re.ASCII)


async def json_body(request: Request, model: type[ModelT]) -> ModelT:
    """The body as a valid model; 415 for another content type, 413 over 1 MiB, 400 for no JSON, 422 naming each
    wrong field.
    """
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body as application/json")
    body = await read_body(request, MOST_BODY_BYTES)
    if _elements(body) > MOST_ELEMENTS:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has more than {MOST_ELEMENTS:,} members and elements, more than any call takes",
        )
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


def _elements(body: bytes) -> int:
    """About how many members and elements there are in a JSON text; no more are counted than are too many. Reading
    takes time for each, whatever it is, and holds the event loop.

    Counted exactly only where a quick look finds many, for they may all stand inside of strings.
    """
    if (found := _separators(body)) <= MOST_ELEMENTS:
        return found
    found = at = 0
    for strings, string in enumerate(STRING.finditer(body)):
        found += _separators(body[at : string.start()])
        at = string.end()
        if max(found, strings // 2) > MOST_ELEMENTS:
            return MOST_ELEMENTS + 1
    return found + _separators(body[at:])


def _separators(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


async def optional_body(request: Request, model: type[ModelT]) -> ModelT:
    """The body as ``json_body`` reads it; a model of defaults when none was sent."""
    sends_one = "transfer-encoding" in request.headers or declared_bytes(request) not in {None, 0}
    return await json_body(request, model) if sends_one else model()


def query(request: Request, model: type[ModelT]) -> ModelT:
    """The query parameters as a valid model; 422 for unknown, repeated or wrong ones."""
    pairs = request.query_params.multi_items()
    repeated = sorted({name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1})
    if repeated:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"given more than once: {', '.join(repeated)}",
            errors=[{"loc": ["query", name], "msg": "given more than once"} for name in repeated],
        )
    try:
        return model.model_validate_strings(dict(pairs))
    except ValidationError as error:
        raise invalid(error, ("query",)) from None


def invalid(error: ValidationError, prefix: Iterable[str] = ()) -> Problem:
    """The problem for what a model refused: 400 when it was not JSON at all, else 422 with every field."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_ERRORS]
    if any(problem["type"] == "json_invalid" for problem in problems):
        return Problem(HTTPStatus.BAD_REQUEST, "the body is not valid JSON")
    errors = [
        {"loc": [*prefix, *(str(part)[:LONGEST_NAME] for part in problem["loc"])], "msg": _message(problem)}
        for problem in problems
    ]
    detail = "; ".join(f"{'.'.join(one['loc']) or 'body'}: {one['msg']}" for one in errors)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)


def _message(problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def path_id(request: Request, what: str) -> int:
    """The id in the path; 404 for anything that cannot be one."""
    text = request.path_params["id"]
    value = row_id(text)
    if not value:
        raise missing(what, text)
    return value


def row_id(text: str) -> int:
    """A number as ids of rows are, out of a stranger's text; 0 for whatever is none."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ID)) else 0
    return value if value <= LARGEST_ID else 0


def found(thing: Found | None, what: str, name: object) -> Found:
    """The thing that was looked up; 404 when it is not there."""
    if thing is None:
        raise missing(what, name)
    return thing


def prefers(request: Request, media: str, over: str) -> bool:
    """Whether a client would rather have ``media`` than ``over``, which it gets when it does not say (RFC 9110,
    12.5.1).
    """
    weights: dict[str, float] = {}
    for part in request.headers.get("accept", "").lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        weights.setdefault(name, float(weight) if WEIGHT.fullmatch(weight) else 0.0)
    kept = list(weights)
    if media not in weights or weights[media] == 0:
        return False
    if over not in weights or weights[media] != weights[over]:
        return weights[media] > weights.get(over, 0)
    return kept.index(media) < kept.index(over)


def missing(what: str, name: object) -> Problem:
    """404 for a thing that is not there."""
    return Problem(HTTPStatus.NOT_FOUND, f"there is no {what} {str(name)[:100]}")
