"""What a change would do, and what was changed by hand, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import ConfigDict, Field

from app.api.fields import IdIn
from app.api.schema.base import In, Out, Time
from app.api.schema.products import ProductPatch
from app.products.plan import PlanAction
from app.rollouts.drift import DriftState

if TYPE_CHECKING:
    from datetime import datetime

    from app.rollouts.fleet import Comparison

Shown = str | int | float | list[str] | None

# `change` belongs to the action change, `to` to rollback.
OF_ITS_ACTION: Final[dict[str, Any]] = {
    "anyOf": [
        {"properties": {"action": {"const": "change"}, "to": {"type": "null"}}},
        {"required": ["action"], "properties": {"action": {"const": "rollback"}, "change": {"type": "null"}}},
        {
            "required": ["action"],
            "properties": {
                "action": {"enum": ["start", "stop", "redeploy"]},
                "change": {"type": "null"},
                "to": {"type": "null"},
            },
        },
    ]
}


class PlanIn(In):
    """What one means to do: ``change`` with what a PATCH would hold, ``rollback`` with the ``to`` that it takes, or
    one of the actions that need nothing more.
    """

    model_config = ConfigDict(json_schema_extra=OF_ITS_ACTION)

    action: Annotated[PlanAction, Field(strict=False)] = PlanAction.CHANGE
    change: ProductPatch | None = None
    to: IdIn | None = None


class DifferenceOut(Out):
    """One value that differs; null where there is none. Of a secret one learns that it differs, and sees the mask."""

    path: str
    before: Shown
    after: Shown
    secret: bool


class PlanOut(Out):
    """What would happen. ``fields`` differ in the product, ``changes`` in its service on the swarm, by Docker's names;
    ``effects`` says the rest in sentences. ``order`` is how tasks are replaced, if they are.
    """

    product_id: int
    slug: str
    action: PlanAction
    rolls_out: bool
    replaces_tasks: bool
    order: str | None
    monitor_s: float | None
    gives_way: int | None
    fields: list[DifferenceOut]
    changes: list[DifferenceOut]
    effects: list[str]


class DriftOut(Out):
    """How a product's service stands to what Tagship last made it: of a difference ``before`` is what ``rollout_id``
    made, ``after`` what is on the engine.
    """

    product_id: int
    slug: str
    name: str
    state: DriftState
    rollout_id: int | None
    sentence: str
    differences: list[DifferenceOut]
    checked_at: Time

    @classmethod
    def of(cls, comparison: Comparison, checked_at: datetime) -> DriftOut:
        own = {name: getattr(comparison, name) for name in comparison.__slots__}
        return cls.model_validate(own | {"checked_at": checked_at})


class FleetDriftOut(Out):
    """The products whose service is not what Tagship last made it, of all that were compared."""

    checked_at: Time
    compared: int
    drifted: list[DriftOut]
