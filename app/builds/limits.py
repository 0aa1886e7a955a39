"""What a repository's source may hold at most: whoever may push decides what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@dataclass(frozen=True, slots=True)
class ContextLimits:
    """The first three are the operator's (``TAGSHIP_CONTEXT_MAX_…``); ``total_bytes`` counts everything unpacked.

    ``header_bytes`` is what stands between the contents of two members: two paths of 4096 bytes and their frame leave
    most of it free. ``ratio`` (unpacked to packed) is looked at only beyond ``ratio_after_bytes``: small repositories
    may compress as they like.
    """

    entries: int = 200_000
    file_bytes: int = 4 * GIB
    total_bytes: int = 16 * GIB
    path_bytes: int = 4096
    header_bytes: int = 32 * KIB
    ratio: int = 200
    ratio_after_bytes: int = GIB
