"""From what people type to what the API calls it: products by id or slug, images by id or ``name:tag``, tokens by id or
name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.cli.ending import Missing, Refused, WrongUse

if TYPE_CHECKING:
    from app.cli.api import Api

NOT_FOUND = 404


def product(api: Api, wanted: str) -> dict[str, Any]:
    """The product of an id or slug; an id goes first where both would fit."""
    if is_id(wanted) and (found := _by_id(api, f"/products/{wanted}")) is not None:
        return found
    products, _ = api.items("/products", slug=wanted)
    by_slug: dict[str, Any] | None = next((one for one in products if one["slug"] == wanted), None)
    if by_slug is None:
        raise Missing(f"there is no product {wanted}; `tagship ps` lists them")
    return by_slug


def image(api: Api, wanted: str) -> dict[str, Any]:
    """The image of an id or ``name:tag``, without its log."""
    if is_id(wanted):
        found = _by_id(api, f"/images/{wanted}", log="false")
    else:
        name, tag = split_image(wanted)
        images, _ = api.items("/images", name=name)
        found = next((one for one in images if (one["name"], one["tag"]) == (name, tag)), None)
    if found is None:
        raise Missing(f"there is no image {wanted}; `tagship images` lists them")
    return found


def token(api: Api, wanted: str) -> int:
    """The id of a token by id, or by the name of one that is not revoked."""
    if is_id(wanted):
        return int(wanted)
    tokens, _ = api.items("/tokens")
    for one in tokens:
        if one["name"] == wanted and not one.get("revoked_at"):
            return int(one["id"])
    raise Missing(f"there is no valid token {wanted}; `tagship token list` lists them")


def split_image(text: str) -> tuple[str, str]:
    """Name and tag of ``name:tag``; neither may hold a colon."""
    name, _, tag = text.partition(":")
    if not name or not tag:
        raise WrongUse(f"{text}: must be an image's id, or name:tag")
    return name, tag


def is_id(text: str) -> bool:
    """Whether a text could be an id."""
    return text.isascii() and text.isdigit()


def path_part(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")


def _by_id(api: Api, path: str, **query: object) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = api.value(api.get(path, **query))
    except Refused as refused:
        if refused.status == NOT_FOUND:
            return None
        raise
    return found
