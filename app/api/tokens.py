"""/api/v1/tokens: who may use this API, as what, and until when."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import asyncpg
from starlette.responses import Response

from app.access import audit, store
from app.access.model import ADMINISTRATOR, Subject, new_token
from app.api.answering import answer, page
from app.api.asking import json_body, missing, path_id, query
from app.api.auth import act_of
from app.api.schema.base import PageQuery
from app.api.schema.tokens import NewTokenOut, TokenIn, TokenOut
from app.api.services import services_of
from app.postgres.pool import transaction
from app.problems import field_problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from app.problems import Problem

SHOWN_ONCE: Final = {"Cache-Control": "no-store"}


async def create_token(request: Request) -> Response:
    """201 the token, which is shown here and never again; 409 when a token that was not revoked has that name."""
    wanted = await json_body(request, TokenIn)
    if wanted.name.casefold() == ADMINISTRATOR:
        raise _taken(f"{wanted.name} is how the audit log names the administrator's token of the settings")
    token = new_token()
    try:
        async with transaction(services_of(request).pool) as conn:
            made = await store.insert_token(
                conn, name=wanted.name, role=wanted.role, token=token, expires_at=wanted.expires_at
            )
            if made is None:
                raise field_problem("expires_at", "must be in the future")
            shown = NewTokenOut.model_validate(TokenOut.of(made).model_dump() | {"token": token})
            details = {"role": made.role, "expires_at": shown.model_dump(mode="json")["expires_at"]}
            await audit.record(conn, act_of(request), Subject("token", made.id, made.name), **details)
    except asyncpg.UniqueViolationError:
        raise _taken(f"a token named {wanted.name} exists; revoke it first, or choose another name") from None
    return answer(shown, HTTPStatus.CREATED, headers=SHOWN_ONCE)


async def list_tokens(request: Request) -> Response:
    """200 a page of all tokens, newest first, also those that are revoked or expired; never the tokens themselves."""
    asked = query(request, PageQuery)
    async with transaction(services_of(request).pool) as conn:
        listed = await store.list_tokens(conn, before=asked.before, limit=asked.limit)
    return page(request, listed, TokenOut.of, asked.limit)


async def revoke_token(request: Request) -> Response:
    """204: from now on the token is refused. The same for one that was revoked before; 404 when there never was one."""
    token_id = path_id(request, "token")
    async with transaction(services_of(request).pool) as conn:
        revoked = await store.revoke_token(conn, token_id)
        if revoked is not None:
            await audit.record(conn, act_of(request), Subject("token", revoked.id, revoked.name))
        elif not await store.token_exists(conn, token_id):
            raise missing("token", token_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _taken(sentence: str) -> Problem:
    return field_problem("name", sentence, status=HTTPStatus.CONFLICT)
