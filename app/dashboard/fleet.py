"""Which versions of each image run at how many products. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_SEGMENTS: Final = 6
FAILED: Final = "not running"


@dataclass(frozen=True, slots=True)
class Segment:
    """So many products on one tag; ``look`` is its class in tagship.css, ``start`` and ``share`` are in percent."""

    label: str
    image_id: int | None
    products: int
    look: str
    start: float
    share: float


@dataclass(frozen=True, slots=True)
class Name:
    """One image name and its products by tag, the newest first."""

    name: str
    products: int
    segments: tuple[Segment, ...]

    @property
    def sentence(self) -> str:
        """What a picture of the segments says."""
        return f"{self.name}: " + ", ".join(f"{one.products} {one.label}" for one in self.segments)


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[Name]:
    """The names with their segments, from rows that are grouped by name: of many tags the older ones are one segment,
    and the products that should run and do not are the last.
    """
    names = []
    for name, group in groupby(rows, key=lambda row: row["name"]):
        of_name = list(group)
        running = [
            (row["tag"] or "no tag", row["image_id"], row["products"]) for row in of_name if not row["is_failed"]
        ]
        if len(running) > MOST_SEGMENTS:
            rest = running[MOST_SEGMENTS - 1 :]
            older = (f"{len(rest)} older tags", None, sum(products for _, _, products in rest))
            running = [*running[: MOST_SEGMENTS - 1], older]
        parts = [(*one, f"v{at}") for at, one in enumerate(running)]
        parts += [(FAILED, None, row["products"], "broken") for row in of_name if row["is_failed"]]
        names.append(Name(name, sum(products for _, _, products, _ in parts), _placed(parts)))
    return names


def _placed(parts: Sequence[tuple[str, int | None, int, str]]) -> tuple[Segment, ...]:
    whole = sum(products for _, _, products, _ in parts)
    start, placed = 0.0, []
    for label, image_id, products, look in parts:
        share = 100 * products / whole
        placed.append(Segment(label, image_id, products, look, round(start, 2), round(share, 2)))
        start += share
    return tuple(placed)
