"""What retention removes and keeps, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.schema.base import In, Out

if TYPE_CHECKING:
    from app.retention.model import Verdict
    from app.retention.upkeep import Outcome


class RetentionQuery(In):
    dry_run: bool = False


class VerdictOut(Out):
    image: str
    image_id: int
    build: int
    ref: str
    digest: str
    size_bytes: int
    reason: str

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictOut:
        built = verdict.built
        return cls(
            image=f"{built.name}:{built.tag}",
            image_id=built.image_id,
            build=built.build_id,
            ref=built.exact_ref,
            digest=built.digest,
            size_bytes=built.size_bytes,
            reason=verdict.reason,
        )


class BuildCacheOut(Out):
    size_bytes: int
    limit_bytes: int | None
    reclaimed_bytes: int


class RetentionOut(Out):
    """``freed_bytes`` counts every removed image whole: layers that others share stay."""

    dry_run: bool
    removed: list[VerdictOut]
    kept: list[VerdictOut]
    build_cache: BuildCacheOut
    freed_bytes: int

    @classmethod
    def of(cls, outcome: Outcome, *, dry_run: bool) -> RetentionOut:
        return cls(
            dry_run=dry_run,
            removed=[VerdictOut.of(verdict) for verdict in outcome.plan.removed],
            kept=[VerdictOut.of(verdict) for verdict in outcome.plan.kept],
            build_cache=BuildCacheOut.model_validate(outcome.build_cache),
            freed_bytes=outcome.freed_bytes,
        )
