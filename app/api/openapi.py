"""The OpenAPI 3.1 document, made from the table of operations and from the models that validate."""

from __future__ import annotations

import re
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from app.api.fields import LARGEST_ID
from app.api.schema.base import ProblemOut, WaitQuery
from app.api.schema.notices import WebhookMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaMode

    from app.api.operation import Operation

REF: Final = "#/components/schemas/{model}"
PROBLEM: Final = "application/problem+json"
DESCRIPTION: Final = (
    "Push a tag, ship the image. Everything here needs `Authorization: Bearer <token>`; a token has the role `read`, "
    "`deploy` or `admin`. Refusals are problem documents (RFC 9457) with a sentence, and name the fields that are "
    'wrong. Lists come newest first, in pages: follow `Link: <…>; rel="next"`.'
)
ID: Final = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}

Modes: TypeAlias = "Mapping[tuple[Any, JsonSchemaMode], dict[str, Any]]"


class _Schema(GenerateJsonSchema):
    """Without titles, which would only repeat each field's name."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - the name is pydantic's
        return False


def document(operations: Iterable[Operation], *, prefix: str) -> dict[str, Any]:
    """The document of these operations, whose paths begin with ``prefix``."""
    operations = list(operations)
    schemas, definitions = models_json_schema(_models(operations), ref_template=REF, schema_generator=_Schema)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        methods = paths.setdefault(prefix + operation.path.replace(":path}", "}"), {})
        methods[operation.method.lower()] = _described(operation, schemas, _links(operation, operations))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tagship", "version": version("tagship"), "description": DESCRIPTION},
        "servers": [{"url": "."}],
        "security": [{"token": []}],
        "paths": paths,
        "webhooks": {"notice": {"post": _notice_hook(schemas)}},
        "components": {
            "schemas": definitions["$defs"],
            "responses": {_name(status): _refusal(status, schemas) for status in _all_refusals(operations)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _models(operations: Iterable[Operation]) -> list[tuple[type[BaseModel], JsonSchemaMode]]:
    """Every model that goes in or comes out, once."""
    found: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
        (ProblemOut, "serialization"): None,
        (WebhookMessage, "serialization"): None,
    }
    for operation in operations:
        for model in (operation.body, operation.query):
            if model is not None:
                found[model, "validation"] = None
        for answer in (operation.answer, operation.later):
            if answer is not None:
                found[_element(answer), "serialization"] = None
    return list(found)


def _described(operation: Operation, schemas: Modes, links: Mapping[str, Any]) -> dict[str, Any]:
    sentence = re.sub(r"``([^`]*)``", r"`\1`", operation.description)
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.id.replace("_", " ").capitalize(),
        "description": f"{sentence} Needs the role `{operation.role}`.".strip(),
        "tags": [operation.path.split("/")[1]],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": _answers(operation, schemas, links),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[operation.body, "validation"]}}
        described["requestBody"] = {"required": not operation.bodiless, "content": content}
    return described


def _notice_hook(schemas: Modes) -> dict[str, Any]:
    """What receivers of channels of the kind ``webhook`` get."""
    header = {"in": "header", "required": True, "schema": {"type": "string"}}
    said = {
        "webhook-id": "the same each time that a message is sent again",
        "webhook-timestamp": "when it was sent, in seconds since 1970",
        "webhook-signature": "`v1,` and the HMAC-SHA256 of id, timestamp and body, joined by dots, in base64",
    }
    return {
        "operationId": "notice",
        "summary": "Notice",
        "description": (
            "Sent to channels of the kind `webhook`, signed per Standard Webhooks. At least once: what was not "
            "answered in ten seconds is sent again with the same `webhook-id`. 410 switches the channel off; "
            "`Retry-After` is kept."
        ),
        "security": [],
        "parameters": [{"name": name, "description": text} | header for name, text in said.items()],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schemas[WebhookMessage, "serialization"]}},
        },
        "responses": {"2XX": {"description": "it was taken"}},
    }


def _links(maker: Operation, operations: Iterable[Operation]) -> dict[str, Any]:
    """What can be done with a thing that was just made: every operation on its id."""
    if maker.status is not HTTPStatus.CREATED:
        return {}
    parameters = {"id": "$response.body#/id"}
    return {
        other.id: {"operationId": other.id, "parameters": parameters}
        for other in operations
        if other.path.startswith(f"{maker.path}/{{id}}")
    }


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    names = re.findall(r"\{(\w+)(?::\w+)?\}", operation.path)
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": ID if name == "id" else {"type": "string", "minLength": 1},
        }
        for name in names
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template=REF, schema_generator=_Schema)
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _not_null(field)}
        for name, field in schema.get("properties", {}).items()
    ]


def _not_null(field: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is left out, and never sent as null."""
    choices = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
    rest = {
        name: value
        for name, value in field.items()
        if name not in {"anyOf", "default"} or (name == "default" and value is not None)
    }
    return rest | (choices[0] if len(choices) == 1 else {"anyOf": choices}) if choices else rest


def _answers(operation: Operation, schemas: Modes, links: Mapping[str, Any]) -> dict[str, Any]:
    answers = {
        str(status.value): {"$ref": f"#/components/responses/{_name(status)}"} for status in _refusals(operation)
    }
    done: dict[str, Any] = {"description": operation.status.phrase}
    if links:
        done["links"] = links
    content: dict[str, Any] = {media: {} for media in operation.media}
    if operation.answer is not None:
        content["application/json"] = {"schema": _answer_schema(operation.answer, schemas)}
    if content:
        done["content"] = content
    if headers := _headers(operation):
        done["headers"] = headers
    found = {str(operation.status.value): done}
    if operation.later is not None:
        schema = _answer_schema(operation.later, schemas)
        found["202"] = {"description": "Accepted", "content": {"application/json": {"schema": schema}}}
    return found | dict(sorted(answers.items()))


def _refusals(operation: Operation) -> set[HTTPStatus]:
    """Every status that an operation may refuse with: its own, and those that come from its shape."""
    found = {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        *operation.refuses,
    }
    if "{" in operation.path:
        found.add(HTTPStatus.NOT_FOUND)
    if operation.query is not None or operation.body is not None:
        found.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if operation.body is not None:
        found |= {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
    return found


def _all_refusals(operations: Iterable[Operation]) -> list[HTTPStatus]:
    return sorted({status for operation in operations for status in _refusals(operation)})


def _refusal(status: HTTPStatus, schemas: Modes) -> dict[str, Any]:
    content = {PROBLEM: {"schema": schemas[ProblemOut, "serialization"]}}
    return {"description": status.phrase, "content": content}


def _name(status: HTTPStatus) -> str:
    return status.phrase.title().replace(" ", "")


def _headers(operation: Operation) -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    headers = {}
    if operation.status is HTTPStatus.CREATED or operation.query is WaitQuery:
        headers["Location"] = {"description": "where it is from now on"} | text
    if operation.query is not None and "before" in operation.query.model_fields:
        headers["Link"] = {"description": 'the next page, as `<…>; rel="next"`, when there may be one'} | text
    return headers


def _answer_schema(answer: Any, schemas: Modes) -> dict[str, Any]:
    schema = schemas[_element(answer), "serialization"]
    return {"type": "array", "items": schema} if get_args(answer) else schema


def _element(answer: Any) -> type[BaseModel]:
    """The model of an answer: of ``list[Model]`` its element."""
    element: type[BaseModel] = (get_args(answer) or (answer,))[0]
    return element
