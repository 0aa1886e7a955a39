"""Tokens, field by field. What a token is itself comes out once, when it is made."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.access.model import Role, Token
from app.api.fields import Label, Moment
from app.api.schema.base import In, Out, Time


class TokenIn(In):
    name: Label
    role: Annotated[Role, Field(strict=False)]
    expires_at: Moment | None = None


class TokenOut(Out):
    id: int
    name: str
    role: Role
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    revoked_at: Time | None

    @classmethod
    def of(cls, token: Token) -> TokenOut:
        return cls.model_validate(token)


class NewTokenOut(TokenOut):
    token: str
