"""How a repository becomes an image: the part of a registration that a build freezes when it is queued."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Recipe:
    """``context`` is a folder of the repository, ``dockerfile`` a file relative to it or, failing that, to the
    repository.
    """

    dockerfile: str = "Dockerfile"
    context: str = "."
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
