"""Reading what a page was asked for. A form sends its empty fields too, and a link may have been cut: whatever is no
value is taken as not given, and the page shows what it took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode

from app.api.asking import row_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

    from starlette.requests import Request

ChoiceT = TypeVar("ChoiceT", bound="StrEnum")

LONGEST_TEXT: Final = 255


def asked_text(request: Request, name: str) -> str | None:
    """A text to look for; None when there is none. PostgreSQL's texts hold neither NUL nor half a character."""
    text = request.query_params.get(name, "").replace("\0", "").encode(errors="ignore").decode().strip()
    return text[:LONGEST_TEXT] or None


def asked_id(request: Request, name: str) -> int | None:
    """The id of a row; None when there is none."""
    return row_id(request.query_params.get(name, "")) or None


def asked_choice(request: Request, name: str, choices: type[ChoiceT]) -> ChoiceT | None:
    """One of some values; None for anything else."""
    given = request.query_params.get(name, "")
    return choices(given) if given in set(choices) else None


def query_of(fields: Mapping[str, object | None], **others: object | None) -> str:
    """The query of a link, from the question mark on: all fields that have a value.

    >>> query_of({"name": "a b", "tag": None}, before=7), query_of({})
    ('?name=a+b&before=7', '')
    """
    given = {name: str(value) for name, value in (dict(fields) | others).items() if value is not None}
    return f"?{urlencode(given)}" if given else ""
