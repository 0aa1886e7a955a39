"""What a page looks like, which is kept for people, and what axe finds on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from tests.browser.axe import COLOURS, grave_findings

if TYPE_CHECKING:
    from tests.browser.visitor import Visitor

Scheme: TypeAlias = Literal["dark", "light"]

SCHEMES: Final[tuple[tuple[Scheme, tuple[str, ...]], ...]] = (("dark", COLOURS), ("light", ()))
"""The rules by which a page is judged in each colour scheme; all of them, where none is named. A scheme changes nothing
but colours, so that only these are looked at twice.
"""


async def findings_in_both_schemes(visitor: Visitor, name: str) -> list[str]:
    """What axe finds on a page as it is, in light and dark."""
    found = []
    for scheme, rules in SCHEMES:
        await visitor.page.emulate_media(color_scheme=scheme)
        await visitor.picture(f"{name}-{scheme}")
        found += [f"{name}, {scheme}: {one}" for one in await grave_findings(visitor.page, rules)]
    return found
