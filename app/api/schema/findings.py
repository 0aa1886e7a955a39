"""What an examination found, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from app.api.schema.base import Out

if TYPE_CHECKING:
    from app.findings import Finding


class FindingOut(Out):
    part: str
    ok: bool
    sentence: str = Field(description="what is so, or what is wrong and how to mend it")
    needed: bool = Field(description="whether Tagship cannot do its work without it; else it is advice")

    @classmethod
    def of(cls, finding: Finding) -> FindingOut:
        return cls.model_validate(finding)
