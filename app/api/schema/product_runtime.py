"""Where a product runs and what it says, field by field."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.api.schema.base import In, Out, Time
from app.engine.shape import TaskState


class LogQuery(In):
    tail: Annotated[int, Field(ge=0, le=10_000)] = 200
    follow: bool = False


class TaskOut(Out):
    id: str
    slot: int
    node: str
    node_id: str
    state: TaskState
    desired_state: TaskState
    current: bool
    image: str
    image_name: str | None
    commit_sha: str | None
    since: Time
    error: str
    exit_code: int | None
